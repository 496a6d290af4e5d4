"""The parts of a change of latency: queue, prefill, decode, and the network between client and server.

The parts are differences between two loads with their servers' counters: mean times in the server come from the sums of its histograms, and
the rest of what the client measured is network, proxy and client. The parts add up to the change that users saw.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from workbench.core.errors import NotAvailable
from workbench.core.language import gettext, gettext_noop
from workbench.core.runs import Run
from workbench.load.recording.rows import recording_of, span_of
from workbench.questions.latency.rows import e2e_s, holds_requests, requests_of
from workbench.telemetry.samples import Recording

IN_SERVER = (gettext_noop("queue"), gettext_noop("prefill"), gettext_noop("decode"))
PARTS = (*IN_SERVER, gettext_noop("client and network"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Mean seconds of a request in one load."""

    e2e_s: float
    """Mean end-to-end latency at the client, counted from when a request was due."""
    by_part_s: Mapping[str, float]
    """Mean time of each of ``PARTS``; they add up to ``e2e_s``."""
    n_requests: int
    requests_per_s: float
    input_tokens: float
    output_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The parts of two loads, and their differences."""

    baseline: Parts
    current: Parts
    change_s: float
    """Change of the mean end-to-end latency."""
    by_part_s: Mapping[str, float]
    """Change of each part; they add up to ``change_s``."""
    largest: str
    """Part that grew most, or shrank most when latency fell."""


def parts_of(run: Run) -> Parts:
    """Return the mean seconds of a request by part; raises ``NotAvailable`` without requests or the server's counters."""
    recording = recording_of(run)
    ended = [(q, seconds) for q in requests_of(run) if (seconds := e2e_s(q)) is not None] if holds_requests(run) else []
    if recording is None or not ended:
        raise NotAvailable(
            gettext("Run {id} has no samples of its server beside its requests.").format(id=run.id),
            remedy=gettext(
                "Measure with `workbench load URL --telemetry-hz 10`, on the server's machine or beside it."
            ),
        )
    start, end = span_of(run, recording)
    server = {part: _mean(recording, f"engine.request_{part}_time_seconds", start, end + 2.0) for part in IN_SERVER}
    e2e = float(np.mean([seconds for _, seconds in ended]))
    span = float(np.ptp([q.due_s for q, _ in ended]))
    return Parts(
        e2e_s=e2e,
        by_part_s={**server, "client and network": e2e - sum(server.values())},
        n_requests=len(ended),
        requests_per_s=(len(ended) - 1) / span if span > 0 else 0.0,
        input_tokens=float(np.mean([q.input_tokens for q, _ in ended])),
        output_tokens=float(np.mean([q.output_tokens for q, _ in ended])),
    )


def _mean(recording: Recording, name: str, start_s: float, end_s: float) -> float:
    total, count = (recording.increase(f"{name}_{what}", start_s, end_s) for what in ("sum", "count"))
    if total is None or not count:
        raise NotAvailable(
            gettext("The server's {name} was not sampled.").format(name=name),
            remedy=gettext("vLLM has it on its /metrics; other servers may not."),
        )
    return total / count


def latency_split(baseline: Run, current: Run) -> Split:
    """Return the change between a healthy load and the load in question by part; raises ``NotAvailable`` without the counters of their servers."""
    before, now = parts_of(baseline), parts_of(current)
    change_s = now.e2e_s - before.e2e_s
    by_part_s = {p: now.by_part_s[p] - before.by_part_s[p] for p in PARTS}
    sign = 1 if change_s >= 0 else -1
    largest = max(PARTS, key=lambda p: sign * by_part_s[p])
    return Split(baseline=before, current=now, change_s=change_s, by_part_s=by_part_s, largest=largest)


def known_split(baseline: Run, current: Run) -> Split | None:
    """Return the change by part; None without the counters of both servers."""
    try:
        return latency_split(baseline, current)
    except NotAvailable:
        return None
