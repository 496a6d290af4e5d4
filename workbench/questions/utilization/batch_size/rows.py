"""What a search leaves behind: a row for each trial, in order, and the batch that was chosen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from workbench.core.language import gettext
from workbench.core.rows import Row, Samples
from workbench.estimate.best_batch import QUANTILE, Search, Trial

STATUSES = {
    "fits": gettext("fits"),
    "latency": gettext("above the time limit"),
    "memory": gettext("above the memory limit"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTimes:
    """Times of the steps of a trial."""

    p50_s: float
    p90_s: float
    sequences_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTrial(Row):
    """One batch that was tried."""

    part: ClassVar[str] = "trial"

    batch: int
    status: Literal["fits", "latency", "memory"]
    """Whether the batch is within the limits, or the limit that it is above."""
    peak_bytes: float
    """Peak memory of the device, weights included."""
    predicted_bytes: float | None = None
    """Peak memory that smaller batches predicted; None where fewer than two had been tried."""
    times: TrialTimes | None = None
    """None where no step ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchChoice(Row):
    """What the search came to."""

    part: ClassVar[str] = "choice"

    best_batch: int | None
    """Batch with the highest throughput within the limits; None where none is."""
    sequences_per_s: Mapping[int, float]
    """Throughput of each batch within the limits, over all its trials."""
    memory_limit_bytes: float
    left_bytes: float | None = None
    """GPU memory that was still allocated after the search; None on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSearchSamples(Samples):
    """Raw samples of a search."""

    seconds: Sequence[Sequence[float]] = field(default_factory=list)
    """Step times of each trial, in the order of the trials."""


ROWS = (BatchTrial, BatchChoice)
SAMPLES = BatchSearchSamples


def row_of(trial: Trial, search: Search) -> BatchTrial:
    """Return the row of a trial; it has times only where a step ended."""
    times = None
    if trial.seconds:
        p90_s = float(np.quantile(trial.seconds, QUANTILE))
        times = TrialTimes(p50_s=trial.median_s, p90_s=p90_s, sequences_per_s=trial.per_s)
    return BatchTrial(
        batch=trial.batch,
        status=trial.reason or "fits",
        peak_bytes=trial.peak_bytes,
        predicted_bytes=search.predicted_bytes.get(trial.batch),
        times=times,
    )


def choice_of(search: Search, *, limit_bytes: float, left_bytes: float | None) -> BatchChoice:
    """Return the best batch of a search, and the throughput of each that fits."""
    fitting = [b for b in sorted({t.batch for t in search.trials}) if search.fits(b)]
    return BatchChoice(
        best_batch=search.best,
        sequences_per_s={b: search.per_s(b) for b in fitting},
        memory_limit_bytes=limit_bytes,
        left_bytes=left_bytes,
    )


def by_batch(rows: Iterable[BatchTrial]) -> dict[int, list[BatchTrial]]:
    """Return the trials of each batch, from the smallest batch on."""
    trials: dict[int, list[BatchTrial]] = {}
    for row in sorted(rows, key=lambda r: r.batch):
        trials.setdefault(row.batch, []).append(row)
    return trials
