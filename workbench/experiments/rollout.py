"""Rollouts between two servers with real weights, through the gateway: a healthy version must take over, a bad one must go back."""

import json
import random
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from workbench.catalog.paths import HELD_OUT_TEXT, located
from workbench.core.load import LoadSpec
from workbench.core.progress import Progress
from workbench.core.rollout import HEALTHY, SCENARIOS, RolloutSpec
from workbench.core.runs import Run, last_run, utc_now
from workbench.engines.server import ServerCard, ServerRoom, free_port
from workbench.experiments.gateway_process import ANYBODY, gateway_before
from workbench.experiments.serving import launch_for, rounded_weights
from workbench.load.crowd import Call, Outcome, ask_all
from workbench.load.prompts import body, open_tokenizer, prompt_text, single_token_words
from workbench.release.canary import verified_shares
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment
from workbench.testing.network_proxy import NetworkProxy, Way

KIND = "rollout"
NAME = "model"
OLD, NEW = "old", "new"
BITS = {"int8": 8, "broken": 3}
FAILING, DELAY_S = 0.1, 0.25
GOLD_EVERY_S = 0.15
N_PROMPTS, PROMPT_WORDS = 300, 24
PART_S = 2.0  # of traffic, between two looks at where the rollout is
N_VERIFYING = 60


def run(spec: RolloutSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    return last_run(measure(spec, Path("rollout")), on_progress)


def measure(spec: RolloutSpec, folder: Path) -> Iterator[Progress | Run]:
    """A rollout for each scenario; last the run."""
    started_at, device = utc_now(), chosen_device("cpu")
    folder.mkdir(parents=True, exist_ok=True)
    room, rows, courses = ServerRoom(folder), list[Mapping[str, Any]](), dict[str, Any]()
    total = float(len(spec.scenarios) + 1)
    yield Progress(step="starting the old version", done=0, total=total)
    old = _served(room, spec.model, folder)
    try:
        usual = _usual(spec, old.url)
        for n, scenario in enumerate(spec.scenarios):
            yield Progress(step=SCENARIOS[scenario], done=n + 1, total=total, result={"rows": rows})
            row, course = _one(spec, scenario, room, old, usual, folder)
            rows.append(row)
            courses[scenario] = course
    finally:
        room.stop(old)
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(device),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=rows,
        samples={"courses": courses, "usual": usual},
        failures=[],
    )


def _served(room: ServerRoom, model: str, folder: Path) -> ServerCard:
    port = free_port()
    launch = launch_for(
        "torch", model, name=NAME, port=port, device="cpu", cache=folder / "models", tell=lambda _: None
    )
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


def _usual(spec: RolloutSpec, url: str) -> dict[str, float]:
    """Waits of the old version alone: their 95th percentiles say from when on an answer is late."""
    calls = _calls(spec, 0, duration_s=6.0)
    ask_all(url, calls[:20], keys={}, patience_s=20.0)  # warm
    seen = [o for o in ask_all(url, calls, keys={}, patience_s=20.0) if o.error is None]
    first = [o.first_s - o.due_s for o in seen if o.first_s is not None]
    paces = [o.tpot_s for o in seen if o.tpot_s is not None]
    return {"ttft_p95_s": float(np.quantile(first, 0.95)), "tpot_p95_s": float(np.quantile(paces, 0.95))}


def _calls(spec: RolloutSpec, part: int, *, duration_s: float) -> list[Call]:
    """Requests of users who each come once, so that shares of users are shares of requests."""
    rng = random.Random(f"{spec.seed} {part}")
    tokenizer = open_tokenizer(located(spec.model))
    assert tokenizer is not None
    words = single_token_words(tokenizer)
    alike = LoadSpec(url="http://localhost", model=NAME)
    calls, at = list[Call](), 0.0
    while (at := at + rng.expovariate(spec.rate_per_s)) < duration_s:
        text = prompt_text(words, spec.input_tokens, rng=rng)
        asked = body(alike, text, output_tokens=spec.output_tokens) | {
            "user": f"user {part} {len(calls)}",
            "temperature": 0,
        }
        calls.append(Call(client="user", due_s=at, body=asked))
    return calls


def _one(
    spec: RolloutSpec, scenario: str, room: ServerRoom, old: ServerCard, usual: Mapping[str, float], folder: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A rollout, and what was seen of it from one part of the traffic to the next."""
    model = spec.model
    if scenario in BITS:
        model = str(rounded_weights(Path(located(spec.model)), bits=BITS[scenario], cache=folder / "models"))
    course: list[dict[str, Any]] = []
    with ExitStack() as stack:
        new = _served(room, model, folder)
        stack.callback(room.stop, new)
        url = new.url
        if scenario in {"errors", "slow"}:
            way = Way(refused=FAILING) if scenario == "errors" else Way(delay_s=DELAY_S)
            url = stack.enter_context(NetworkProxy(int(new.url.rsplit(":", 1)[1]), way)).url
        told = _configured(folder / f"{scenario}.journal", old.url, url, _rule(spec, usual), _gold(spec, folder))
        through = stack.enter_context(gateway_before(room, folder, told, name=scenario))
        ask_all(through, _calls(spec, -1, duration_s=1.0), keys={}, patience_s=20.0)  # opens connections
        began, n_requests, n_new, n_bad = time.monotonic(), 0, 0, 0
        state: dict[str, Any] = {}
        for part in range(1, 10_000):
            seen = ask_all(through, _calls(spec, part, duration_s=PART_S), keys={}, patience_s=20.0)
            n_requests += len(seen)
            n_new += sum(o.version == NEW for o in seen)
            n_bad += sum(o.version == NEW and o.error is not None for o in seen)
            state = _state(through)
            course.append(state | {"at_s": time.monotonic() - began, "failed": sum(o.error is not None for o in seen)})
            if state["phase"] != "running" or time.monotonic() - began > spec.longest_s:
                break
        took_s = time.monotonic() - began
        after = ask_all(
            through, _calls(spec, 99_999, duration_s=N_VERIFYING / spec.rate_per_s), keys={}, patience_s=20.0
        )
    wanted = "promoted" if scenario in HEALTHY else "rolled back"
    row = {
        "scenario": scenario,
        "provenance": "measured",
        "phase": state["phase"],
        "why": state["why"],
        "is_right": state["phase"] == wanted,
        "took_s": took_s,
        "n_requests": n_requests,
        "n_new": n_new,
        "n_new_failed": n_bad,
        "last_share": max(c["shares"][NEW] for c in course[:-1]) if len(course) > 1 else spec.steps[0],
        "n_answers": state["answers"]["n"],
        "n_answers_differ": state["answers"]["differ"],
        "evidence": state["evidence"],
        "is_verified": _is_verified(after, state["shares"]),
    }
    return row, course


def _rule(spec: RolloutSpec, usual: Mapping[str, float]) -> dict[str, Any]:
    return {
        "steps": list(spec.steps),
        "least_requests": spec.least_requests,
        "alpha": spec.alpha,
        "late_ttft_s": usual["ttft_p95_s"],
        "late_tpot_s": usual["tpot_p95_s"],
        "disagreement": spec.disagreement,
        "gold_every_s": GOLD_EVERY_S,
    }


def _configured(journal: Path, old: str, new: str, rule: Mapping[str, Any], gold: Path) -> dict[str, Any]:
    """The gateway before both versions, with nothing but the rollout that decides."""
    journal.unlink(missing_ok=True)
    return {
        "retry_share": 0.0,
        "anonymous": ANYBODY,
        "concurrency": {"first": 256, "most": 256, "target_ttft_s": 60.0},
        "breaker": {"least_calls": 10_000},
        "rollout": dict(rule) | {"stable": OLD, "canary": NEW, "journal": str(journal), "gold": str(gold)},
        "upstreams": [{"name": OLD, "url": old, "version": OLD}, {"name": NEW, "url": new, "version": NEW}],
    }


def _gold(spec: RolloutSpec, folder: Path) -> Path:
    """Beginnings of sentences of text that the model was not trained on, as a file of prompts."""
    file = folder / "gold.jsonl"
    words = HELD_OUT_TEXT.read_text(encoding="utf-8").split(" ")
    rng = random.Random(spec.seed)
    starts = [rng.randrange(len(words) - PROMPT_WORDS) for _ in range(N_PROMPTS)]
    file.write_text(
        "".join(json.dumps({"prompt": " ".join(words[s : s + PROMPT_WORDS])}) + "\n" for s in starts), encoding="utf-8"
    )
    return file


def _is_verified(after: Sequence[Outcome], shares: dict[str, float]) -> bool:
    """Whether those who answer now are those who should."""
    return verified_shares([o.version or "nobody" for o in after], shares)


def _state(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/rollout", timeout=10) as response:  # noqa: S310 - of our own gateway
        told: dict[str, Any] = json.load(response)
    return told
