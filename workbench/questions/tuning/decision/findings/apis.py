"""What APIs bill for a load, beside the bill of own devices."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.catalog.api_prices import ApiPrice, api_prices
from workbench.core.checks import require_known
from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.units import three_digits
from workbench.questions.tuning.decision.spec import DecisionSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiOffer:
    """What an API bills for the load."""

    price: ApiPrice
    usd_per_month: float


def prices(spec: DecisionSpec, model: str) -> list[ApiPrice]:
    """Return the prices that count: the given one, or all that are listed for the model.

    Raises:
        NotAvailable: None is given and none listed.
        InvalidSpec: The provider that was named does not list the model.
    """
    given = spec.given_price()
    found = [given] if given else api_prices(model)
    if not found:
        raise NotAvailable(
            gettext("No API's price of {model} is listed.").format(model=model),
            remedy=gettext("Give it with --api-input and --api-output."),
        )
    if spec.api_provider:
        require_known(gettext("providers"), (spec.api_provider,), [p.provider for p in found])
    return found


def offers(spec: DecisionSpec, found: Sequence[ApiPrice], *, requests_per_month: float) -> list[ApiOffer]:
    """Return what each price comes to for the load, the cheapest first."""
    load, cached = (spec.input_tokens, spec.output_tokens), spec.api_cached_fraction
    bills = [(p, requests_per_month * p.usd_per_request(*load, cached_fraction=cached)) for p in found]
    return [ApiOffer(price=p, usd_per_month=usd) for p, usd in sorted(bills, key=lambda pair: pair[1])]


def billed(spec: DecisionSpec, ranked: Sequence[ApiOffer]) -> ApiOffer:
    """Return the offer of the provider that was named, else the one in the middle (of an even number the cheaper of two)."""
    if spec.api_provider:
        return next(o for o in ranked if o.price.provider == spec.api_provider)
    return ranked[(len(ranked) - 1) // 2]


def contrary(ranked: Sequence[ApiOffer], *, own_usd: float, billed_usd: float) -> str:
    """Return how many APIs are dearer than own devices where the one that is billed is cheaper, or the reverse; "" where none is."""
    is_cheaper = billed_usd < own_usd
    others = [o for o in ranked if (o.usd_per_month < own_usd) != is_cheaper]
    if not others:
        return ""
    if is_cheaper:
        text = gettext("{n} of {total} APIs bill more than own devices, {provider} {bill:,.0f} USD a month.")
    else:
        text = gettext("{n} of {total} APIs bill less than own devices, {provider} {bill:,.0f} USD a month.")
    extreme = others[-1] if is_cheaper else others[0]
    return text.format(n=len(others), total=len(ranked), provider=extreme.price.provider, bill=extreme.usd_per_month)


API_HEAD = (
    gettext("API"),
    gettext("USD a month ◌"),
    gettext("over own devices"),
    gettext("input, USD/M tokens"),
    gettext("cached input"),
    gettext("output"),
)


def api_rows(ranked: Sequence[ApiOffer], *, own_usd: float) -> list[tuple[str, ...]]:
    """Return the cells of ``API_HEAD``; a listed price is marked as published."""
    rows: list[tuple[str, ...]] = []
    for offer in ranked:
        price, name = offer.price, gettext(offer.price.provider)
        cached = "–" if price.cached_input_usd is None else three_digits(price.cached_input_usd)
        rows.append(
            (
                f"{Provenance.PUBLISHED.mark} {name}" if price.source else name,
                f"{offer.usd_per_month:,.0f}",
                f"{three_digits(offer.usd_per_month / own_usd)} ×",
                three_digits(price.input_usd),
                cached,
                three_digits(price.output_usd),
            )
        )
    return rows
