"""A short measurement of a device that predictions are fitted to."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.core.calibration import CalibrationSpec
from workbench.core.errors import WorkbenchError
from workbench.core.progress import Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.statistics import quantile_interval
from workbench.experiments import gemm, serving_speed
from workbench.ops.all_reduce import AllReduceRequest, all_reduce_seconds, n_usable
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment

KIND = "calibration"
WORLDS = (2, 4, 8)  # devices of a tensor-parallel group


def run(spec: CalibrationSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measure(spec, Path(folder)), on_progress)


def measure(spec: CalibrationSpec, folder: Path) -> Iterator[Progress | Run]:
    """Progress and, last, the run: rows of products, of steps and of links, told apart by ``part``."""
    started_at, device = utc_now(), chosen_device("auto")
    rows: list[Mapping[str, Any]] = []
    samples: dict[str, Any] = {}
    failures: list[Mapping[str, str]] = []
    environment = read_environment(device)
    total = float(len(spec.parts))
    stages = {
        "gemm": gemm.measure(spec.gemm, folder / "gemm"),
        "serving_speed": serving_speed.measure(spec.steps, folder / "steps"),
    }
    for i, part in enumerate(p for p in spec.parts if p in stages):
        began = time.monotonic()
        for item in stages[part]:
            if isinstance(item, Run):
                rows += [dict(row) | {"part": part} for row in item.results]
                failures += item.failures
                environment = item.environment
            else:
                share = item.done / item.total if item.total else 0.0
                yield Progress(step=item.step, done=i + share, total=total)
        samples[f"{part}_wall_s"] = time.monotonic() - began
    n_gpus = n_usable() if "all_reduce" in spec.parts else 0
    for world in (n for n in WORLDS if n <= n_gpus):
        yield Progress(step=f"all-reduce on {world}", done=total - 1, total=total)
        request = AllReduceRequest(world=world, n_bytes=spec.all_reduce_bytes, rounds=spec.rounds, device=device.kind)
        try:
            rows += link_rows(all_reduce_seconds(request), world=world)
        except WorkbenchError as error:
            failures.append({"method": f"all-reduce on {world}", "cause": error.cause, "remedy": error.remedy})
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=environment,
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=rows,
        samples=samples,
        failures=failures,
    )


def link_rows(seconds: Mapping[int, list[float]], *, world: int) -> list[dict[str, Any]]:
    """A row for each size of all-reduces."""
    rows = []
    for n_bytes, times in seconds.items():
        p50 = quantile_interval(np.asarray(times), 0.5)
        row = {"part": "all_reduce", "world": world, "n_bytes": n_bytes, "provenance": "measured", "n": len(times)}
        rows.append(row | {"p50_s": p50.value, "p50_s_low": p50.low, "p50_s_high": p50.high})
    return rows
