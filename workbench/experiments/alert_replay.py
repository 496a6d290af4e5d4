"""Rules over a load that was measured: what a watch beside it would have told."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workbench.alerts.defaults import TTFT_BOUNDS
from workbench.alerts.evaluator import Evaluator
from workbench.alerts.rules import Rule
from workbench.alerts.series import SeriesStore
from workbench.core.runs import Run
from workbench.experiments.monitoring import Look, looked
from workbench.experiments.recording import recording_of

BOUNDS = (*TTFT_BOUNDS, "7.5", "10.0", "20.0", "40.0", "80.0", "+Inf")
RECORDED = {
    "engine.num_requests_running": "num_requests_running",
    "engine.num_requests_waiting": "num_requests_waiting",
    "engine.kv_cache_usage_perc": "kv_cache_usage_perc",
    "engine.num_preemptions_total": "num_preemptions_total",
}


def can_replay(run: Run) -> bool:
    """Whether a run has requests, and the server's counters beside them."""
    made = recording_of(run) if run.kind == "load" else None
    return made is not None and "engine.num_requests_running" in made


def replayed(run: Run, rules: Sequence[Rule], *, interval_s: float = 5.0, prefix: str = "vllm:") -> list[Look]:
    """Looks at a load at a steady interval, from its start to its last answer.

    First tokens are put into a histogram with vLLM's bounds at the moment that the client saw them, from when the request
    was sent; gauges and preemptions are what the server said at the time. Nothing else of the server was kept, so rules
    about other metrics have nothing to say.
    """
    made = recording_of(run)
    origin = float(run.samples["started_monotonic_s"])
    asked = [q for q in run.samples["requests"] if q.get("first_content_s") is not None and not q.get("error")]
    firsts = np.array([q["first_content_s"] for q in asked])
    waits = np.array([q["first_content_s"] - q["sent_s"] for q in asked])
    end = max((q["end_s"] for q in asked), default=0.0)
    store, evaluator, looks = SeriesStore(), Evaluator(rules), []
    for at in np.arange(0.0, end + interval_s, interval_s):
        _add_waits(store, float(at), waits[firsts <= at], prefix)
        if made is not None:
            for name, metric in RECORDED.items():
                if name in made:
                    before = np.searchsorted(made.times_s[name], origin + at, side="right")
                    if before:
                        store.add(prefix + metric, {}, float(at), float(made.values[name][before - 1]))
        looks.append(looked(evaluator, store, float(at)))
    return looks


def _add_waits(store: SeriesStore, at_s: float, waits: Any, prefix: str) -> None:
    for bound in BOUNDS:
        count = float(np.sum(waits <= float(bound)))
        store.add(f"{prefix}time_to_first_token_seconds_bucket", {"le": bound}, at_s, count)
    store.add(f"{prefix}time_to_first_token_seconds_count", {}, at_s, float(waits.size))


def spans(looks: Sequence[Mapping[str, Any]], key: str) -> dict[str, list[tuple[float, float]]]:
    """When each rule was in a state, from look to look.

    Args:
        looks: Rows of ``look_row`` in the order of time.
        key: "firing" or "pending".
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for this, following in zip(looks, [*looks[1:], None], strict=True):
        end = following["at_s"] if following is not None else this["at_s"]
        for name in this[key]:
            mine = found.setdefault(name, [])
            if mine and mine[-1][1] == this["at_s"]:
                mine[-1] = (mine[-1][0], end)
            else:
                mine.append((this["at_s"], end))
    return found
