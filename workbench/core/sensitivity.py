"""Which layers suffer most from fewer bits: the question, and the answer's rows."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from workbench.core.checkpoints import FORMATS
from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivitySpec(Spec):
    """Damage of each format in each layer group alone. The same spec on the same machine is the same measurement."""

    experiment: ClassVar[str] = "sensitivity"

    model: str
    formats: tuple[str, ...] = ("w3a16", "w4a16", "w5a16", "w6a16", "w8a16", "w8a8", "fp8")
    text: str | None = None
    """UTF-8 file that damage is measured on; None is the held-out text of the reference model. Even windows search,
    odd windows verify."""
    calibration: str | None = None
    """UTF-8 file that GPTQ sees; None is the calibration text of the reference model."""
    n_windows: int = 32
    window_tokens: int = 512
    n_samples: int = 64
    budgets_bits: tuple[float, ...] = (4.25, 4.5, 5.0, 6.0, 8.0)
    """Stored bits per weight of plans that are verified."""
    n_random: int = 50
    """Random plans at ``random_budget_bits``, for comparison."""
    random_budget_bits: float = 5.0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "n_windows", "window_tokens", "n_samples", "random_budget_bits")
        unknown = [f for f in self.formats if f not in FORMATS]
        if unknown or not self.formats:
            raise InvalidSpec(
                f"Unknown formats: {', '.join(unknown)}." if unknown else "No format was chosen.",
                remedy=f"Choose from: {', '.join(FORMATS)}.",
            )
        if self.n_windows < 2:
            raise InvalidSpec("One window cannot both search and verify.", remedy="Give two windows or more.")
        if self.n_random < 0 or any(b <= 0 for b in self.budgets_bits):
            raise InvalidSpec("Budgets and counts are positive.", remedy="Correct the numbers.")
