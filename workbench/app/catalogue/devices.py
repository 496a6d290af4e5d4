"""``workbench devices``: list, add and check accelerators."""

from dataclasses import asdict
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
from workbench.catalog.own_tables import DEVICES, add_rows, catalogue_cells, rows_in
from workbench.catalog.prices import median_price
from workbench.catalog.tables import DeviceSpec, device_named, devices
from workbench.core.errors import InvalidSpec
from workbench.core.units import NOT_KNOWN, three_digits
from workbench.interface.command import AsJson
from workbench.interface.readable import ReadableErrors, out

HEAD = (
    "device",
    "name",
    "memory, GB",
    "bandwidth, GB/s",
    "BF16, TFLOP/s",
    "FP8, TFLOP/s",
    "INT8, TOPS",
    "link, GB/s",
    "power, W",
    "USD/h ◌",
    "row",
)
RATES, LINKS, ORIGIN = "Peak rates, dense", "Links and power", "Where it is from"
app = typer.Typer(help="Accelerators: the catalogue's and your own.", no_args_is_help=True)


@app.command("list")
def list_devices(
    words: Annotated[list[str] | None, typer.Argument(help="Parts of names; all devices if left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """List devices with what their makers publish, and a price that is comparable between them."""
    with ReadableErrors():
        own = {cells["id"] for cells in rows_in(DEVICES)}
        known = [d for d in devices().values() if _matches(d, words)]
        prices = {d.id: median_price(d.id) for d in known}
        if words and not known:
            device_named(words[0])
    rows = [
        (
            d.id,
            d.name,
            *(three_digits(v and v / 1e9) for v in (d.memory_bytes, d.bandwidth_bytes_per_s)),
            *(three_digits(v and v / 1e12) for v in (d.bf16_flop_per_s, d.fp8_flop_per_s, d.int8_op_per_s)),
            three_digits((d.scaleup_bytes_per_s or d.pcie_bytes_per_s or 0) / 1e9 or None),
            three_digits(d.power_w),
            f"{price.usd_per_gpu_hour:.2f}{' (stale)' if price.is_stale else ''}"
            if (price := prices[d.id])
            else NOT_KNOWN,
            "own" if d.id in own else d.provenance,
        )
        for d in known
    ]
    data = [
        asdict(d)
        | {
            "is_own": d.id in own,
            "usd_per_hour": price.usd_per_gpu_hour if (price := prices[d.id]) else None,
            "price": price.label if price else None,
        }
        for d in known
    ]
    print_rows(HEAD, rows, as_json=as_json, data=data)


def _matches(device: DeviceSpec, words: list[str] | None) -> bool:
    return all(word.lower() in f"{device.id} {device.name}".lower() for word in words or ())


@app.command()
def add(
    device_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Short name by which commands call it, such as my-card.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the product.")] = None,
    like: Annotated[
        str | None,
        typer.Option(help="Device whose figures hold where no option gives another; its source stays named."),
    ] = None,
    memory_gb: Annotated[float | None, typer.Option(help="Memory in GB of 10^9 bytes.")] = None,
    mem_bw_gbs: Annotated[float | None, typer.Option(help="Bandwidth of the memory in GB/s.")] = None,
    bf16_tflops: Annotated[
        float | None, typer.Option(help="BF16 with dense matrices, in TFLOP/s.", rich_help_panel=RATES)
    ] = None,
    fp8_tflops: Annotated[
        float | None, typer.Option(help="FP8 with dense matrices, in TFLOP/s.", rich_help_panel=RATES)
    ] = None,
    int8_tops: Annotated[
        float | None, typer.Option(help="INT8 with dense matrices, in TOPS.", rich_help_panel=RATES)
    ] = None,
    scaleup_gbs_bidir: Annotated[
        float | None,
        typer.Option(help="Link between devices of a machine, both directions, in GB/s.", rich_help_panel=LINKS),
    ] = None,
    pcie_gbs_bidir: Annotated[
        float | None, typer.Option(help="Link to the host, both directions, in GB/s.", rich_help_panel=LINKS)
    ] = None,
    tdp_w: Annotated[float | None, typer.Option(help="Power in watts.", rich_help_panel=LINKS)] = None,
    compute_capability: Annotated[
        str | None, typer.Option(help="Compute capability such as 9.0, or gfx942.", rich_help_panel=ORIGIN)
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Where the figures are from, with a date.", rich_help_panel=ORIGIN)
    ] = None,
    settings: Settings = None,
    file: FromFile = None,
    replace: Replace = False,
) -> None:
    """Add a device of your own, or one that comes before the catalogue's of the same id."""
    if file is not None:
        add_from_file(DEVICES, file, does_replace=replace)
        return
    with ReadableErrors():
        if device_id is None or source is None:
            raise InvalidSpec(
                "A device needs an id and a source.", remedy="Give ID and --source, or a file with --from."
            )
        given = {
            "id": device_id,
            "name": name or device_id,
            "memory_gb": memory_gb,
            "mem_bw_gbs": mem_bw_gbs,
            "bf16_tflops": bf16_tflops,
            "fp8_tflops": fp8_tflops,
            "int8_tops": int8_tops,
            "scaleup_gbs_bidir": scaleup_gbs_bidir,
            "pcie_gbs_bidir": pcie_gbs_bidir,
            "tdp_w": tdp_w,
            "compute_capability": compute_capability,
            "provenance": "own",
            "source": source,
        }
        base: dict[str, str] = {}
        if like is not None:
            device_named(like)
            base = dict(catalogue_cells(DEVICES, like) or {})
            if memory_gb is not None:  # what a driver reports of the other one's memory is not of this one
                base = {k: v for k, v in base.items() if not k.startswith("reported_memory")}
            given["source"] = f"{source}; otherwise as {like}: {base.get('source', '')}"
        target = add_rows(DEVICES, [base | with_settings(given, settings)], does_replace=replace)
    out.print(f"{device_id} is added to {target}.", soft_wrap=True)


add_check_command(app, DEVICES)
