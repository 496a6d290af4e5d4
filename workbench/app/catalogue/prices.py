"""``workbench prices``: list, add and check what an hour of a device costs."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from workbench.app.catalogue.shared import (
    FromFile,
    Replace,
    Settings,
    add_check_command,
    add_from_file,
    print_rows,
    with_settings,
)
from workbench.catalog.own_tables import PRICES, add_rows
from workbench.catalog.price_rows import is_stale, prices
from workbench.catalog.prices import device_prices
from workbench.catalog.tables import device_named
from workbench.core.errors import InvalidSpec
from workbench.core.units import NOT_KNOWN
from workbench.interface.command import AsJson
from workbench.interface.readable import ReadableErrors, out

HEAD = ("device", "USD/h ◌", "listed, USD/h", "providers", "newest", "stale")
BASIS = (
    "◌ Estimated at the median provider: least squares over all prices on demand, one for each provider and device (the newest, "
    "of those the least). Stale: without a day, or 180 days before the newest price. Your own prices come first."
)
ROW_HEAD = ("provider", "instance", "USD/h", "day", "", "source")
app = typer.Typer(help="What an hour of a device costs: listed prices and your own.", no_args_is_help=True)


@app.command("list")
def list_prices(
    device: Annotated[str | None, typer.Argument(help="Device whose listed prices are shown one by one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the price of each device on one basis with the range of what providers list, or the prices of one device."""
    with ReadableErrors():
        if device is not None:
            device_named(device)
            listed = sorted((p for p in prices() if p.device_id == device), key=lambda p: p.usd_per_gpu_hour)
            rows = [
                (p.provider, p.instance, f"{p.usd_per_gpu_hour:.2f}", p.date, "stale" if is_stale(p) else "", p.source)
                for p in listed
            ]
            print_rows(ROW_HEAD, rows, as_json=as_json, data=[asdict(p) | {"is_stale": is_stale(p)} for p in listed])
            return
        known = sorted(device_prices().values(), key=lambda p: p.usd_per_gpu_hour)
        shown = [
            (
                p.device_id,
                f"{p.usd_per_gpu_hour:.2f}",
                p.shown_range,
                str(p.n_providers),
                p.newest.isoformat() if p.newest else NOT_KNOWN,
                f"{p.n_stale} of {p.n_providers}",
            )
            for p in known
        ]
        data = [asdict(p) | {"newest": p.newest.isoformat() if p.newest else None} for p in known]
    print_rows(HEAD, shown, as_json=as_json, data=data)
    if not as_json:
        out.print(BASIS)


@app.command()
def add(
    device: Annotated[str | None, typer.Argument(help="Id of the device, as `devices list` prints it.")] = None,
    usd_per_gpu_hour: Annotated[
        float | None, typer.Argument(metavar="USD", help="Price of one GPU for one hour, on demand.")
    ] = None,
    provider: Annotated[str, typer.Option(help="Who asks it.")] = "own",
    instance: Annotated[str | None, typer.Option(help="Name of the machine at the provider.")] = None,
    gpu_count: Annotated[int, typer.Option(help="GPUs of that machine.", min=1)] = 1,
    region: Annotated[str | None, typer.Option(help="Region where it is asked.")] = None,
    spot_usd_h: Annotated[float | None, typer.Option(help="Price of an hour of the whole machine on spot.")] = None,
    reserved_usd_h: Annotated[
        float | None, typer.Option(help="Price of an hour of the whole machine, paid for a term.")
    ] = None,
    reserved_term: Annotated[str | None, typer.Option(help="The term of the reserved price, such as 1 year.")] = None,
    day: Annotated[
        str | None, typer.Option("--date", help="Day of the price as YYYY-MM-DD; today if left out.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Where the price is from.")] = None,
    settings: Settings = None,
    file: FromFile = None,
    replace: Replace = False,
) -> None:
    """Add a price of your own; the prices that you add for a device come before all listed ones of it."""
    if file is not None:
        add_from_file(PRICES, file, does_replace=replace)
        return
    with ReadableErrors():
        if device is None or usd_per_gpu_hour is None:
            raise InvalidSpec(
                "A price needs a device and a number.", remedy="Give DEVICE and USD, or a file with --from."
            )
        row = {
            "provider": provider,
            "instance": instance,
            "gpu": device_named(device).name,
            "hardware_id": device,
            "gpu_count": gpu_count,
            "region": region,
            "on_demand_usd_h": usd_per_gpu_hour * gpu_count,
            "spot_usd_h": spot_usd_h,
            "reserved_usd_h": reserved_usd_h,
            "reserved_term": reserved_term,
            "on_demand_usd_gpu_h": usd_per_gpu_hour,
            "price_date": day or datetime.now(UTC).date().isoformat(),
            "source": source or "added by hand",
        }
        target = add_rows(PRICES, [with_settings(row, settings)], does_replace=replace)
    out.print(f"The price of {device} is added to {target}.", soft_wrap=True)


add_check_command(app, PRICES)
