"""``workbench cost``: what a load costs, by unit, and what each way to save would save."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workbench.catalog.models import model_spec_from
from workbench.catalog.tables import median_reserved_price, median_spot_price, own_prices
from workbench.cli.estimate import CALIBRATIONS
from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors
from workbench.core.errors import InvalidSpec
from workbench.core.units import three_digits
from workbench.estimate.fleet import Ownership, SpotMarket
from workbench.estimate.search import Load
from workbench.experiments.device_calibration import offers
from workbench.experiments.plan_verdict import plan_label
from workbench.experiments.pricing import OFFICE_DAY, priced
from workbench.experiments.savings import Case
from workbench.jobs.manager import workbench_home

out = Console()


def cost(
    model: Annotated[str, typer.Argument(help="Folder, or a name in the catalogue.")],
    device: Annotated[str, typer.Argument(help="Row of the hardware catalogue.")],
    rate: Annotated[float, typer.Option(help="Requests a second, at the peak.")] = 10.0,
    input_tokens: Annotated[int, typer.Option(help="Of each prompt.")] = 1024,
    output_tokens: Annotated[int, typer.Option(help="Of each answer.")] = 128,
    ttft_ms: Annotated[float, typer.Option(help="Promise: first token within.")] = 1000.0,
    tpot_ms: Annotated[float, typer.Option(help="Promise: time of each further token.")] = 50.0,
    hit_rate: Annotated[float, typer.Option(help="Share of requests that a cache of answers could answer.")] = 0.2,
    interruptions_per_day: Annotated[float, typer.Option(help="Of a spot machine.")] = 1.0,
    return_s: Annotated[float, typer.Option(help="Until a lost spot machine has been replaced.")] = 600.0,
    smaller: Annotated[str | None, typer.Option(help="A distilled model that could take its place.")] = None,
    purchase_usd: Annotated[float, typer.Option(help="Of one device with its share of the server.")] = 40_000.0,
    reserved_usd: Annotated[
        float | None, typer.Option(help="Of a device and hour for a whole term; the listed one if left out.")
    ] = None,
    day: Annotated[str | None, typer.Option(help="Rates over the peak's in equal parts of a day: 0.2,1,0.5.")] = None,
    prices: Annotated[str | None, typer.Option(help="CSV of your own: device_id, usd_per_gpu_hour.")] = None,
    as_json: AsJson = False,
) -> None:
    """Price a load: by request and token, on demand, on spot, owned and over a day; and what would save how much."""
    with ReadableErrors():
        if not 0 <= hit_rate < 1:
            raise InvalidSpec(f"A hit rate of {hit_rate}.", remedy="Give a share below 1.")
        load = Load(
            requests_per_s=rate,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            ttft_s=ttft_ms / 1e3,
            tpot_s=tpot_ms / 1e3,
        )
        (offer,) = offers(
            [device], own=workbench_home() / CALIBRATIONS, prices=own_prices(Path(prices)) if prices else None
        )
        spot = median_spot_price(device)
        case = Case(
            model=model_spec_from(model),
            load=load,
            offer=offer,
            hit_fraction=hit_rate,
            spot_usd=spot.usd_per_gpu_hour if spot else None,
            market=SpotMarket(interruptions_per_hour=interruptions_per_day / 24, return_s=return_s),
            smaller=model_spec_from(smaller) if smaller else None,
        )
        reserved = median_reserved_price(device)
        if reserved_usd is None and reserved is not None:
            reserved_usd = reserved.usd_per_gpu_hour
        found = priced(case, owned=Ownership(purchase_usd=purchase_usd), day=_shares(day), reserved_usd=reserved_usd)
        answer: dict[str, Any] = {
            "model": case.model.name,
            "plan": plan_label(found.plan),
            "usd_per_hour": found.usd_per_hour,
            "price": offer.price_label,
            "spot_price": spot.label if spot else None,
            **asdict(found.units),
            "good_fraction": found.good_fraction,
            "reserved_usd_per_hour": found.reserved_usd_per_hour,
            "reserved_break_even_fraction": found.reserved_break_even_fraction,
            "owned_usd_per_hour": found.owned_usd_per_hour,
            "energy_usd_per_hour": found.energy_usd_per_hour,
            "day": asdict(found.day) | {"saving_fraction": found.day.saving_fraction},
            "savings": [asdict(s) for s in found.savings],
            "is_calibrated": found.plan.is_calibrated,
            "provenance": "estimated",
        }
        if as_json:
            print(json.dumps(answer, indent=1))
            return
        _print(answer)


def _shares(text: str | None) -> list[float]:
    if text is None:
        return list(OFFICE_DAY)
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidSpec(f"The day {text!r}.", remedy="Give numbers, such as 0.2,1,0.5.") from error
    if not shares or min(shares) < 0:
        raise InvalidSpec(f"The day {text!r}.", remedy="Give numbers from 0 on.")
    return shares


def _print(answer: dict[str, Any]) -> None:
    out.print(f"◌ {answer['plan']}: {answer['usd_per_hour']:.2f} USD/h ({answer['price']})", highlight=False)
    table = Table("◌ estimated", "USD")
    for name, label in (
        ("usd_per_request", "per request"),
        ("usd_per_good_request", f"per good request ({100 * answer['good_fraction']:.0f} % are, simulated)"),
        ("usd_per_million_input_tokens", "per million input tokens"),
        ("usd_per_million_output_tokens", "per million output tokens"),
        ("reserved_usd_per_hour", "an hour, reserved for a whole term"),
        ("owned_usd_per_hour", "an hour, owned"),
        ("energy_usd_per_hour", "of that, power"),
    ):
        table.add_row(label, "–" if answer[name] is None else three_digits(answer[name]))
    out.print(table)
    if answer["reserved_break_even_fraction"] is not None:
        used = 100 * answer["reserved_break_even_fraction"]
        out.print(f"A reserved machine pays if it is used {used:.0f} % of its term.", highlight=False)
    day = answer["day"]
    out.print(
        f"Over a day {day['machine_hours_scaled']:.0f} replica hours with scaling, {day['machine_hours_fixed']:.0f} "
        f"without: {100 * day['saving_fraction']:.0f} % less.",
        highlight=False,
    )
    ways = Table("way to save", "USD/h", "saved here", "claimed", "what was compared")
    for s in answer["savings"]:
        low, high = s["claimed_low_fraction"], s["claimed_high_fraction"]
        ways.add_row(
            s["technique"],
            "–" if s["usd_per_hour"] is None else f"{s['usd_per_hour']:.2f}",
            "–" if s["saved_fraction"] is None else f"{100 * s['saved_fraction']:.0f} %",
            "–" if low is None or high is None else f"{100 * low:.0f} to {100 * high:.0f} %",
            s["how"],
        )
    out.print(ways)
