"""The surge lab: more requests than a real engine can answer, through the gateway, with each control on and off."""

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from workbench.catalog.paths import located
from workbench.core.load import LoadSpec
from workbench.core.progress import Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.surge import TENANTS, WAYS, SurgeSpec
from workbench.core.traffic import read_trace
from workbench.engines.server import ServerRoom, free_port
from workbench.experiments import load
from workbench.experiments.gateway_process import ANYBODY, NO_LIMIT, gateway_before
from workbench.experiments.serving import launch_for
from workbench.experiments.surge_scores import over_time, scored
from workbench.gateway.config import key_digest
from workbench.load.crowd import Call, Outcome, ask_all
from workbench.load.prompts import body, open_tokenizer, prompt_text, single_token_words
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment
from workbench.telemetry.metrics_source import MetricsSource
from workbench.telemetry.sampler import SourceLost

KIND = "surge"
NAME = "model"
START_TIMEOUT_S = 600.0
FULL_S, ALONE_S, READING_S = 8.0, 3.0, 4.0
POPULAR = 8
TPOT_FACTOR = 3.0
DRAIN_S = 60.0
RATE_BURST_S = 2.0
SHED_AT = 0.7  # of the promise on the first token may be spent in the queue
DEGRADE_AT = 0.2  # likewise, before answers become shorter


def run(spec: SurgeSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    return last_run(measure(spec, Path("surge")), on_progress)


def measure(spec: SurgeSpec, folder: Path) -> Iterator[Progress | Run]:
    """Capacity first, then the surge in every way, each on a drained engine."""
    started_at, device = utc_now(), chosen_device(spec.device)
    folder.mkdir(parents=True, exist_ok=True)
    room = ServerRoom(folder)
    total = float(len(spec.ways) + 2)
    yield Progress(step="starting the engine", done=0, total=total)
    port = free_port()
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
    theirs, ours = cores_apart()
    with on_cores(theirs):
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
    rows: list[Mapping[str, Any]] = []
    times: dict[str, Any] = {}
    try:
        yield Progress(step="what the engine can answer", done=1, total=total)
        with on_cores(ours):
            found = capacity_of(spec, room, engine.url, folder)
        tpot_s = spec.slo_tpot_s or TPOT_FACTOR * found["tpot_full_s"]
        calls = calls_of(spec, found["requests_per_s"])
        for n, way in enumerate(spec.ways):
            yield Progress(step=WAYS[way], done=2 + n, total=total, result={"rows": rows})
            _drained(engine.url)
            with on_cores(ours), ExitStack() as stack:
                url, keys = engine.url, {}
                if way != "direct":
                    url = stack.enter_context(_before(room, folder, engine.url, settings(way, spec, found)))
                    keys = {t: _key(t) for t in TENANTS}
                seen = ask_all(url, calls, keys=keys, patience_s=spec.patience_s)
            rows.append(scored(way, seen, spec, capacity_per_s=found["requests_per_s"], tpot_s=tpot_s))
            times[way] = over_time(seen, spec, tpot_s=tpot_s) | {"requests": _compact(seen)}
    finally:
        room.stop(engine)
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(device),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=rows,
        samples={
            "capacity": found,
            "slo_tpot_s": tpot_s,
            "over_time": times,
            "flags": admission_flags(spec, found),
            "engine_version": launch.version,
            "cores": {"engine": len(theirs), "gateway and clients": len(ours)},
        },
        failures=[],
    )


def cores_apart() -> tuple[set[int], set[int]]:
    """Cores for the engine, and for the gateway and the clients, who are on other machines as a rule; all for both where there is one only."""
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


def capacity_of(spec: SurgeSpec, room: ServerRoom, url: str, folder: Path) -> dict[str, float]:
    """What the engine does when it is full and not more: requests a second through an open gateway, and tokens of prompts a second.

    Through the gateway, because it takes part of the same machine.
    """
    alike: dict[str, Any] = {
        "model": NAME,
        "arrivals": "closed",
        "input_tokens": spec.input_tokens,
        "output_tokens": spec.output_tokens,
        "tokenizer": located(spec.model),
        "calibrate": False,
        "seed": spec.seed + 100,
    }
    load.run(LoadSpec(url=url, concurrency=spec.max_num_seqs, duration_s=2.0, **alike))  # warm
    alone = load.run(LoadSpec(url=url, concurrency=1, duration_s=ALONE_S, **alike))
    reading = load.run(
        LoadSpec(url=url, concurrency=spec.max_num_seqs, duration_s=READING_S, **alike | {"output_tokens": 1})
    )
    with _before(room, folder, url, settings("open", spec, None) | {"anonymous": ANYBODY}) as through:
        # Twice as many users as it takes, so that it never waits for the next question of one.
        full = load.run(LoadSpec(url=through, concurrency=2 * spec.max_num_seqs, duration_s=FULL_S, **alike))
    answered = [q for q in full.samples["requests"] if not q["error"]]
    read = [q for q in reading.samples["requests"] if not q["error"]]
    tpot = [(q["end_s"] - q["first_content_s"]) / max(1, q["output_tokens"] - 1) for q in answered]
    first = [q["first_content_s"] - q["sent_s"] for q in alone.samples["requests"] if not q["error"]]
    return {
        "requests_per_s": _per_s([q["end_s"] for q in answered]),
        "prompt_tokens_per_s": _per_s([q["end_s"] for q in read]) * spec.input_tokens,
        "tpot_full_s": float(np.median(tpot)),
        "ttft_alone_s": float(np.median(first)),
    }


def _per_s(ends: list[float]) -> float:
    """Ends a second, without the first and the last fifth of the time."""
    low, high = np.quantile(ends, [0.2, 0.8])
    return float(sum(low < e <= high for e in ends) / (high - low))


def calls_of(spec: SurgeSpec, capacity_per_s: float) -> list[Call]:
    """Who asks what, and when: the same for every way."""
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
    for start, until, factor in (
        (0.0, begin, spec.calm),
        (begin, end, spec.overload),
        (end, end + spec.after_s, spec.calm),
    ):
        rate, at = factor * capacity_per_s, start
        if spec.trace and factor == spec.overload:
            due += _as_traced(Path(spec.trace).expanduser(), start, until, round(rate * (until - start)))
            continue
        while (at := at + rng.expovariate(rate)) < until:
            due.append(at)
    return due


def _as_traced(file: Path, start: float, until: float, n: int) -> list[float]:
    """The first requests of a trace, so fast that they fill the time."""
    arrivals = read_trace(file)[: n + 1]
    scale = (until - start) / max(arrivals[-1].at_s, 1e-9)
    return [start + a.at_s * scale for a in arrivals[:-1]]


def settings(way: str, spec: SurgeSpec, found: Mapping[str, float] | None) -> dict[str, Any]:
    """The gateway's configuration of a way, with limits that follow from what was measured."""
    on = {
        "open": set(),
        "rates": {"rates"},
        "queue": {"queue"},
        "deadline": {"queue", "deadline"},
        "shorter": {"queue", "deadline", "shorter"},
        "cache": {"queue", "deadline", "cache"},
        "all": {"queue", "deadline", "shorter", "cache"},
    }[way]
    n = spec.max_num_seqs if "queue" in on else 4096
    tokens = spec.input_tokens + spec.output_tokens
    per_tenant = found["requests_per_s"] / len(TENANTS) if found is not None and "rates" in on else NO_LIMIT
    wait_s = round(SHED_AT * spec.slo_ttft_s, 4)
    made: dict[str, Any] = {
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
        made["degradation"] = [
            {
                "above_wait_s": round(DEGRADE_AT * spec.slo_ttft_s, 4),
                "most_answer_tokens": max(1, spec.output_tokens // 2),
            }
        ]
    return made


def admission_flags(spec: SurgeSpec, found: Mapping[str, float]) -> dict[str, int]:
    """The same limits as vLLM's own (0.33 and later): what may be under way and wait so that a first token still comes in time."""
    wait_s = SHED_AT * spec.slo_ttft_s
    return {
        "--max-num-seqs": spec.max_num_seqs,
        "--max-num-queued-reqs": spec.max_num_seqs + int(wait_s * found["requests_per_s"]),
        "--max-num-queued-tokens": int(wait_s * found["prompt_tokens_per_s"]),
    }


def _key(tenant: str) -> str:
    return f"key-of-{tenant}-in-the-surge-lab"


def _before(room: ServerRoom, folder: Path, engine_url: str, told: Mapping[str, Any]) -> AbstractContextManager[str]:
    upstreams = [{"name": "engine", "url": engine_url}]
    return gateway_before(room, folder, dict(told) | {"upstreams": upstreams})


def _drained(url: str) -> None:
    """Wait until nothing is left of what came before."""
    page, started = MetricsSource(url), time.monotonic()
    try:
        while time.monotonic() - started < DRAIN_S:
            told = page.read()
            if not sum(told.get(f"engine.num_requests_{what}", 0.0) for what in ("running", "waiting")):
                return
            time.sleep(0.2)
    except SourceLost:
        return
    finally:
        page.close()


def _compact(seen: list[Outcome]) -> dict[str, list[Any]]:
    """What became of every request, a list for each quantity."""
    kept = ("client", "due_s", "first_s", "end_s", "status", "error", "tpot_s")
    rows = [asdict(o) for o in seen]
    return {k: [round(r[k], 4) if isinstance(r[k], float) else r[k] for r in rows] for k in kept}
