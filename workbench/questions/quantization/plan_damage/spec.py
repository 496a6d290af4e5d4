"""What a verification of a plan can be asked for: the plan, and the amounts of calibration text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from workbench.catalog.formats import MAKEABLE
from workbench.compress.knobs import CalibrationText, EvaluationText, Original, Windows, WindowTokens
from workbench.core.checks import require_each, require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, Seed, knob
from workbench.core.language import gettext
from workbench.core.specs import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDamageSpec(Spec):
    """A plan of formats whose KL divergence is measured as a whole."""

    kind: ClassVar[str] = "plan_damage"
    command: ClassVar[str] = "verify-plan"

    model: Original
    plan: Mapping[str, str] = knob(
        dict.fromkeys(("qkv", "o_proj", "gate_up", "down_proj"), "w4a16"),
        "Plan (JSON, or a file with it)",
        'Format of each layer group by name, or of each role, such as {"qkv": "fp8", "gate_up": "w4a16"}.',
    )
    n_samples: tuple[int, ...] = knob(
        (64,),
        "Calibration windows",
        "Numbers of text windows that GPTQ is calibrated on, one measurement each; 0 rounds to the nearest value.",
        option="samples",
    )
    text: EvaluationText = None
    """The odd windows are used, on which a sensitivity run verifies its plans too."""
    calibration: CalibrationText = None
    n_windows: Windows = 32
    window_tokens: WindowTokens = 512
    device: DeviceChoice = "auto"
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(self, "n_windows", "window_tokens")
        require_known(gettext("formats in the plan"), self.plan.values(), MAKEABLE)
        if self.n_windows < 2:
            raise InvalidSpec(
                gettext("One window leaves none to verify on."), remedy=gettext("Give two windows or more.")
            )
        require_each(self, "n_samples", least=0)
