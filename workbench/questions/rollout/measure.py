"""Rollouts between two servers with real weights behind the gateway: a healthy version must be promoted, a degraded one rolled back."""

import json
import random
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from workbench.apparatus.gateway_process import ANYBODY, gateway_before
from workbench.apparatus.network_proxy import NetworkProxy, Way
from workbench.catalog.paths import HELD_OUT_TEXT, located
from workbench.core.language import gettext_noop
from workbench.core.progress import Progress
from workbench.engines.server import ServerCard, ServerRoom, free_port
from workbench.engines.serving import launch_for, rounded_weights
from workbench.load.crowd import Call, Outcome, ask_all
from workbench.load.prompts import body, open_tokenizer, prompt_text, single_token_words
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import Record
from workbench.questions.rollout.rows import NEW, OLD, Baseline, Look, RolloutResult, RolloutSamples, expected_phase
from workbench.questions.rollout.spec import SCENARIOS, RolloutSpec
from workbench.release.canary import RolloutState, verified_shares
from workbench.release.journal import Phase
from workbench.telemetry.devices import chosen_device

NAME = "model"
BITS = {"int8": 8, "broken": 3}
WAYS = {"errors": Way(refused=0.1), "slow": Way(delay_s=0.25)}
GOLD_EVERY_S = 0.15
N_PROMPTS, PROMPT_WORDS = 300, 24
BASELINE_S = 6.0
PART_S = 2.0  # of traffic between two looks at the state of the rollout
N_VERIFYING = 60
PATIENCE_S = 20.0


def measure(spec: RolloutSpec, record: Record) -> Iterator[Progress]:
    """Yield progress while each new version is rolled out, and fill the record with a row for each."""
    record.device = chosen_device("cpu")
    courses: dict[str, list[Look]] = {}
    room, total = ServerRoom(record.folder), float(len(spec.scenarios) + 1)
    yield Progress(step=gettext_noop("Starting the old version"), done=0, total=total)
    old = _served(room, spec.model, record.folder)
    try:
        stage = Stage(spec=spec, room=room, folder=record.folder, old_url=old.url, baseline=_baseline(spec, old.url))
        for n, scenario in enumerate(spec.scenarios):
            yield Progress(step=SCENARIOS[scenario], done=n + 1, total=total)
            row, courses[scenario] = _rolled_out(stage, scenario)
            record.rows.append(row)
    finally:
        room.stop(old)
    record.samples = RolloutSamples(courses=courses, baseline=stage.baseline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What all rollouts of a run have in common."""

    spec: RolloutSpec
    room: ServerRoom
    folder: Path
    old_url: str
    baseline: Baseline


def _served(room: ServerRoom, model: str, folder: Path) -> ServerCard:
    port = free_port()
    cache = folder / "models"
    launch = launch_for("torch", model, name=NAME, port=port, device="cpu", cache=cache, tell=lambda _: None)
    return room.start(
        launch.command,
        engine="torch",
        model=model,
        port=port,
        environment=dict(launch.variables) | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        timeout_s=300.0,
        tell=lambda _: None,
        ends_with_us=True,
    )


def _baseline(spec: RolloutSpec, url: str) -> Baseline:
    """Return the 95th percentiles of the old version alone, above which an answer is late or slow."""
    calls = _calls(spec, 0, duration_s=BASELINE_S)
    _outcomes(url, calls[:20])  # warm
    answered = [o for o in _outcomes(url, calls) if o.error is None]
    first = [o.first_s - o.due_s for o in answered if o.first_s is not None]
    paces = [o.tpot_s for o in answered if o.tpot_s is not None]
    return Baseline(ttft_p95_s=float(np.quantile(first, 0.95)), tpot_p95_s=float(np.quantile(paces, 0.95)))


def _outcomes(url: str, calls: list[Call]) -> list[Outcome]:
    return ask_all(url, calls, keys={}, patience_s=PATIENCE_S)


def _calls(spec: RolloutSpec, part: int, *, duration_s: float) -> list[Call]:
    """Return requests of users who each send one, so that shares of users are shares of requests."""
    rng = random.Random(f"{spec.seed} {part}")
    tokenizer = open_tokenizer(located(spec.model))
    assert tokenizer is not None
    words = single_token_words(tokenizer)
    settings = LoadSpec(url="http://localhost", model=NAME)
    calls, at = list[Call](), 0.0
    while (at := at + rng.expovariate(spec.rate_per_s)) < duration_s:
        text = prompt_text(words, spec.input_tokens, rng=rng)
        request = body(settings, text, output_tokens=spec.output_tokens)
        request |= {"user": f"user {part} {len(calls)}", "temperature": 0}
        calls.append(Call(client="user", due_s=at, body=request))
    return calls


def _rolled_out(stage: Stage, scenario: str) -> tuple[RolloutResult, list[Look]]:
    """Return how a rollout ended, and what was seen of it from one part of the traffic to the next."""
    spec, room, folder = stage.spec, stage.room, stage.folder
    model = spec.model
    if scenario in BITS:
        model = str(rounded_weights(Path(located(model)), bits=BITS[scenario], cache=folder / "models"))
    course: list[Look] = []
    with ExitStack() as stack:
        new = _served(room, model, folder)
        stack.callback(room.stop, new)
        url = new.url
        if scenario in WAYS:
            url = stack.enter_context(NetworkProxy(int(url.rsplit(":", 1)[1]), WAYS[scenario])).url
        journal = folder / f"{scenario}.journal"
        journal.unlink(missing_ok=True)  # of a run that was cancelled in this folder
        configuration = _configuration(stage, url, journal)
        through = stack.enter_context(gateway_before(room, folder, configuration, name=scenario))
        _outcomes(through, _calls(spec, -1, duration_s=1.0))  # opens connections
        began, outcomes = time.monotonic(), list[Outcome]()
        while True:
            part = _outcomes(through, _calls(spec, len(course) + 1, duration_s=PART_S))
            outcomes += part
            state = _state(through)
            n_failed = sum(o.error is not None for o in part)
            course.append(Look(at_s=time.monotonic() - began, n_failed=n_failed, state=state))
            if state.phase is not Phase.RUNNING or course[-1].at_s > spec.longest_s:
                break
        duration_s = time.monotonic() - began
        after = _outcomes(through, _calls(spec, 99_999, duration_s=N_VERIFYING / spec.rate_per_s))
    by_new = [o for o in outcomes if o.version == NEW]
    row = RolloutResult(
        scenario=scenario,
        phase=state.phase,
        reason=state.reason,
        is_right=state.phase is expected_phase(scenario),
        duration_s=duration_s,
        n_requests=len(outcomes),
        n_new=len(by_new),
        n_new_failed=sum(o.error is not None for o in by_new),
        last_share=max((look.state.shares[NEW] for look in course[:-1]), default=spec.steps[0]),
        answers=state.answers,
        evidence=state.evidence,
        is_verified=verified_shares([o.version or "nobody" for o in after], state.shares),
    )
    return row, course


def _configuration(stage: Stage, new_url: str, journal: Path) -> dict[str, object]:
    """Return the configuration of the gateway before both versions, in which only the rollout decides."""
    spec = stage.spec
    rollout = {
        "stable": OLD,
        "canary": NEW,
        "journal": str(journal),
        "gold": str(_gold(spec, stage.folder)),
        "steps": list(spec.steps),
        "least_requests": spec.least_requests,
        "alpha": spec.alpha,
        "late_ttft_s": stage.baseline.ttft_p95_s,
        "late_tpot_s": stage.baseline.tpot_p95_s,
        "disagreement": spec.disagreement,
        "gold_every_s": GOLD_EVERY_S,
    }
    return {
        "retry_share": 0.0,
        "anonymous": ANYBODY,
        "concurrency": {"first": 256, "most": 256, "target_ttft_s": 60.0},
        "breaker": {"least_calls": 10_000},
        "rollout": rollout,
        "upstreams": [{"name": v, "url": url, "version": v} for v, url in ((OLD, stage.old_url), (NEW, new_url))],
    }


def _gold(spec: RolloutSpec, folder: Path) -> Path:
    """Return a file of prompts from text that the model was not trained on."""
    file = folder / "gold.jsonl"
    words = HELD_OUT_TEXT.read_text(encoding="utf-8").split(" ")
    rng = random.Random(spec.seed)
    starts = [rng.randrange(len(words) - PROMPT_WORDS) for _ in range(N_PROMPTS)]
    prompts = (" ".join(words[s : s + PROMPT_WORDS]) for s in starts)
    file.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts), encoding="utf-8")
    return file


def _state(url: str) -> RolloutState:
    with urllib.request.urlopen(f"{url}/rollout", timeout=10) as response:  # noqa: S310 - of our own gateway
        return msgspec.json.decode(response.read(), type=RolloutState)
