"""Time of each product of a model's linear layers, by format and number of tokens, with vLLM's kernels."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import located
from workbench.core.checkpoints import FORMATS, Format
from workbench.core.progress import SCRATCH, Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.serving_speed import GemmSpec
from workbench.core.statistics import quantile_interval
from workbench.engines.environments import require
from workbench.engines.inside_vllm.call import told
from workbench.estimate.linear_layers import products
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment

KIND = "gemm"


def run(spec: GemmSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measure(spec, Path(folder)), on_progress)


def measure(spec: GemmSpec, folder: Path) -> Iterator[Progress | Run]:
    """Progress and, last, the run: a row for each format, product and batch; formats without a kernel say why."""
    started_at = utc_now()
    device = chosen_device("auto")
    vllm_version = require("vllm", device=device.kind).version
    scratch = folder / SCRATCH
    scratch.mkdir(parents=True, exist_ok=True)
    shapes = products(model_spec_from(spec.model))
    request = {
        "model": located(spec.model),
        "formats": {name: _request(FORMATS[name]) for name in spec.formats},
        "shapes": [(p.rows, p.columns) for p in shapes.values()],
        "batches": spec.batches,
        "rounds": spec.rounds,
        "device": device.kind,
    }
    total = len(shapes) * len(spec.formats) + 2.0
    yield Progress(step="starting vLLM", done=0, total=total)
    results: list[Mapping[str, Any]] = []
    failures: list[Mapping[str, str]] = []
    samples: dict[str, Any] = {"seconds": {}}
    roles = {(p.rows, p.columns): role for role, p in shapes.items()}
    for i, line in enumerate(told("gemm", request, folder=scratch, device=device.kind)):
        if "format" not in line:
            samples["ceilings"] = line
            continue
        role = roles[line["rows"], line["columns"]]
        if "error" in line:
            failures.append(
                {"method": f"{line['format']} {role}", "cause": line["error"], "remedy": "Use another format."}
            )
        else:
            samples["seconds"][f"{line['format']} {role}"] = line["seconds"]
            results += [_row(line, role, int(batch), times) for batch, times in line["seconds"].items()]
        yield Progress(step=f"{line['format']} · {role}", done=i + 1.0, total=total)
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(device).with_package("vllm", vllm_version),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=results,
        samples=samples,
        failures=failures,
    )


def _request(form: Format) -> dict[str, Any]:
    if form.weights is None:
        return {"scheme": None, "format": None, "bits": form.bits}
    scheme: dict[str, Any] = {"weights": dict(form.weights)}
    if form.inputs is not None:
        scheme["input_activations"] = dict(form.inputs)
    return {"scheme": scheme, "format": form.packing, "bits": form.bits}


def _row(line: Mapping[str, Any], role: str, batch: int, times: list[float]) -> dict[str, Any]:
    median = quantile_interval(np.asarray(times), 0.5)
    return {
        "format": line["format"],
        "role": role,
        "rows": line["rows"],
        "columns": line["columns"],
        "kernel": line["kernel"],
        "batch": batch,
        "provenance": "measured",
        "p50_s": median.value,
        "p50_s_low": median.low,
        "p50_s_high": median.high,
        "n": len(times),
    }
