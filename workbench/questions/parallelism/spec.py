"""What can be asked of a plan: a model, a load with its SLO, and the devices to choose from."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from workbench.core.errors import InvalidSpec
from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.estimate.knobs import OwnPrices, model_knob
from workbench.estimate.precision import CHOICES, OFFERED, STORED, require_precision
from workbench.estimate.search import Load

DEVICES = {"h200-sxm": "H200 SXM", "h100-sxm": "H100 SXM", "a100-sxm-80": "A100 SXM 80 GB", "l40s": "L40S", "l4": "L4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSpec(Load, Spec):
    """A load, the model that it is for, and the devices that it may be served on."""

    command: ClassVar[str] = "plan"
    computed_by: ClassVar[str] = "plan_load"

    model: Annotated[str, model_knob("meta-llama/Meta-Llama-3.1-70B")]
    devices: tuple[str, ...] = knob(
        tuple(DEVICES),
        "Candidate devices",
        "Devices that a plan may use: any ids of the hardware catalogue.",
        choices=DEVICES,
        suggestions=("h100-nvl", "b200-sxm"),
        option="on",
    )
    precisions: tuple[str, ...] = knob(
        (STORED, *OFFERED),
        "Precisions",
        "Precisions that a plan may use: the checkpoint's own, and others that have fewer bits than it where the device "
        "has kernels for them.",
        choices=CHOICES,
        option="precision",
    )
    prices: OwnPrices = None
    trace: str | None = knob(
        None,
        "Arrival trace",
        "Trace file (Azure, BurstGPT, Mooncake, AIPerf, guidellm, vLLM) whose busiest minute and mean lengths are planned for, in place "
        "of the rate and the tokens.",
        is_path=True,
        is_advanced=True,
    )

    def __post_init__(self) -> None:
        Load.__post_init__(self)
        require_precision(*self.precisions)
        if not self.precisions:
            raise InvalidSpec(
                gettext("No precision was chosen."), remedy=gettext("Choose one or more, such as stored or fp8.")
            )
        if not self.devices:
            raise InvalidSpec(gettext("No device was chosen."), remedy=gettext("Choose one or more, such as h200-sxm."))
