"""What a device really does, as constants: fitted to products of single layers and to whole steps of one precision.

Products come from ``gemm`` runs, in any format; what surrounds them (host, kernels of other kinds, the cache) from the
steps of one plain precision in a ``serving_speed`` run. Every other precision is then predicted without having been seen.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from workbench.core.checkpoints import FORMATS
from workbench.core.errors import NotAvailable
from workbench.core.models import ModelSpec
from workbench.core.runs import Run
from workbench.core.serving_speed import FP8_KV
from workbench.estimate.linear_layers import products
from workbench.estimate.roofline import Ceilings

Floats = npt.NDArray[np.float64]
SHARPNESS = 4  # how sharply reading gives way to multiplying; 1 would add them, infinity take the longer
FITTED = ("bf16", f"bf16{FP8_KV}")
"""Precisions whose decoding steps the surroundings are fitted to."""
FITTED_PROMPTS = ("bf16", "fp8")
"""Precisions whose prompts are looked at: steady products of 16 and of 8 bits are slowed down differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductCurve:
    """Time of a product in one format: a launch, then the longer of reading and multiplying."""

    launch_s: float
    bandwidth_fraction: float
    flop_fraction: float
    log_error: float
    """Standard deviation of the logarithm of measured over fitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Constants of one device. Fractions are of the published bandwidth and dense peak rates."""

    device_id: str
    curves: Mapping[str, ProductCurve]
    """By format."""
    tables: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]
    """By format and "rows x columns": tokens, and measured over fitted time. Ratios, so that they can be lent to other
    devices."""
    layer_s: float
    """Everything in a layer that no product and no cache explains."""
    step_s: float
    sequence_s: float
    """Of each sequence in a step, on the host."""
    kv_fraction: Mapping[str, float]
    """Of the bandwidth, by width of the cache's numbers ("16", "8")."""
    prompt_start_s: float
    """Of prompts that are read together, once: scheduling and the first launches."""
    prompt_product_ratio: Mapping[str, float]
    """Products in long steps over products timed by themselves, by format; formats without an entry are like "bf16".
    Above 1 where the clock falls under steady load, below where the engine merges the making of inputs with other work."""
    attention_fraction: float
    """Of the 16-bit peak rate, for attention over prompts."""
    log_error_step: float
    log_error_prompt: float
    """Standard deviations of the logarithm of measured over predicted, on the precisions that were fitted to."""
    log_error_unseen_step: float
    log_error_unseen_prompt: float
    """The same on the run's other precisions, which the fit did not see."""
    sources: Sequence[str]
    """Ids of the runs."""
    link_latency_s: float | None = None
    """Of an all-reduce of few bytes; None where there was one device only."""
    link_bytes_per_s: float | None = None
    """That rings of large all-reduces reach."""
    log_error_link: float | None = None

    def to_json(self) -> str:
        """For a file."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Calibration":
        """Read back from a file."""
        data = json.loads(text)
        data["curves"] = {name: ProductCurve(**curve) for name, curve in data["curves"].items()}
        return cls(**data)


def curve_s(
    curve: ProductCurve, form: str, *, rows: float, columns: float, tokens: Floats, ceilings: Ceilings
) -> Floats:
    """Time of products with a weight of (rows, columns) for each number of tokens."""
    f = FORMATS[form]
    read = rows * columns * f.stored_bits(in_features=int(columns)) / 8 + 2 * tokens * (rows + columns)
    reading = read / (curve.bandwidth_fraction * ceilings.bandwidth_bytes_per_s)
    multiplying = 2 * rows * columns * tokens / (curve.flop_fraction * ceilings.flop_per_s[f.product_bits])
    longer: Floats = curve.launch_s + (reading**SHARPNESS + multiplying**SHARPNESS) ** (1 / SHARPNESS)
    return longer


def product_s(
    known: Calibration, form: str, *, rows: float, columns: float, tokens: Floats, ceilings: Ceilings
) -> Floats:
    """The same; where this very shape was measured, the curve is corrected to go through the measurements.

    Raises ``NotAvailable`` for a format that was never measured.
    """
    if form not in known.curves:
        raise NotAvailable(
            f"No product in {form} was measured on this device.", remedy=f"Measured are: {', '.join(known.curves)}."
        )
    made = curve_s(known.curves[form], form, rows=rows, columns=columns, tokens=tokens, ceilings=ceilings)
    table = known.tables.get(form, {}).get(f"{rows:.0f}x{columns:.0f}")
    if not table:
        return made
    correction = np.interp(np.log(tokens), np.log(np.asarray(table[0])), np.log(np.asarray(table[1])))
    corrected: Floats = made * np.exp(correction)
    return corrected


def fitted_curves(
    runs: Sequence[tuple[Run, ModelSpec]], ceilings: Ceilings
) -> tuple[dict[str, ProductCurve], dict[str, dict[str, list[list[float]]]]]:
    """A curve for each format, and by shape how far the measurements are from it."""
    points: dict[str, list[tuple[float, float, float, float]]] = {}
    tables: dict[str, dict[str, list[list[float]]]] = {}
    for run, model in runs:
        shapes = products(model)
        for row in run.results:
            if "p50_s" in row and row.get("role") in shapes:
                p = shapes[row["role"]]
                points.setdefault(row["format"], []).append((p.rows, p.columns, row["batch"], row["p50_s"]))
                table = tables.setdefault(row["format"], {}).setdefault(f"{p.rows}x{p.columns}", [[], []])
                table[0].append(float(row["batch"]))
                table[1].append(float(row["p50_s"]))
    curves = {form: _curve(form, found, ceilings) for form, found in points.items() if form in FORMATS}
    for form, curve in curves.items():
        for shape, table in tables[form].items():
            rows, columns = (float(n) for n in shape.split("x"))
            tokens, seconds = np.array(table[0]), np.array(table[1])
            made = curve_s(curve, form, rows=rows, columns=columns, tokens=tokens, ceilings=ceilings)
            table[1] = (seconds / made).tolist()
    return curves, {form: tables[form] for form in curves}


def _curve(form: str, points: Sequence[tuple[float, float, float, float]], ceilings: Ceilings) -> ProductCurve:
    measured = np.array([p[3] for p in points])

    def curve(theta: Floats) -> ProductCurve:
        launch, reading, multiplying = np.exp(theta)
        return ProductCurve(launch_s=launch, bandwidth_fraction=reading, flop_fraction=multiplying, log_error=0.0)

    def errors(theta: Floats) -> Floats:
        made = [
            curve_s(curve(theta), form, rows=r, columns=c, tokens=np.array([n]), ceilings=ceilings)[0]
            for r, c, n, _ in points
        ]
        off: Floats = np.log(np.array(made) / measured)
        return off

    found = least_squares(errors, np.log([3e-6, 0.7, 0.6]))
    launch, reading, multiplying = (float(v) for v in np.exp(found.x))
    return ProductCurve(
        launch_s=launch,
        bandwidth_fraction=reading,
        flop_fraction=multiplying,
        log_error=float(np.std(found.fun)),
    )


def fitted_link(n_bytes: Floats, seconds: Floats, *, world: int) -> tuple[float, float, float]:
    """Latency, bytes a second of a ring, and the remaining error (of logarithms), from all-reduces by size."""
    sent = 2 * (world - 1) / world * n_bytes
    (latency, rate), error = fitted_surroundings([1e-5, 1e11], lambda theta: theta[0] + sent / theta[1], seconds)
    return latency, rate, error


def fitted_surroundings(
    start: Sequence[float], predicted: Callable[[Floats], Floats], measured: Floats
) -> tuple[list[float], float]:
    """Positive constants with which predictions come nearest to measurements, and the remaining error (of logarithms)."""
    found = least_squares(lambda theta: np.log(predicted(np.exp(theta)) / measured), np.log(np.asarray(start)))
    return [float(v) for v in np.exp(found.x)], float(np.sqrt(np.mean(np.square(found.fun))))


def cells_of(run: Run, served: str) -> Mapping[str, Floats]:
    """Batch, context, time per output token and prefill of the measured cells of a precision."""
    rows: list[Mapping[str, Any]] = [r for r in run.results if r["served"] == served and r["status"] == "measured"]
    names = ("batch", "context_tokens", "tpot_p50_s", "prefill_s")
    return {name: np.array([float(r[name]) for r in rows]) for name in names}
