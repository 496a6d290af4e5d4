"""Rules evaluated over a measured load: the alerts that a watch of its server would have raised."""

from collections.abc import Sequence

import numpy as np

from workbench.alerts.defaults import TTFT_BOUNDS
from workbench.alerts.evaluator import Evaluator
from workbench.alerts.rules import Rule
from workbench.alerts.series import SeriesStore
from workbench.core.runs import Run
from workbench.load.recording.rows import recording_of
from workbench.load.rows import LoadSamples
from workbench.questions.monitoring.measure import evaluation_at
from workbench.questions.monitoring.rows import LiveEvaluation
from workbench.telemetry.samples import Floats

BOUNDS = (*TTFT_BOUNDS, "7.5", "10.0", "20.0", "40.0", "80.0", "+Inf")
RECORDED = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "num_preemptions_total")


def can_replay(run: Run) -> bool:
    """Return whether a run has requests, and the server's counters beside them."""
    recording = recording_of(run) if isinstance(run.samples, LoadSamples) else None
    return recording is not None and f"engine.{RECORDED[0]}" in recording


def replay(run: Run, rules: Sequence[Rule], *, interval_s: float = 5.0, prefix: str = "vllm:") -> list[LiveEvaluation]:
    """Return evaluations of the rules over a load at a steady interval, from its start to its last answer.

    The TTFT as the client measured it, from when the request was sent, is put into a histogram with vLLM's bounds at the time
    of the first token; gauges and preemptions are the server's values at that time. Nothing else of the server was kept, so
    rules on other metrics have no data.
    """
    recording, samples = recording_of(run), run.sampled(LoadSamples)
    origin = samples.started_monotonic_s or 0.0
    answered = [
        (q.first_content_s, q.first_content_s - q.sent_s, q.end_s or 0.0)
        for q in samples.requests
        if q.first_content_s is not None and q.sent_s is not None and not q.error
    ]
    firsts, ttfts, ends = np.array(answered).reshape(-1, 3).T
    store, evaluator, evaluations = SeriesStore(), Evaluator(rules), list[LiveEvaluation]()
    for at in map(float, np.arange(0.0, ends.max(initial=0.0) + interval_s, interval_s)):
        _add_ttfts(store, at, ttfts[firsts <= at], prefix)
        for metric in RECORDED:
            name = f"engine.{metric}"
            if recording is not None and name in recording:
                before = np.searchsorted(recording.times_s[name], origin + at, side="right")
                if before:
                    store.add(prefix + metric, {}, at, float(recording.values[name][before - 1]))
        evaluations.append(evaluation_at(evaluator, store, at))
    return evaluations


def _add_ttfts(store: SeriesStore, at_s: float, ttfts: Floats, prefix: str) -> None:
    histogram = f"{prefix}time_to_first_token_seconds"
    for bound in BOUNDS:
        store.add(f"{histogram}_bucket", {"le": bound}, at_s, float(np.sum(ttfts <= float(bound))))
    store.add(f"{histogram}_count", {}, at_s, float(ttfts.size))
