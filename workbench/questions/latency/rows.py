"""What a diagnosis reads of a load: its requests and their latencies over time."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.core.errors import NotAvailable
from workbench.core.language import gettext, gettext_noop
from workbench.core.runs import Run
from workbench.load.rows import KeptRequest, LoadResult, LoadSamples
from workbench.load.spec import LoadSpec

Points = list[tuple[float, float]]
"""Seconds since the start of a load, and a latency in seconds."""
LATENCIES = {"ttft": "TTFT", "e2e": gettext_noop("End-to-end latency")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Evidence of one clue for or against a cause."""

    text: str
    score: float
    """From -1, against the cause, to 1, for it."""
    weight: float
    """How much the clue counts among the clues of its cause."""


def holds_requests(run: Run) -> bool:
    """Return whether a run is a load that sent requests."""
    return isinstance(run.samples, LoadSamples) and bool(run.samples.requests)


def requests_of(run: Run) -> Sequence[KeptRequest]:
    """Return the requests of a load; raises ``NotAvailable`` for another kind of run, or one without requests."""
    if not holds_requests(run):
        raise NotAvailable(
            gettext("Run {id} holds no requests.").format(id=run.id),
            remedy=gettext("Name a run of `workbench load`."),
        )
    return run.sampled(LoadSamples).requests


def ttft_s(request: KeptRequest) -> float | None:
    """Return the TTFT of a request, counted from when it was due; None for one that failed or got no token."""
    return _since_due(request, request.first_content_s)


def e2e_s(request: KeptRequest) -> float | None:
    """Return the end-to-end latency of a request, counted from when it was due; None for one that failed or did not end."""
    return _since_due(request, request.end_s)


def _since_due(request: KeptRequest, moment_s: float | None) -> float | None:
    return None if request.error or moment_s is None else moment_s - request.due_s


def latencies(run: Run, name: str) -> Points:
    """Return when each request was due and its TTFT or end-to-end latency, in the order of time."""
    latency = {"ttft": ttft_s, "e2e": e2e_s}[name]
    ordered = sorted(requests_of(run), key=lambda r: r.due_s)
    return [(r.due_s, seconds) for r in ordered if (seconds := latency(r)) is not None]


def label(run: Run) -> str:
    """Return the name of a load in a list of loads."""
    when = run.finished_at[:16].replace("T", " ")
    result, spec = run.row(LoadResult), run.asked(LoadSpec)
    rate = result.rates.offered_per_s if result and result.rates else None
    shown = f", {rate:.1f} requests/s" if rate else ""
    lengths = gettext("{input}+{output} tokens").format(input=spec.input_tokens, output=spec.output_tokens)
    warned = f" · {', '.join(w.kind for w in result.warnings)}" if result and result.warnings else ""
    return f"{spec.model}{shown} · {lengths} · {run.environment.device} · {when}{warned}"
