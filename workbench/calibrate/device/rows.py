"""What a calibration of a device holds: products, whole steps and all-reduces, as their own runs hold them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from workbench.core.rows import Samples
from workbench.estimate.rows import AllReduceTime, CellTooLarge, ProductTime, StepTime


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSamples(Samples):
    """How long a calibration took; the raw samples of its parts are not kept."""

    wall_s: Mapping[str, float] = field(default_factory=dict)
    """Duration of each part of the calibration."""


ROWS = (ProductTime, StepTime, CellTooLarge, AllReduceTime)
SAMPLES = CalibrationSamples
