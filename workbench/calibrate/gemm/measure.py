"""Time of each product of a model's linear layers, by format and number of tokens, with vLLM's kernels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from workbench.calibrate.gemm.rows import GemmSamples, MeasuredPeaks
from workbench.calibrate.gemm.spec import GemmSpec
from workbench.catalog.formats import FORMATS, Format
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import located
from workbench.core.language import gettext_noop
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.core.statistics import median_over_rounds
from workbench.engines.environments import require
from workbench.engines.inside_vllm.call import script_lines
from workbench.estimate.linear_layers import products
from workbench.estimate.rows import ProductTime
from workbench.measuring.envelope import Record
from workbench.telemetry.devices import chosen_device


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductLine:
    """Timings of a product, as the script in vLLM's environment prints them."""

    format: str
    rows: int
    columns: int
    kernel: str = ""
    seconds: Mapping[int, Sequence[float]] = field(default_factory=dict)
    """Timings by number of tokens."""
    error: str | None = None


def measure(spec: GemmSpec, record: Record) -> Iterator[Progress]:
    """Time each format, product and batch, a row for each; formats without a kernel say why."""
    record.device = device = chosen_device("auto")
    record.packages["vllm"] = require("vllm", device=device.kind).version
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
    yield Progress(step=gettext_noop("starting vLLM"), done=0, total=total)
    seconds: dict[str, dict[str, Mapping[int, Sequence[float]]]] = {}
    peaks: MeasuredPeaks | None = None
    roles = {(p.rows, p.columns): role for role, p in shapes.items()}
    for i, message in enumerate(script_lines("gemm", request, folder=record.kept.scratch, device=device.kind)):
        if "format" not in message:
            peaks = msgspec.convert(message, MeasuredPeaks)
            continue
        line = msgspec.convert(message, ProductLine, str_keys=True)
        role = roles[line.rows, line.columns]
        if line.error is not None:
            failure = Failure(subject=f"{line.format} {role}", cause=line.error, remedy="Use another format.")
            record.failures.append(failure)
        else:
            seconds.setdefault(line.format, {})[role] = line.seconds
            record.rows += [_row(line, role, batch, times) for batch, times in line.seconds.items()]
        yield Progress(step=f"{line.format} · {role}", done=i + 1.0, total=total)
    record.samples = GemmSamples(seconds=seconds, peaks=peaks)


def _request(form: Format) -> dict[str, object]:
    if form.weights is None:
        return {"scheme": None, "format": None, "bits": form.bits}
    scheme = {"weights": dict(form.weights)}
    if form.inputs is not None:
        scheme["input_activations"] = dict(form.inputs)
    return {"scheme": scheme, "format": form.packing, "bits": form.bits}


def _row(line: ProductLine, role: str, batch: int, times: Sequence[float]) -> ProductTime:
    return ProductTime(
        format=line.format,
        role=role,
        rows=line.rows,
        columns=line.columns,
        kernel=line.kernel,
        batch=batch,
        p50_s=median_over_rounds(np.asarray(times)),
        n=len(times),
    )
