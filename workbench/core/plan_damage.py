"""How far a whole plan of formats takes a model from itself, by the amount of calibration text: the question."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from workbench.core.checkpoints import FORMATS
from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDamageSpec(Spec):
    """A plan to verify. The same spec on the same machine is the same measurement."""

    experiment: ClassVar[str] = "plan_damage"

    model: str
    plan: Mapping[str, str]
    """Format of each layer group by its name, or of each role ("qkv") for all layers at once."""
    n_samples: tuple[int, ...] = (64,)
    """Windows of calibration text that GPTQ sees, one measurement each; 0 rounds to the nearest value."""
    text: str | None = None
    """UTF-8 file that damage is measured on; None is the held-out text of the reference model. Odd windows are read:
    the same that a sensitivity run verifies on."""
    calibration: str | None = None
    """UTF-8 file that GPTQ sees; None is the calibration text of the reference model."""
    n_windows: int = 32
    window_tokens: int = 512
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "n_windows", "window_tokens")
        unknown = sorted({f for f in self.plan.values() if f not in FORMATS})
        if unknown or not self.plan:
            raise InvalidSpec(
                f"Unknown formats in the plan: {', '.join(unknown)}." if unknown else "The plan is empty.",
                remedy=f"Give each layer group one of: {', '.join(FORMATS)}.",
            )
        if self.n_windows < 2:
            raise InvalidSpec("One window leaves none to verify on.", remedy="Give two windows or more.")
        if not self.n_samples or any(n < 0 for n in self.n_samples):
            raise InvalidSpec(f"Calibration windows {self.n_samples!r}.", remedy="Give counts of 0 or more.")
