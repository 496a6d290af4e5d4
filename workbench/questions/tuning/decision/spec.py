"""What a decision is about: a load with its SLO, a device, the price of an API, and where the power comes from."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from workbench.catalog.api_prices import ApiPrice
from workbench.catalog.grid import grids
from workbench.core.checks import require_fraction, require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import advanced, knob
from workbench.core.language import gettext, gettext_noop
from workbench.core.specs import Spec
from workbench.estimate.knobs import CatalogueDevice, OwnPrices, Precision, model_knob
from workbench.estimate.precision import STORED, require_precision
from workbench.estimate.search import Load

COUNTRIES = {g.id: g.name for g in grids().values()}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSpec(Load, Spec):
    """A load that is served on one's own devices, or by an API."""

    command: ClassVar[str] = "decide"
    computed_by: ClassVar[str] = "decision"

    model: Annotated[str, model_knob("meta-llama/Meta-Llama-3.1-8B")]
    device: CatalogueDevice
    mean_fraction: float = knob(
        0.4,
        "Mean over peak rate",
        "Mean request rate over a month, as a share of the peak rate.",
        low=0.01,
        high=1,
        option="mean",
    )
    api_provider: str | None = knob(
        None,
        "API provider",
        "Provider whose listed price is taken; without one the median of all that list the model.",
        option="api",
    )
    api_input_usd: float | None = knob(
        None,
        "API price, input",
        "Price of a million input tokens of the API, if not the listed one.",
        unit="USD",
        low=0,
        option="api-input",
        is_advanced=True,
    )
    api_cached_usd: float | None = knob(
        None,
        "API price, cached input",
        "Price of a million input tokens that the API has cached; that of input if it is left out.",
        unit="USD",
        low=0,
        option="api-cached",
        is_advanced=True,
    )
    api_output_usd: float | None = knob(
        None,
        "API price, output",
        "Price of a million output tokens of the API, if not the listed one.",
        unit="USD",
        low=0,
        option="api-output",
        is_advanced=True,
    )
    api_cached_fraction: float = knob(
        0.3,
        "Cached share of input",
        "Share of the input tokens that the API bills as cached.",
        low=0,
        high=1,
        option="api-cached-share",
    )
    country: str = knob("DEU", "Country", "Country whose electricity the devices use.", choices=COUNTRIES)
    overhead: float = advanced(
        1.3, "PUE", "Power of the building over that of the machines.", low=1, high=3, option="pue"
    )
    precision: Precision = STORED
    prices: OwnPrices = None

    def __post_init__(self) -> None:
        Load.__post_init__(self)
        require_precision(self.precision)
        require_fraction(self, "mean_fraction")
        require_positive(self, "overhead")
        require_known(gettext("countries"), (self.country,), COUNTRIES)
        given = (self.api_input_usd is not None, self.api_output_usd is not None)
        if any(given) != all(given) or (self.api_cached_usd is not None and not all(given)):
            raise InvalidSpec(
                gettext("An API price was given in part."),
                remedy=gettext("Give --api-input and --api-output, and --api-cached if it differs."),
            )
        if all(given) and self.api_provider:
            raise InvalidSpec(
                gettext("A price of {provider} was asked for and another one given.").format(
                    provider=self.api_provider
                ),
                remedy=gettext("Give --api or the prices."),
            )
        self.given_price()
        if not 0 <= self.api_cached_fraction <= 1:
            raise InvalidSpec(
                gettext("A cached share of {share}.").format(share=self.api_cached_fraction),
                remedy=gettext("Give a share from 0 to 1."),
            )

    def given_price(self) -> ApiPrice | None:
        """Return the API's price that was given; None: the listed ones count.

        Raises:
            InvalidSpec: A price is below zero, or all are zero.
        """
        if self.api_input_usd is None or self.api_output_usd is None:
            return None
        return ApiPrice(
            model=self.model,
            provider=gettext_noop("as given"),
            input_usd=self.api_input_usd,
            cached_input_usd=self.api_cached_usd,
            output_usd=self.api_output_usd,
        )
