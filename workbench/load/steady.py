"""Where a load has settled: the warm-up that is cut, and the end of arrivals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.load.request_record import RequestRecord

BATCH = 5
SIGNIFICANT = 3.0  # standard errors between the part that is cut and the rest


@dataclass(frozen=True, slots=True)
class SteadyState:
    """The part of a load in which latencies do not drift any more: seconds since its start."""

    start_s: float
    end_s: float
    n_cut: int


def steady_state(records: Sequence[RequestRecord]) -> SteadyState:
    """Return the part from the end of the warm-up to the last arrival.

    The warm-up is found by MSER-5 (White 1997) on TTFT and, apart from it, on the number of requests in flight;
    the later of both counts, and only a cut whose mean differs clearly from that of the rest.
    """
    ordered = sorted(records, key=lambda r: r.due_s)
    last = max((r.due_s for r in ordered), default=0.0)
    ttft = [(r.first_content_s - r.due_s) if r.first_content_s is not None else np.nan for r in ordered]
    series = [np.asarray(ttft, dtype=np.float64)]
    ends = np.sort([r.end_s for r in ordered if r.end_s is not None])
    due = np.array([r.due_s for r in ordered], dtype=np.float64)
    if due.size:
        in_flight = np.arange(1.0, due.size + 1) - np.searchsorted(ends, due, side="right")
        series.append(in_flight.astype(np.float64))
    cut = max((_mser(np.nan_to_num(s, nan=np.nanmax(s) if np.isfinite(s).any() else 0.0)) for s in series), default=0)
    start = float(due[cut]) if cut else 0.0
    return SteadyState(start_s=start, end_s=float(last), n_cut=cut)


def _mser(values: np.ndarray) -> int:
    """Return the number of values to cut at the beginning."""
    n = values.size // BATCH
    if n < 8:
        return 0
    means = values[: n * BATCH].reshape(n, BATCH).mean(1)
    best, best_score = 0, np.inf
    for d in range(n // 2):
        rest = means[d:]
        score = rest.var() / rest.size
        if score < best_score - 1e-15:
            best, best_score = d, score
    if best == 0:
        return 0
    rest, head = means[best:], means[:best]
    error = max(float(rest.std(ddof=1)) / np.sqrt(min(best, rest.size)), 1e-9)
    return best * BATCH if abs(head.mean() - rest.mean()) > SIGNIFICANT * error else 0
