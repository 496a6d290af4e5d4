"""What APIs bill for the models of the catalogue."""

from dataclasses import dataclass
from functools import cache

from workbench.catalog.csv_rows import read_rows
from workbench.catalog.paths import DATA
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiPrice:
    """A line of ``api_prices.csv``: prices of a provider for a million tokens, in USD."""

    model: str
    """Name of the model in the catalogue."""
    provider: str
    input_usd: float
    cached_input_usd: float | None = None
    """None: cached input is billed like any other."""
    output_usd: float
    name: str = ""
    """Name of the model in requests to the provider."""
    price_date: str = ""
    """Day on which the price was read."""
    source: str = ""

    def __post_init__(self) -> None:
        prices = (self.input_usd, self.cached_input_usd or 0.0, self.output_usd)
        if min(prices) < 0 or self.input_usd + self.output_usd <= 0:
            shown = f"{self.input_usd:g}, {self.cached_input_usd or 0:g} and {self.output_usd:g}"
            raise InvalidSpec(
                gettext("API prices of {prices} USD.").format(prices=shown),
                remedy=gettext("Give prices from 0 on, and one above it."),
            )

    def usd_per_request(self, input_tokens: int, output_tokens: int, *, cached_fraction: float) -> float:
        """Return what a request costs, in USD; ``cached_fraction`` of its input is billed as cached."""
        cached_usd = self.input_usd if self.cached_input_usd is None else self.cached_input_usd
        per_input = (1 - cached_fraction) * self.input_usd + cached_fraction * cached_usd
        return (input_tokens * per_input + output_tokens * self.output_usd) / 1e6


def api_prices(model: str) -> list[ApiPrice]:
    """Return the listed prices of a model of the catalogue, in the order of the table."""
    return [row for row in _all_prices() if row.model == model]


@cache
def _all_prices() -> list[ApiPrice]:
    return read_rows(DATA / "api_prices.csv", ApiPrice)
