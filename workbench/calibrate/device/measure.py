"""A short measurement of a device that predictions are fitted to."""

import time
from collections.abc import Iterator, Mapping

import numpy as np

from workbench.calibrate.all_reduce import AllReduceRequest, all_reduce_seconds, n_usable
from workbench.calibrate.device.rows import CalibrationSamples
from workbench.calibrate.device.spec import CalibrationSpec
from workbench.core.errors import WorkbenchError
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.core.runs import Run
from workbench.core.statistics import median_over_rounds
from workbench.estimate.rows import AllReduceTime
from workbench.measuring.envelope import Record, measured
from workbench.telemetry.devices import chosen_device

WORLDS = (2, 4, 8)  # devices of a tensor-parallel group


def measure(spec: CalibrationSpec, record: Record) -> Iterator[Progress]:
    """Yield progress; the record gets rows of products, of steps and of all-reduces."""
    total = float(len(spec.parts))
    stages = {
        "gemm": measured(spec.gemm, record.folder / "gemm"),
        "serving_speed": measured(spec.steps, record.folder / "steps"),
    }
    wall_s: dict[str, float] = {}
    for i, part in enumerate(p for p in spec.parts if p in stages):
        began = time.monotonic()
        for item in stages[part]:
            if isinstance(item, Run):
                record.rows += item.results
                record.failures += item.failures
                record.environment = item.environment
            else:
                share = item.done / item.total if item.total else 0.0
                yield Progress(step=item.step, done=i + share, total=total)
        wall_s[part] = time.monotonic() - began
    record.samples = CalibrationSamples(wall_s=wall_s)
    n_gpus = n_usable() if "all_reduce" in spec.parts else 0
    for world in (n for n in WORLDS if n <= n_gpus):
        yield Progress(step=f"all-reduce on {world}", done=total - 1, total=total)
        device = chosen_device("auto").kind
        request = AllReduceRequest(world=world, n_bytes=spec.all_reduce_bytes, rounds=spec.rounds, device=device)
        try:
            record.rows += link_rows(all_reduce_seconds(request), world=world)
        except WorkbenchError as error:
            record.failures.append(Failure.of(error, f"all-reduce on {world}"))


def link_rows(seconds: Mapping[int, list[float]], *, world: int) -> list[AllReduceTime]:
    """Return a row for each size of all-reduces."""
    return [
        AllReduceTime(world=world, n_bytes=n_bytes, p50_s=median_over_rounds(np.asarray(times)), n=len(times))
        for n_bytes, times in seconds.items()
    ]
