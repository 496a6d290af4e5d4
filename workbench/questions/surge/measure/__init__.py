"""A surge of requests through the gateway to an engine, once with each set of controls."""

import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from workbench.apparatus.gateway_process import ANYBODY, NO_LIMIT, gateway_before
from workbench.catalog.paths import located
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext, gettext_noop
from workbench.core.progress import Progress
from workbench.core.traces import read_trace
from workbench.engines.server import ServerRoom, free_port
from workbench.engines.serving import launch_for
from workbench.gateway.config import key_digest
from workbench.load.crowd import Call, ask_all
from workbench.load.prompts import body, open_tokenizer, prompt_text, single_token_words
from workbench.load.rows import KeptRequest, LoadSamples
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import Record, run
from workbench.questions.surge.measure.scores import over_time, scored
from workbench.questions.surge.rows import Capacity, Cores, OverTime, QueueLimits, SurgeSamples
from workbench.questions.surge.spec import CONTROLS, TENANTS, SurgeSpec
from workbench.simulate.admission import FullEngine, longest_queue
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.metrics_source import MetricsSource
from workbench.telemetry.sampler import SourceLost

NAME = "model"
START_TIMEOUT_S = 600.0
WARM_UP_S, FULL_S, ALONE_S, PREFILL_S = 2.0, 8.0, 3.0, 4.0
POPULAR = 8
TPOT_FACTOR = 3.0
DRAIN_S = 60.0
Timed: TypeAlias = tuple[KeptRequest, float, float, float]
"""An answered request, with when it was sent, had its first token, and ended."""
RATE_BURST_S = 2.0
LEAST_WAIT = 0.01  # of the SLO of TTFT, for which a gateway keeps a request also where none should wait
DEGRADE_AT = 0.3  # of the time that may be waited, before answers become shorter


def measure(spec: SurgeSpec, record: Record) -> Iterator[Progress]:
    """Yield progress and fill the record: the capacity first, then the surge with every set of controls, each on a drained engine."""
    device = record.device = chosen_device(spec.device)
    room, folder = ServerRoom(record.folder), record.folder
    total, port = float(len(spec.controls) + 2), free_port()
    yield Progress(step=gettext_noop("starting the engine"), done=0, total=total)
    launch = launch_for(
        spec.engine,
        spec.model,
        name=NAME,
        port=port,
        device=device.kind,
        cache=folder / "models",
        tell=lambda _: None,
        extra=["--max-num-seqs", str(spec.max_num_seqs)],
    )
    engine_cores, own_cores = cores_apart()
    with on_cores(engine_cores):
        engine = room.start(
            launch.command,
            engine=spec.engine,
            model=spec.model,
            port=port,
            environment=launch.variables,
            timeout_s=START_TIMEOUT_S,
            tell=lambda _: None,
            ends_with_us=True,
        )
    times: dict[str, OverTime] = {}
    try:
        yield Progress(step=gettext_noop("measuring the capacity of the engine"), done=1, total=total)
        with on_cores(own_cores):
            capacity = capacity_of(spec, room, engine.url, folder)
        tpot_s = spec.slo_tpot_s or TPOT_FACTOR * capacity.tpot_full_s
        limits = queue_limits(spec, capacity)
        calls = calls_of(spec, capacity.requests_per_s)
        for n, name in enumerate(spec.controls):
            yield Progress(step=CONTROLS[name], done=2 + n, total=total)
            _drained(engine.url)
            with on_cores(own_cores), ExitStack() as stack:
                url, keys = engine.url, {}
                if name != "direct":
                    made = settings(name, spec, capacity, limits)
                    url = stack.enter_context(_before(room, folder, engine.url, made))
                    keys = {t: _key(t) for t in TENANTS}
                outcomes = ask_all(url, calls, keys=keys, patience_s=spec.patience_s)
            record.rows.append(scored(name, outcomes, spec, capacity_per_s=capacity.requests_per_s, tpot_s=tpot_s))
            times[name] = over_time(outcomes, spec, tpot_s=tpot_s)
    finally:
        room.stop(engine)
    record.samples = SurgeSamples(
        capacity=capacity,
        slo_tpot_s=tpot_s,
        over_time=times,
        flags=admission_flags(spec, limits),
        engine_version=launch.version,
        cores=Cores(engine=len(engine_cores), gateway_and_clients=len(own_cores)),
        limits=limits,
    )


def cores_apart() -> tuple[set[int], set[int]]:
    """Return the cores for the engine, and those for the gateway and the clients; all for both on a machine with one core."""
    if not hasattr(os, "sched_getaffinity"):
        return set(), set()
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    return (set(cores[half:]), set(cores[:half])) if half else (set(cores), set(cores))


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Keep the calling thread, and what it starts meanwhile, on some cores."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def capacity_of(spec: SurgeSpec, room: ServerRoom, url: str, folder: Path) -> Capacity:
    """Return what the engine does when it is full and not more: requests a second through an open gateway, and tokens of prompts a second.

    Through the gateway, because it takes part of the same machine.
    """
    full = LoadSpec(
        url=url,
        model=NAME,
        arrivals="closed",
        concurrency=spec.max_num_seqs,
        duration_s=WARM_UP_S,
        input_tokens=spec.input_tokens,
        output_tokens=spec.output_tokens,
        tokenizer=located(spec.model),
        calibrate=False,
        seed=spec.seed + 100,
    )
    _answered(full)  # warm-up
    alone = _answered(replace(full, concurrency=1, duration_s=ALONE_S))
    prefill = _answered(replace(full, duration_s=PREFILL_S, output_tokens=1))
    with _before(room, folder, url, settings("open", spec) | {"anonymous": ANYBODY}) as through:
        # Twice as many users as it takes, so that it never waits for the next question of one.
        answered = _answered(replace(full, url=through, concurrency=2 * spec.max_num_seqs, duration_s=FULL_S))
    return Capacity(
        requests_per_s=_per_s([end_s for *_, end_s in answered]),
        prompt_tokens_per_s=_per_s([end_s for *_, end_s in prefill]) * spec.input_tokens,
        tpot_full_s=_tpot_s(answered),
        ttft_alone_s=float(np.median([first_s - sent_s for _, sent_s, first_s, _ in alone])),
        tpot_alone_s=_tpot_s(alone),
    )


def _tpot_s(answered: Sequence[Timed]) -> float:
    """Return the median time per token after the first."""
    return float(np.median([(end_s - first_s) / max(1, q.output_tokens - 1) for q, _, first_s, end_s in answered]))


def queue_limits(spec: SurgeSpec, capacity: Capacity) -> QueueLimits:
    """Return what may wait so that requests that are let in meet the SLO, from the surge simulated on the engine that was measured."""
    full = FullEngine(
        requests_per_s=capacity.requests_per_s,
        prompt_tokens_per_s=capacity.prompt_tokens_per_s,
        ttft_alone_s=capacity.ttft_alone_s,
        tpot_alone_s=capacity.tpot_alone_s or capacity.tpot_full_s,
        input_tokens=spec.input_tokens,
        output_tokens=spec.output_tokens,
        max_sequences=spec.max_num_seqs,
    )
    found = longest_queue(full, ttft_s=spec.slo_ttft_s, overload=spec.overload)
    return QueueLimits(waiting=found.waiting, wait_s=found.wait_s, ttft_p99_s=found.ttft_p99_s)


def _answered(load: LoadSpec) -> list[Timed]:
    """Return the answered requests of a load, with when each was sent, had its first token, and ended."""
    return [
        (q, q.sent_s, q.first_content_s, q.end_s)
        for q in run(load).sampled(LoadSamples).requests
        if not q.error and q.sent_s is not None and q.first_content_s is not None and q.end_s is not None
    ]


def _per_s(ends: list[float]) -> float:
    """Return the ends per second, without the first and the last fifth of the time."""
    low, high = np.quantile(ends, [0.2, 0.8])
    return float(sum(low < e <= high for e in ends) / (high - low))


def calls_of(spec: SurgeSpec, capacity_per_s: float) -> list[Call]:
    """Return the requests of all tenants with their due times: the same for every set of controls."""
    rng = random.Random(spec.seed)
    tokenizer = open_tokenizer(located(spec.model))
    assert tokenizer is not None
    words = single_token_words(tokenizer)
    alike = LoadSpec(url="http://localhost", model=NAME)
    popular = [prompt_text(words, spec.input_tokens, rng=rng) for _ in range(POPULAR)]
    calls = []
    for at in _due_times(spec, capacity_per_s, rng):
        is_popular = rng.random() < spec.repeated
        text = rng.choice(popular) if is_popular else prompt_text(words, spec.input_tokens, rng=rng)
        asked = body(alike, text, output_tokens=spec.output_tokens) | {"temperature": 0}
        calls.append(Call(client=rng.choices(TENANTS, spec.shares)[0], due_s=at, body=asked))
    return calls


def _due_times(spec: SurgeSpec, capacity_per_s: float, rng: random.Random) -> list[float]:
    begin, end = spec.calm_s, spec.calm_s + spec.surge_s
    due: list[float] = []
    parts = (0.0, begin, spec.calm), (begin, end, spec.overload), (end, end + spec.after_s, spec.calm)
    for start, until, factor in parts:
        rate, at = factor * capacity_per_s, start
        if spec.trace and factor == spec.overload:
            due += _as_traced(Path(spec.trace).expanduser(), start, until, round(rate * (until - start)))
            continue
        while (at := at + rng.expovariate(rate)) < until:
            due.append(at)
    return due


def _as_traced(file: Path, start: float, until: float, n: int) -> list[float]:
    """Return the due times of the first requests of a trace, scaled so that they fill the surge."""
    arrivals = read_trace(file).arrivals[: n + 1]
    if len(arrivals) < 2:
        raise InvalidSpec(
            gettext("The trace {file} has one request.").format(file=file),
            remedy=gettext("Give a trace with several requests."),
        )
    scale = (until - start) / max(arrivals[-1].at_s, 1e-9)
    return [start + a.at_s * scale for a in arrivals[:-1]]


def settings(
    controls: str, spec: SurgeSpec, capacity: Capacity | None = None, limits: QueueLimits | None = None
) -> dict[str, object]:
    """Return the gateway configuration of a set of controls, with limits derived from the measured capacity; without it, none."""
    on = {
        "open": set(),
        "rates": {"rates"},
        "queue": {"queue"},
        "deadline": {"queue", "deadline"},
        "shorter": {"queue", "deadline", "shorter"},
        "cache": {"queue", "deadline", "cache"},
        "all": {"queue", "deadline", "shorter", "cache"},
    }[controls]
    n = spec.max_num_seqs if "queue" in on else 4096
    tokens = spec.input_tokens + spec.output_tokens
    per_tenant = capacity.requests_per_s / len(TENANTS) if capacity is not None and "rates" in on else NO_LIMIT
    wait_s = max(LEAST_WAIT * spec.slo_ttft_s, limits.wait_s if limits is not None else NO_LIMIT)
    configuration: dict[str, object] = {
        "deadline_s": wait_s if "deadline" in on else spec.patience_s * 10,
        "max_waiting": 4096,
        "body_timeout_s": 60.0,
        "concurrency": {
            "least": min(n, max(1, n // 2)),
            "first": n,
            "most": n,
            "target_ttft_s": spec.slo_ttft_s if "queue" in on else NO_LIMIT,
        },
        "cache_bytes": 1 << 24 if "cache" in on else 0,
        "tenants": [
            {
                "name": t,
                "key_digest": key_digest(_key(t)),
                "requests_per_s": per_tenant,
                "requests_at_once": max(1.0, RATE_BURST_S * per_tenant),
                "tokens_per_s": per_tenant * tokens,
                "tokens_at_once": max(10.0 * tokens, RATE_BURST_S * per_tenant * tokens),
            }
            for t in TENANTS
        ],
    }
    if "shorter" in on:
        step = {"above_wait_s": round(DEGRADE_AT * wait_s, 4)}
        configuration["degradation"] = [step | {"most_answer_tokens": max(1, spec.output_tokens // 2)}]
    return configuration


def admission_flags(spec: SurgeSpec, limits: QueueLimits) -> dict[str, int]:
    """Return the same limits as vLLM server flags (0.33 and later): batch size and queue limits that keep TTFT within the SLO."""
    requests = spec.max_num_seqs + limits.waiting
    return {
        "--max-num-seqs": spec.max_num_seqs,
        "--max-num-queued-reqs": requests,
        "--max-num-queued-tokens": requests * spec.input_tokens,
    }


def _key(tenant: str) -> str:
    return f"key-of-{tenant}-in-the-surge-lab"


def _before(
    room: ServerRoom, folder: Path, engine_url: str, configuration: Mapping[str, object]
) -> AbstractContextManager[str]:
    upstream = {"name": "engine", "url": engine_url}
    return gateway_before(room, folder, dict(configuration) | {"upstreams": [upstream]})


def _drained(url: str) -> None:
    """Wait until the engine has no request left."""
    page, started = MetricsSource(url), time.monotonic()
    try:
        while time.monotonic() - started < DRAIN_S:
            counters = page.read()
            if not sum(counters.get(f"engine.num_requests_{what}", 0.0) for what in ("running", "waiting")):
                return
            time.sleep(0.2)
    except SourceLost:
        return
    finally:
        page.close()
