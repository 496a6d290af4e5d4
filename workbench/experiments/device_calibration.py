"""Constants of a device from stored runs of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import DATA
from workbench.catalog.tables import Price, devices, median_price
from workbench.core.errors import NotAvailable
from workbench.core.runs import Run
from workbench.estimate.calibration import Calibration
from workbench.estimate.search import Offer
from workbench.estimate.step_time import Machine, calibrated
from workbench.experiments.ceilings import published_ceilings

SHIPPED = DATA / "calibrations"
REFERENCE_DEVICE = "h200-sxm"
"""Whose fractions stand in where a device was never measured."""


def from_runs(runs: Sequence[Run]) -> Calibration:
    """Fit a device's constants to its ``gemm`` runs and its newest ``serving_speed`` run.

    Raises ``NotAvailable`` when one of the two is missing.
    """
    steps = [r for r in runs if r.kind == "serving_speed"]
    gemm = [(r, model_spec_from(r.spec["model"])) for r in runs if r.kind == "gemm"]
    if not steps or not gemm:
        missing = "gemm" if steps else "serving-speed"
        raise NotAvailable(
            f"There is no {missing} run of this device.", remedy=f"Run `workbench {missing} MODEL` on it first."
        )
    newest = max(steps, key=lambda r: r.finished_at)
    device_id = newest.environment.device_id
    return calibrated(
        device_id,
        ceilings=published_ceilings(device_id),
        gemm=[(r, m) for r, m in gemm if r.environment.device_id == device_id],
        steps=newest,
        model=model_spec_from(newest.spec["model"]),
    )


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
        machine, is_own = machine_of(device_id, n_devices=1, own=own)
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


def machine_of(device_id: str, *, n_devices: int, own: Path | None = None) -> tuple[Machine, bool]:
    """Devices of the catalogue that work as one, and whether their constants are their own."""
    known, is_own = known_calibration(device_id, own=own)
    return Machine(known=known, ceilings=published_ceilings(device_id), n_devices=n_devices), is_own
