"""Where a change of latency came from: queue, reading prompts, decoding, or the way between client and server.

The parts are differences between two loads with their servers' counters: a server's mean waits come from the sums of its histograms, and
what the client saw beyond them is network, proxy and client. The parts add up to the change that users saw.
"""

from dataclasses import dataclass

import numpy as np

from workbench.core.errors import NotAvailable
from workbench.core.runs import Run
from workbench.core.samples import Recording
from workbench.experiments.recording import recording_of, span_of

PARTS = ("queue", "prefill", "decode", "client and network")
COUNTERS = {
    "queue": "engine.request_queue_time_seconds",
    "prefill": "engine.request_prefill_time_seconds",
    "decode": "engine.request_decode_time_seconds",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Mean seconds of a request in one load."""

    e2e_s: float
    """As the client saw it, from when it was due."""
    by_part_s: dict[str, float]
    """By ``PARTS``; they add up to ``e2e_s``."""
    n_requests: int
    requests_per_s: float
    input_tokens: float
    output_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Two loads and their difference."""

    baseline: Parts
    current: Parts

    @property
    def change_s(self) -> float:
        """Of the mean end-to-end time."""
        return self.current.e2e_s - self.baseline.e2e_s

    @property
    def by_part_s(self) -> dict[str, float]:
        """Change of each part; they add up to ``change_s``."""
        return {p: self.current.by_part_s[p] - self.baseline.by_part_s[p] for p in PARTS}

    @property
    def largest(self) -> str:
        """The part that grew (or shrank, when latency fell) most."""
        sign = 1 if self.change_s >= 0 else -1
        return max(PARTS, key=lambda p: sign * self.by_part_s[p])


def parts_of(run: Run) -> Parts:
    """Mean seconds of a request by part; raises ``NotAvailable`` without requests or the server's counters."""
    made = recording_of(run)
    asked = [q for q in run.samples.get("requests", []) if not q.get("error") and q.get("end_s") is not None]
    if made is None or not asked:
        raise NotAvailable(
            f"Run {run.id} has no samples of its server beside its requests.",
            remedy="Measure with `workbench load URL --telemetry-hz 10`, on the server's machine or beside it.",
        )
    start, end = span_of(run, made)
    server = {part: _mean(made, name, start, end + 2.0) for part, name in COUNTERS.items()}
    e2e = float(np.mean([q["end_s"] - q["due_s"] for q in asked]))
    dues = [q["due_s"] for q in asked]
    span = max(dues) - min(dues)
    return Parts(
        e2e_s=e2e,
        by_part_s={**server, "client and network": e2e - sum(server.values())},
        n_requests=len(asked),
        requests_per_s=(len(asked) - 1) / span if span > 0 else 0.0,
        input_tokens=float(np.mean([q["input_tokens"] for q in asked])),
        output_tokens=float(np.mean([q["output_tokens"] for q in asked])),
    )


def _mean(made: Recording, name: str, start_s: float, end_s: float) -> float:
    grown = [made.increase(f"{name}_{what}", start_s, end_s) for what in ("sum", "count")]
    if grown[0] is None or not grown[1]:
        raise NotAvailable(
            f"The server's {name} was not sampled.", remedy="vLLM has it on its /metrics; other servers may not."
        )
    return grown[0] / grown[1]


def latency_split(baseline: Run, current: Run) -> Split:
    """Compare two loads.

    Args:
        baseline: A healthy one.
        current: The one in question.
    """
    return Split(baseline=parts_of(baseline), current=parts_of(current))
