"""What a sensitivity run can be asked for: formats, texts, and the plans to verify."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.catalog.formats import MAKEABLE
from workbench.compress.knobs import (
    CalibrationText,
    CalibrationWindows,
    EvaluationText,
    Original,
    Windows,
    WindowTokens,
)
from workbench.core.checks import require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, Seed, advanced
from workbench.core.language import gettext
from workbench.core.specs import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivitySpec(Spec):
    """Damage of each format in each layer group alone."""

    kind: ClassVar[str] = "sensitivity"
    command: ClassVar[str] = "sensitivity"

    model: Original
    formats: tuple[str, ...] = advanced(
        ("w3a16", "w4a16", "w5a16", "w6a16", "w8a16", "w8a8", "fp8"),
        "Formats to measure",
        "Formats whose damage is measured in each layer group alone.",
        choices={name: f.label for name, f in MAKEABLE.items()},
    )
    text: EvaluationText = None
    """Single layer groups are measured on the even windows, whole plans on the odd ones."""
    calibration: CalibrationText = None
    n_windows: Windows = 32
    window_tokens: WindowTokens = 512
    n_samples: CalibrationWindows = 64
    budgets_bits: tuple[float, ...] = advanced(
        (4.25, 4.5, 5.0, 6.0, 8.0),
        "Verified budgets",
        "Budgets, scales included, whose best plan is measured as a whole to verify the prediction.",
        unit="bits per weight",
    )
    n_random: int = advanced(
        50, "Random plans", "Number of random plans that are measured for comparison.", low=0, option="random-plans"
    )
    random_budget_bits: float = advanced(
        5.0,
        "Budget of the random plans",
        "Largest number of stored bits per weight of a random plan.",
        unit="bits per weight",
        low=1,
        high=16,
    )
    device: DeviceChoice = "auto"
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(self, "n_windows", "window_tokens", "n_samples", "random_budget_bits")
        require_known(gettext("formats"), self.formats, MAKEABLE)
        if self.n_windows < 2:
            raise InvalidSpec(
                gettext("One window cannot both search and verify."), remedy=gettext("Give two windows or more.")
            )
        if self.n_random < 0 or any(b <= 0 for b in self.budgets_bits):
            raise InvalidSpec(gettext("Budgets and counts are positive."), remedy=gettext("Correct the numbers."))
