"""What can be asked of the cost of a load: the model, the device, the load, and what could make it cheaper."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.estimate.knobs import CatalogueDevice, OwnPrices, Precision, RequestRate, model_knob
from workbench.estimate.precision import STORED, require_precision
from workbench.estimate.search import Load

OFFICE_DAY = (
    *(0.3, 0.2, 0.15, 0.15, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0, 1.0, 0.95),
    *(0.9, 0.95, 1.0, 1.0, 0.95, 0.9, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4),
)
"""Hourly request rates of an office day, relative to the peak; invented, to be replaced by measured ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostSpec(Load, Spec):
    """A load, where it is served, and what could make it cheaper."""

    command: ClassVar[str] = "cost"
    computed_by: ClassVar[str] = "price_load"

    model: Annotated[str, model_knob("meta-llama/Meta-Llama-3.1-8B")]
    device: CatalogueDevice
    precision: Precision = STORED
    requests_per_s: RequestRate = 100.0
    hit_fraction: float = knob(
        0.2,
        "Cache hit rate",
        "Share of the requests that a response cache could answer, from 0 to below 1.",
        low=0,
        high=0.99,
        option="hit-rate",
    )
    interruptions_per_day: float = knob(
        1.0, "Spot interruptions", "Number of times a day that a spot machine is taken away.", unit="1/day", low=0.01
    )
    return_s: float = knob(
        600.0,
        "Spot replacement time",
        "Time until a lost spot machine is replaced and serves, in seconds.",
        unit="s",
        is_advanced=True,
    )
    smaller: str | None = knob(
        "Qwen/Qwen3-0.6B",
        "Distilled model",
        "Smaller model that could replace this one; distillation is not priced if it is left out.",
        suggestions=("Qwen/Qwen3-0.6B",),
    )
    purchase_usd: float = knob(
        40_000.0,
        "Purchase price of a device",
        "Price of one device with its share of the server, in USD.",
        unit="USD",
        low=1,
    )
    reserved_usd: float | None = knob(
        None,
        "Reserved price",
        "Hourly price of a device that is paid for a whole term; the listed price if it is left out.",
        unit="USD/h",
        is_advanced=True,
    )
    day: tuple[float, ...] = knob(
        OFFICE_DAY,
        "Request rate over a day, relative to the peak",
        "Request rates in equal parts of a day, as shares of the peak rate, such as 0.2,1,0.5.",
        is_advanced=True,
    )
    prices: OwnPrices = None

    def __post_init__(self) -> None:
        Load.__post_init__(self)
        require_precision(self.precision)
        require_positive(self, "interruptions_per_day", "return_s", "purchase_usd")
        if not 0 <= self.hit_fraction < 1:
            raise InvalidSpec(
                gettext("A cache hit rate of {share}.").format(share=self.hit_fraction),
                remedy=gettext("Give a share from 0 to below 1."),
            )
        if not self.day or min(self.day) < 0:
            raise InvalidSpec(
                gettext("The day {day}.").format(day=repr(self.day)),
                remedy=gettext("Give numbers from 0 on, such as 0.2,1,0.5."),
            )
