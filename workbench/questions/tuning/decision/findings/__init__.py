"""What a decision stands on: the cheapest plan within the SLO, both bills, the break-even, energy and CO2, and risks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.catalog.api_prices import ApiPrice
from workbench.catalog.grid import Grid, grids
from workbench.catalog.models import language_model_from
from workbench.catalog.paths import workbench_home
from workbench.catalog.prices import median_price, own_prices
from workbench.catalog.tables import devices
from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.statistics import Interval
from workbench.core.units import shown_percent, three_digits
from workbench.core.verdict import Verdict
from workbench.estimate.device_calibration import CALIBRATIONS, offers
from workbench.estimate.fleet import HOURS_PER_YEAR
from workbench.estimate.launch import launch_command
from workbench.estimate.precision import STORED, chosen_precision, offered_precisions
from workbench.estimate.search import Plan, curves, require_kernel
from workbench.questions.tuning import findings as tuner
from workbench.questions.tuning.decision.findings import apis
from workbench.questions.tuning.decision.spec import DecisionSpec
from workbench.simulate.attained import attained_plans
from workbench.simulate.planned import basis_of, plan_label
from workbench.store.runs import RunStore

HOURS_PER_MONTH = HOURS_PER_YEAR / 12
NEAR = 0.15
"""Bills that differ by no more are called alike: prices and step times are not known better."""
OLD_YEARS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a way to serve the load costs."""

    usd_per_month: float
    usd_per_million_tokens: float
    """Input and output together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Everything that stands on the page of a decision."""

    model: str
    plan: Plan
    plan_label: str
    launch_command: str
    price_label: str
    attainment_fraction: Interval
    """Share of the simulated requests at the peak that meet the SLO, with its nominal 80 % interval of step times."""
    own: Bill
    """Devices by the hour, day and night, for the peak."""
    own_usd_per_month_range: tuple[float, float] | None
    """With the lowest and the highest listed price of the device."""
    api: Bill
    api_price: ApiPrice
    """The one that is billed."""
    api_offers: Sequence[apis.ApiOffer]
    """Every API that lists the model, the cheapest for this load first; only the given price where one is given."""
    break_even_fraction: float
    """Mean over peak rate from which on own devices cost less than the API; above 1 they never do."""
    kwh_per_month: float
    """With all devices at their rated power all the time: an upper bound."""
    kg_co2_per_month: float
    wh_per_thousand_output_tokens: float
    grid: Grid
    tuned: str | None
    """What the newest tuning run of this model says; None where there is none."""
    risks: Sequence[str]
    provenance: Provenance = Provenance.ESTIMATED


def decision(spec: DecisionSpec) -> Decision:
    """Return what a decision stands on.

    Raises:
        NotAvailable: The device has no price or no rated power, no API's price is known, or no plan meets the SLO.
    """
    model, device = language_model_from(spec.model), devices()
    own = own_prices(Path(spec.prices)) if spec.prices else None
    (offer,) = offers([spec.device], own=workbench_home() / CALIBRATIONS, prices=own)
    power_w = device[spec.device].power_w
    if offer.usd_per_hour is None or power_w is None:
        what = gettext("price") if offer.usd_per_hour is None else gettext("rated power")
        raise NotAvailable(
            gettext("No {what} of {device} is listed.").format(what=what, device=offer.name),
            remedy=gettext("Give a price with --prices, or choose another device."),
        )
    prices_of_apis = apis.prices(spec, model.name)
    if spec.precision != STORED:
        require_kernel(offer, spec.precision)
    chosen = chosen_precision(model, spec.precision)
    plans = attained_plans(model, spec, [offer], curves(model, spec, [offer], precisions=(chosen,)))
    if not any(a.does_hold for a in plans) and spec.precision == STORED:
        plans = attained_plans(model, spec, [offer], curves(model, spec, [offer], precisions=offered_precisions(model)))
    best = next((a for a in plans if a.does_hold), None)
    if best is None or best.plan.usd_per_hour is None:
        raise NotAvailable(
            gettext("No plan of {model} on {device} meets this SLO for {share} of the requests.").format(
                model=model.name, device=offer.name, share=shown_percent(spec.attainment_fraction)
            ),
            remedy=gettext("Relax the SLO, or choose another device; `workbench plan` lists all reasons."),
        )
    plan = best.plan
    requests = spec.requests_per_s * spec.mean_fraction * 3600 * HOURS_PER_MONTH
    tokens = requests * (spec.input_tokens + spec.output_tokens)
    api_offers = apis.offers(spec, prices_of_apis, requests_per_month=requests)
    billed = apis.billed(spec, api_offers)
    own_month, api_month = best.plan.usd_per_hour * HOURS_PER_MONTH, billed.usd_per_month
    listed = None if own else median_price(spec.device)
    kwh = plan.total_devices * power_w / 1e3 * spec.overhead * HOURS_PER_MONTH
    grid, tuned = grids()[spec.country], _tuned(spec)
    return Decision(
        model=model.name,
        plan=plan,
        plan_label=plan_label(plan),
        launch_command=launch_command(spec.model, plan, spec, spec=model),
        price_label=offer.price_label,
        attainment_fraction=best.attainment_fraction,
        own=Bill(usd_per_month=own_month, usd_per_million_tokens=own_month / tokens * 1e6),
        own_usd_per_month_range=(
            plan.total_devices * listed.low.usd_per_gpu_hour * HOURS_PER_MONTH,
            plan.total_devices * listed.high.usd_per_gpu_hour * HOURS_PER_MONTH,
        )
        if listed
        else None,
        api=Bill(usd_per_month=api_month, usd_per_million_tokens=api_month / tokens * 1e6),
        api_price=billed.price,
        api_offers=api_offers,
        break_even_fraction=own_month / (api_month / spec.mean_fraction),
        kwh_per_month=kwh,
        kg_co2_per_month=kwh * grid.g_co2_per_kwh / 1e3,
        wh_per_thousand_output_tokens=1e3 * kwh / (requests * spec.output_tokens) * 1e3,
        grid=grid,
        tuned=tuned,
        risks=_risks(spec, plan, best.attainment_fraction, grid, is_tuned=tuned is not None),
    )


def _tuned(spec: DecisionSpec) -> str | None:
    """Return what the newest tuning run of the model says under the SLO, with its launch command."""
    file = workbench_home() / "runs.sqlite"
    runs = [r for r in RunStore(file).newest("tuning") if r.model == spec.model] if file.is_file() else []
    tuned = tuner.tuned_under(runs[0], slo_ttft_s=spec.ttft_s, slo_tpot_s=spec.tpot_s) if runs else None
    if tuned is None:
        return None
    return gettext("{headline} {command} (run {id}, {day})").format(
        headline=tuner.verdict(tuned).headline, command=tuner.launch_command(tuned), id=runs[0].id, day=runs[0].day
    )


def _risks(spec: DecisionSpec, plan: Plan, attained: Interval, grid: Grid, *, is_tuned: bool) -> list[str]:
    points = [
        gettext(
            "{basis}; at the peak at least {low} of the requests meet the SLO in a simulation. Measure one replica with "
            "`workbench load` before you order."
        ).format(basis=basis_of(plan), low=shown_percent(attained.low))
    ]
    if plan.n_replicas == 1:
        points.append(gettext("One replica: while it is down nobody is served. A second one doubles the price."))
    else:
        lost = 1 / plan.n_replicas
        points.append(
            gettext(
                "No spare replica is in the price: when one is down, {lost} of the peak capacity is missing."
            ).format(lost=shown_percent(lost))
        )
    if plan.precision != chosen_precision(language_model_from(spec.model), STORED):
        points.append(
            gettext(
                "The plan serves {precision} weights: check the answers first with `workbench quantize` or `workbench evaluate`."
            ).format(precision=plan.precision.upper())
        )
    if not is_tuned:
        points.append(
            gettext(
                "The server's flags are defaults of the plan, not tuned on your load: `workbench tune` measures them."
            )
        )
    points.append(
        gettext(
            "The API's price can change at any time, its quality and speed are not compared here, and prompts leave the "
            "house. The people who run your servers are not in the bill."
        )
    )
    points.append(
        gettext(
            "Energy is that of rated power all the time, an upper bound; CO2 is the mean of {name} in {year}, not your "
            "contract's."
        ).format(name=gettext(grid.name), year=grid.year)
    )
    return points


def verdict(answer: Decision) -> Verdict:
    """Return which way costs less, and what speaks against it."""
    own, api, even = answer.own.usd_per_month, answer.api.usd_per_month, answer.break_even_fraction
    times, prices = api / own, answer.own_usd_per_month_range
    is_open = prices is not None and prices[0] < api < prices[1]
    if is_open:
        headline = gettext(
            "Your own quote decides: {own:,.0f} USD a month on your own devices at the median listed price, {api:,.0f} "
            "for the API."
        ).format(own=own, api=api)
    elif times > 1 + NEAR:
        headline = gettext("Serve it yourself: {own:,.0f} USD a month instead of {api:,.0f} for the API.").format(
            own=own, api=api
        )
    elif times < 1 / (1 + NEAR):
        headline = gettext("Use the API: {api:,.0f} USD a month instead of {own:,.0f} for your own devices.").format(
            api=api, own=own
        )
    else:
        headline = gettext(
            "Both cost about the same: {own:,.0f} USD a month on your own devices, {api:,.0f} for the API."
        ).format(own=own, api=api)
    threshold = (
        gettext("own devices cost less from a mean rate of {even} of the peak on").format(even=shown_percent(even))
        if even <= 1
        else gettext("own devices cost more at any utilization")
    )
    objection = answer.risks[0]
    if contrary := apis.contrary(answer.api_offers, own_usd=own, billed_usd=api):
        objection = f"{contrary} {objection}"
    if is_open and prices is not None:
        objection = gettext(
            "With listed prices of the device the bill is {low:,.0f} to {high:,.0f} USD. {objection}"
        ).format(low=prices[0], high=prices[1], objection=objection)
    return Verdict(
        headline=headline,
        evidence=gettext("{plan} for the peak; per million tokens {own} USD against {api} USD; {threshold}.").format(
            plan=answer.plan_label,
            own=three_digits(answer.own.usd_per_million_tokens),
            api=three_digits(answer.api.usd_per_million_tokens),
            threshold=threshold,
        ),
        objection=objection,
        provenance=answer.provenance,
    )


BILL_HEAD = (gettext("A month ◌"), gettext("own devices"), "API")


def bill_rows(answer: Decision) -> list[tuple[str, ...]]:
    """Return the cells of ``BILL_HEAD``."""
    own, api = answer.own, answer.api
    prices = answer.own_usd_per_month_range
    rows: list[tuple[str, ...]] = [
        (gettext("bill, USD"), f"{own.usd_per_month:,.0f}", f"{api.usd_per_month:,.0f}"),
        (
            gettext("per million tokens, USD"),
            three_digits(own.usd_per_million_tokens),
            three_digits(api.usd_per_million_tokens),
        ),
        (gettext("over a year, USD"), f"{12 * own.usd_per_month:,.0f}", f"{12 * api.usd_per_month:,.0f}"),
    ]
    if prices:
        rows.insert(
            1,
            (
                gettext("bill at the lowest and highest listed price, USD"),
                gettext("{low} to {high}").format(low=f"{prices[0]:,.0f}", high=f"{prices[1]:,.0f}"),
                "–",
            ),
        )
    return rows


ENERGY_HEAD = (gettext("Energy ◌"), gettext("upper bound"))


def energy_rows(answer: Decision) -> list[tuple[str, ...]]:
    """Return the cells of ``ENERGY_HEAD``."""
    return [
        (gettext("energy of a month, kWh"), f"{answer.kwh_per_month:,.0f}"),
        (gettext("energy of a thousand output tokens, Wh"), three_digits(answer.wh_per_thousand_output_tokens)),
        (
            gettext("CO2 equivalents of a month, kg ({intensity:,.0f} g/kWh)").format(
                intensity=answer.grid.g_co2_per_kwh
            ),
            f"{answer.kg_co2_per_month:,.0f}",
        ),
    ]


def load_sentence(spec: DecisionSpec) -> str:
    """Return the load and its SLO in a sentence."""
    return gettext(
        "{requests_per_s} requests/s at the peak and {mean} of it on average, {input_tokens:,} prompt and "
        "{output_tokens:,} output tokens; SLO: TTFT {ttft:,.0f} ms, TPOT {tpot:,.0f} ms for "
        "{attainment} of the requests."
    ).format(
        requests_per_s=three_digits(spec.requests_per_s),
        mean=shown_percent(spec.mean_fraction),
        input_tokens=spec.input_tokens,
        output_tokens=spec.output_tokens,
        ttft=1e3 * spec.ttft_s,
        tpot=1e3 * spec.tpot_s,
        attainment=shown_percent(spec.attainment_fraction),
    )


def price_sentence(spec: DecisionSpec, answer: Decision) -> str:
    """Return where the prices are from."""
    api, n = answer.api_price, len(answer.api_offers)
    if spec.given_price():
        which = gettext("as given")
    elif spec.api_provider:
        which = gettext("{provider} of {n} that list the model").format(provider=api.provider, n=n)
    else:
        which = gettext("{provider}, the median of {n} that list the model").format(provider=api.provider, n=n)
    listed = f" ({api.source}, {api.price_date})" if api.source else ""
    return gettext(
        "Device: {price}. API, {which}: {input:g} USD input, {cached:g} cached input "
        "({share} of the input), {output:g} output, per million tokens{listed}."
    ).format(
        price=answer.price_label,
        which=which,
        input=api.input_usd,
        cached=api.input_usd if api.cached_input_usd is None else api.cached_input_usd,
        share=shown_percent(spec.api_cached_fraction),
        output=api.output_usd,
        listed=listed,
    )
