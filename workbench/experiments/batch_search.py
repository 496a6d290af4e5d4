"""The best batch for a causal language model in PyTorch under a limit on time and on memory."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from workbench.catalog.models import model_spec_from
from workbench.compress.batch_steps import BatchSteps, allocated_bytes, free_bytes
from workbench.core.batch_search import QUANTILE, BatchSearchSpec
from workbench.core.errors import DoesNotFit
from workbench.core.progress import Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.units import shown_duration
from workbench.estimate.best_batch import Search, Trial, grid, search
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment

KIND = "batch_search"
FREE_SHARE = 0.9


def run(spec: BatchSearchSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    return last_run(measure(spec, Path()), on_progress)


def measure(spec: BatchSearchSpec, _folder: Path) -> Iterator[Progress | Run]:
    """A trial after the other, and last the run: a row for each trial, and the best batch in ``samples``."""
    started_at, device = utc_now(), chosen_device(spec.device)
    model_spec_from(spec.model)
    yield Progress(step="loading the model", done=0, total=12)
    before = allocated_bytes(device.kind)
    worker = BatchSteps(spec, device=device.kind)
    limit = spec.memory_gib * 2**30 if spec.memory_gib else worker.now_bytes() + FREE_SHARE * free_bytes(device.kind)
    if worker.now_bytes() > limit:
        raise DoesNotFit(
            f"The model alone takes {worker.now_bytes() / 2**30:.2f} GiB of {limit / 2**30:.2f}.",
            remedy="Allow more memory, or take a smaller model or precision.",
        )
    found = Search()

    def try_batch(batch: int) -> Trial:
        return worker.trial(batch, limit_bytes=limit)

    trials = (
        _every(try_batch, found, spec.largest)
        if spec.is_exhaustive
        else search(try_batch, largest=spec.largest, memory_bytes=limit, found=found)
    )
    for n, trial in enumerate(trials, start=1):
        shown = trial.reason or f"{trial.per_s:.3g} sequences/s, {shown_duration(trial.median_s)} a step"
        yield Progress(
            step=f"batch {trial.batch}: {shown}",
            done=n,
            total=max(n + 1, 12),
            result={"rows": [_row(t, found) for t in found.trials]},
        )
    worker.close()
    left = allocated_bytes(device.kind) - before
    best = found.best
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(device),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=[_row(t, found) for t in found.trials],
        samples={
            "best_batch": best,
            "per_s": {str(b): found.per_s(b) for b in sorted({t.batch for t in found.trials}) if found.fits(b)},
            "memory_limit_bytes": limit,
            "left_bytes": left if device.kind == "cuda" else None,
            "seconds": [list(t.seconds) for t in found.trials],
        },
        failures=[],
    )


def _every(try_batch: Callable[[int], Trial], found: Search, largest: int) -> Iterator[Trial]:
    for batch in grid(largest):
        trial = try_batch(batch)
        found.trials.append(trial)
        yield trial
        if trial.reason == "memory":
            return


def _row(trial: Trial, found: Search) -> dict[str, Any]:
    row: dict[str, Any] = {k: v for k, v in asdict(trial).items() if k != "seconds"}
    predicted = found.predicted_bytes.get(trial.batch)
    row |= {"status": trial.reason or "fits", "provenance": "measured", "predicted_bytes": predicted}
    if trial.seconds:
        row |= {
            "p50_s": trial.median_s,
            "p90_s": float(np.quantile(trial.seconds, QUANTILE)),
            "sequences_per_s": trial.per_s,
        }
    return row
