"""Constants of a device from stored runs of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import DATA
from workbench.catalog.tables import Price, devices, median_price
from workbench.core.errors import NotAvailable
from workbench.core.runs import Run
from workbench.estimate.calibration import Calibration
from workbench.estimate.fitting import Evidence, calibrated, link_of
from workbench.estimate.machine import NVLINK_FRACTION, NVLINK_LATENCY_S, PCIE_LATENCY_S, Link, Machine, Split
from workbench.estimate.search import Offer
from workbench.experiments.ceilings import published_ceilings

SHIPPED = DATA / "calibrations"
REFERENCE_DEVICE = "h200-sxm"
"""Whose fractions stand in where a device was never measured."""


def from_runs(runs: Sequence[Run], *, reference: Calibration | None = None) -> Calibration:
    """Fit a device's constants to its ``calibration`` run, or to its ``gemm`` runs and its newest ``serving_speed`` run.

    Args:
        runs: Of one device; the newest of each part counts, products of all.
        reference: See ``calibrated``.

    Raises ``NotAvailable`` when products or steps are missing.
    """
    whole = [part for r in runs for part in parts_of(r)]
    steps = [r for r in whole if r.kind == "serving_speed" and r.spec.get("tensor_parallel", 1) == 1]
    gemm = [(r, model_spec_from(r.spec["model"])) for r in whole if r.kind == "gemm"]
    if not steps or not gemm:
        missing = "products" if steps else "steps"
        raise NotAvailable(
            f"No {missing} of this device were measured.", remedy="Run `workbench calibrate MODEL` on it first."
        )
    newest = max(steps, key=lambda r: (len(r.results), r.finished_at))
    device_id = newest.environment.device_id
    links = [r for r in whole if r.kind == "all_reduce" and r.environment.device_id == device_id]
    evidence = Evidence(
        gemm=[(r, m) for r, m in gemm if r.environment.device_id == device_id],
        steps=newest,
        model=model_spec_from(newest.spec["model"]),
        links=max(links, key=lambda r: r.finished_at).results if links else (),
    )
    return calibrated(device_id, evidence, ceilings=published_ceilings(device_id), reference=reference)


def parts_of(run: Run) -> list[Run]:
    """A calibration as the runs that it is made of; any other run as it is."""
    if run.kind != "calibration":
        return [run]
    made = []
    for part in ("gemm", "serving_speed", "all_reduce"):
        rows = [r for r in run.results if r["part"] == part and r.get("world", 2) == 2]
        if rows:
            spec = dict(run.spec) | ({"served": ["bf16"]} if part == "serving_speed" else {})
            made.append(replace(run, kind=part, spec=spec, results=rows))
    return made


def known_calibration(device_id: str, *, own: Path | None = None) -> tuple[Calibration, bool]:
    """The constants for a device, and whether they are its own: the reader's, else those that ship, else an H200's.

    Args:
        device_id: Row of the hardware catalogue.
        own: Folder with the reader's calibrations.
    """
    for folder in (own, SHIPPED):
        file = folder / f"{device_id}.json" if folder else None
        if file and file.is_file():
            return Calibration.from_json(file.read_text()), True
    return Calibration.from_json((SHIPPED / f"{REFERENCE_DEVICE}.json").read_text()), False


def offers(
    device_ids: Sequence[str], *, own: Path | None = None, prices: Mapping[str, Price] | None = None
) -> list[Offer]:
    """Devices of the catalogue with their constants and a price: the reader's own, else the median of the listed ones.

    Args:
        device_ids: Rows of the hardware catalogue.
        own: Folder with the reader's calibrations.
        prices: The reader's own prices by device.

    Raises ``NotAvailable`` for a device that the catalogue lacks.
    """
    made = []
    for device_id in device_ids:
        machine, is_own = machine_of(device_id, own=own)
        device, price = devices()[device_id], (prices or {}).get(device_id) or median_price(device_id)
        if device.memory_bytes is None:
            raise NotAvailable(f"The memory of {device.name} is not in the catalogue.", remedy="Choose another device.")
        made.append(
            Offer(
                device_id=device_id,
                name=device.name,
                memory_bytes=device.memory_bytes,
                usd_per_hour=price.usd_per_gpu_hour if price else None,
                price_label=price.label if price else "no listed price",
                machine=machine,
                has_fp8=device.fp8_flop_per_s is not None,
                is_calibrated=is_own,
            )
        )
    return made


def machine_of(device_id: str, *, split: Split | None = None, own: Path | None = None) -> tuple[Machine, bool]:
    """Devices of the catalogue that work as one, and whether their constants are their own."""
    known, is_own = known_calibration(device_id, own=own)
    link = catalog_link(device_id)
    return Machine(
        known=known,
        ceilings=published_ceilings(device_id),
        split=split or Split(),
        link=link_of(known, otherwise=link) if is_own else link,
    ), is_own


def catalog_link(device_id: str) -> Link:
    """NVLink where a device has it, else PCIe, with the shares and latencies that were measured on two H200."""
    device = devices().get(device_id)
    if device is None:
        raise NotAvailable(
            f"There is no device {device_id} in the catalogue.", remedy="Name a row of data/hardware.csv."
        )
    if device.scaleup_bytes_per_s:
        return Link(latency_s=NVLINK_LATENCY_S, bytes_per_s=device.scaleup_bytes_per_s / 2, fraction=NVLINK_FRACTION)
    return Link(latency_s=PCIE_LATENCY_S, bytes_per_s=(device.pcie_bytes_per_s or 32e9) / 2, fraction=NVLINK_FRACTION)
