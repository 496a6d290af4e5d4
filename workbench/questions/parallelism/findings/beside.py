"""Predictions compared with the measured steps of a run."""

from dataclasses import dataclass

import numpy as np

from workbench.calibrate.serving_speed.spec import ServingSpeedSpec
from workbench.catalog.models import language_model_from
from workbench.catalog.paths import workbench_home
from workbench.catalog.served import Served
from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.estimate.calibration import cells_of
from workbench.estimate.device_calibration import CALIBRATIONS, machine_of
from workbench.estimate.fitting import DECODED, kv_bits_of, plan_of
from workbench.estimate.machine import Split
from workbench.estimate.prediction import interval_around
from workbench.estimate.step_time import decode_step_s


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedCell:
    """Predicted and measured time per token of a precision at one batch size."""

    label: str
    batch: int
    measured_s: float
    predicted_s: Interval


def predictions_beside(run: Run, *, context_tokens: int) -> list[PredictedCell]:
    """Return the predicted and the measured time per token of the precisions of a run at one context.

    Empty where there are no constants of the run's device.
    """
    spec, own = run.asked(ServingSpeedSpec), workbench_home() / CALIBRATIONS
    try:
        machine, is_own = machine_of(run.environment.device_id, split=Split(tensor=spec.tensor_parallel), own=own)
    except NotAvailable:
        return []
    model, rows = language_model_from(spec.model), list[PredictedCell]()
    for served in spec.served if is_own else ():
        name = Served.read(served)
        if name.folder is not None or name.format not in {*machine.known.curves, "mixed"}:
            continue
        cells = cells_of(run, served)
        here = cells.context_tokens == context_tokens
        batch = cells.batch[here]
        if not batch.size:
            continue
        context = np.full_like(batch, context_tokens + DECODED)
        roles, kv_bits = plan_of(served, run), kv_bits_of(served)
        steps = decode_step_s(model, roles, machine, batch=batch, context=context, kv_bits=kv_bits)
        rows += [
            PredictedCell(
                label=gettext(name.label),
                batch=int(b),
                measured_s=float(measured),
                predicted_s=interval_around(float(value), machine.known.log_error_unseen_step),
            )
            for b, value, measured in zip(batch, steps, cells.tpot_s[here], strict=True)
        ]
    return rows
