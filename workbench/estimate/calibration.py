"""What a device really does, as constants: fitted to products of single layers and to whole steps of one precision.

Products come from ``gemm`` runs, in any format; what surrounds them (host, kernels of other kinds, the cache) from the
steps of one plain precision in a ``serving_speed`` run. Every other precision is then predicted without having been measured.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from workbench.catalog.formats import FORMATS
from workbench.catalog.served import FP8_KV
from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.estimate.roofline import Ceilings
from workbench.estimate.rows import ProductTime, StepTime

Floats = npt.NDArray[np.float64]
SHARPNESS = 4  # how sharply reading gives way to multiplying; 1 would add them, infinity take the longer
LEAST_WEIGHTS = 2**22
"""Weights of a product that a curve is fitted to. Smaller ones run in kernels of their own: INT4 products of 384 x 384 take
4.5 us on an H200, of 4096 x 4096 15.5 us, most of them a launch; one curve for both says that reading is slow."""
TOWARDS_START = 1e-3  # of an error in the logarithm of a time, for the same change of a constant
FITTED = ("bf16", f"bf16{FP8_KV}")
"""Precisions whose decode steps the surroundings are fitted to."""
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
    """Curve of the products in each format."""
    tables: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]
    """Tokens, and measured over fitted time, by format and "rows x columns". Ratios, so that they can be lent to other
    devices."""
    layer_s: float
    """Everything in a layer that no product and no cache explains."""
    step_s: float
    sequence_s: float
    """Host time of each sequence in a step."""
    kv_fraction: Mapping[str, float]
    """Share of the bandwidth that reading the KV cache reaches, by bits of its numbers ("16", "8")."""
    prompt_start_s: float
    """Time that a batch of prompts costs once: scheduling and the first launches."""
    prompt_product_ratio: Mapping[str, float]
    """Products in long steps over the curve of products timed alone, by format; formats without an entry are like "bf16".
    Above 1 where the clock falls under steady load, below where the engine merges the making of inputs with other work."""
    attention_fraction: float
    """Share of the 16-bit peak rate that attention over prompts reaches."""
    log_error_step: float
    log_error_prompt: float
    """Standard deviations of the logarithm of measured over predicted, on the precisions that were fitted to."""
    log_error_unseen_step: float
    log_error_unseen_prompt: float
    """The same on the run's other precisions, which the fit did not see."""
    sources: Sequence[str]
    """Ids of the runs that the constants are fitted to."""
    all_reduces: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    """Bytes, and seconds of an all-reduce of so many, by the number of devices ("2"); empty where there was one device only."""

    def to_json(self) -> str:
        """Return the constants as the text of a JSON file."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Calibration":
        """Return the constants that a JSON text holds."""
        return msgspec.json.decode(text, type=cls)


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
    known: Calibration,
    form: str,
    *,
    rows: float,
    columns: float,
    tokens: Floats,
    ceilings: Ceilings,
    are_prompts: bool = False,
) -> Floats:
    """Return the time of products; where this very shape was measured, the curve is corrected to go through the measurements.

    Products of prompts follow the curve, slowed down as they are under steady load: how long a shape takes alone says little then.

    Raises ``NotAvailable`` for a format that was never measured.
    """
    if form not in known.curves:
        raise NotAvailable(
            gettext("No product in {form} was measured on this device.").format(form=form),
            remedy=gettext("Measured are: {names}.").format(names=", ".join(known.curves)),
        )
    fitted = curve_s(known.curves[form], form, rows=rows, columns=columns, tokens=tokens, ceilings=ceilings)
    if are_prompts:
        steady: Floats = fitted * known.prompt_product_ratio.get(form, known.prompt_product_ratio["bf16"])
        return steady
    table = known.tables.get(form, {}).get(f"{rows:.0f}x{columns:.0f}")
    if not table:
        return fitted
    correction = np.interp(np.log(tokens), np.log(np.asarray(table[0])), np.log(np.asarray(table[1])))
    corrected: Floats = fitted * np.exp(correction)
    return corrected


def fitted_curves(
    runs: Sequence[Run], ceilings: Ceilings
) -> tuple[dict[str, ProductCurve], dict[str, dict[str, list[list[float]]]]]:
    """Return a curve for each format, and by shape how far the measurements are from it.

    A curve is fitted to the products of at least ``LEAST_WEIGHTS``, or to all where there are none.
    """
    points: dict[str, list[tuple[float, float, float, float]]] = {}
    tables: dict[str, dict[str, list[list[float]]]] = {}
    for run in runs:
        for row in run.rows(ProductTime):
            points.setdefault(row.format, []).append((row.rows, row.columns, row.batch, row.p50_s.value))
            table = tables.setdefault(row.format, {}).setdefault(f"{row.rows}x{row.columns}", [[], []])
            table[0].append(float(row.batch))
            table[1].append(row.p50_s.value)
    curves = {form: _curve(form, cells, ceilings) for form, cells in points.items() if form in FORMATS}
    for form, curve in curves.items():
        for shape, table in tables[form].items():
            rows, columns = (float(n) for n in shape.split("x"))
            tokens, which = np.unique(table[0], return_inverse=True)  # several runs may have timed the same
            seconds = np.array([np.median(np.array(table[1])[which == i]) for i in range(tokens.size)])
            fitted = curve_s(curve, form, rows=rows, columns=columns, tokens=tokens, ceilings=ceilings)
            table[:] = [tokens.tolist(), (seconds / fitted).tolist()]
    return curves, {form: tables[form] for form in curves}


def _curve(form: str, points: Sequence[tuple[float, float, float, float]], ceilings: Ceilings) -> ProductCurve:
    from scipy.optimize import least_squares

    points = [p for p in points if p[0] * p[1] >= LEAST_WEIGHTS] or points
    measured = np.array([p[3] for p in points])

    def curve(theta: Floats) -> ProductCurve:
        launch, reading, multiplying = np.exp(theta)
        return ProductCurve(launch_s=launch, bandwidth_fraction=reading, flop_fraction=multiplying, log_error=0.0)

    def errors(theta: Floats) -> Floats:
        predicted = [
            curve_s(curve(theta), form, rows=r, columns=c, tokens=np.array([n]), ceilings=ceilings)[0]
            for r, c, n, _ in points
        ]
        off: Floats = np.log(np.array(predicted) / measured)
        return off

    fit = least_squares(errors, np.log([3e-6, 0.7, 0.6]))
    launch, reading, multiplying = (float(v) for v in np.exp(fit.x))
    return ProductCurve(
        launch_s=launch, bandwidth_fraction=reading, flop_fraction=multiplying, log_error=float(np.std(fit.fun))
    )


def fitted_surroundings(
    start: Sequence[float], predicted: Callable[[Floats], Floats], measured: Floats
) -> tuple[list[float], float]:
    """Return positive constants with which predictions come nearest to measurements, and the remaining error (of logarithms).

    Constants that the measurements cannot tell apart, as the time of a step and of its layers where all steps are of one
    depth, stay near where they start.
    """
    from scipy.optimize import least_squares

    first = np.log(np.asarray(start))

    def errors(theta: Floats) -> Floats:
        return np.concatenate([np.log(predicted(np.exp(theta)) / measured), TOWARDS_START * (theta - first)])

    fit = least_squares(errors, first)
    off = fit.fun[: len(fit.fun) - len(first)]
    return [float(v) for v in np.exp(fit.x)], float(np.sqrt(np.mean(np.square(off))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Measured cells of a precision; position i of each array is cell i."""

    batch: Floats
    context_tokens: Floats
    tpot_s: Floats
    """Median time per output token."""
    prefill_s: Floats


def cells_of(run: Run, served: str) -> Cells:
    """Return the measured cells of a precision of a run."""
    rows = [r for r in run.rows(StepTime) if r.served == served]
    return Cells(
        batch=np.array([float(r.batch) for r in rows]),
        context_tokens=np.array([float(r.context_tokens) for r in rows]),
        tpot_s=np.array([r.tpot_p50_s.value for r in rows]),
        prefill_s=np.array([r.prefill_s for r in rows]),
    )
