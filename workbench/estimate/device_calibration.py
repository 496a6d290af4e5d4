"""Constants of a device from stored runs of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from math import log
from pathlib import Path

from workbench.catalog.formats import FORMATS
from workbench.catalog.kernels import capability, has_bf16, has_fp8_cache, kernel_format
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import DATA
from workbench.catalog.price_rows import Price
from workbench.catalog.prices import median_price
from workbench.catalog.tables import device_named, devices
from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.estimate.calibration import Calibration
from workbench.estimate.ceilings import published_ceilings
from workbench.estimate.fitting import Evidence, fit_calibration
from workbench.estimate.load_constants import load_constants
from workbench.estimate.machine import NVLINK_FRACTION, NVLINK_LATENCY_S, PCIE_LATENCY_S, Link, Machine, Split
from workbench.estimate.roofline import Ceilings
from workbench.estimate.rows import AllReduceTime, ProductTime, StepCell, StepTime
from workbench.estimate.search import Offer

CALIBRATIONS = "calibrations"

SHIPPED = DATA / "calibrations"
REFERENCE_DEVICE = "h200-sxm"
"""Whose calibration saw the most formats and contexts."""
WEIGHTS_ONLY = "fp8a16"
"""FP8 on a device that does not multiply it."""
NEXT_OF_KIN: Mapping[str, tuple[str, ...]] = {
    "fp16": ("bf16",),
    "fp8": ("w8a8",),
    "w8a8": ("fp8",),
    "w8a16": ("w4a16",),
    "w4a16": ("w8a16",),
    "w4a16-asym": ("w4a16",),
    "nvfp4a16": ("w4a16",),
    "mxfp4": ("nvfp4a16",),
    "nvfp4": ("fp8",),
}
"""Formats whose kernels are likest: weights only with weights only, rounded inputs with rounded inputs."""


def from_runs(runs: Sequence[Run], *, reference: Calibration | None = None) -> Calibration:
    """Fit a device's constants to its ``calibration`` run, or to its ``gemm`` runs and its newest ``serving_speed`` run.

    Args:
        runs: Of one device; the newest of each part counts, products of all.
        reference: See ``fit_calibration``.

    Raises ``NotAvailable`` when products or steps are missing.
    """
    steps = [r for r in runs if r.rows(StepTime) and r.spec.get("tensor_parallel", 1) == 1]
    gemm = [r for r in runs if r.rows(ProductTime)]
    if not steps or not gemm:
        missing = "products" if steps else "steps"
        raise NotAvailable(
            gettext("No {names} of this device were measured.").format(names=missing),
            remedy=gettext("Run `workbench calibrate MODEL` on it first."),
        )
    newest = max(steps, key=lambda r: (len(r.rows(StepCell)), r.finished_at))
    device_id = newest.environment.device_id
    links = [r for r in runs if r.rows(AllReduceTime) and r.environment.device_id == device_id]
    evidence = Evidence(
        gemm=[r for r in gemm if r.environment.device_id == device_id],
        steps=newest,
        model=model_spec_from(str(newest.model)),
        links=max(links, key=lambda r: r.finished_at).rows(AllReduceTime) if links else (),
    )
    return fit_calibration(device_id, evidence, ceilings=published_ceilings(device_id), reference=reference)


def known_calibration(device_id: str, *, own: Path | None = None) -> tuple[Calibration, bool]:
    """Return the constants for a device, and whether they are its own.

    The reader's own come first, then those that ship, then those of the nearest device that has some.
    """
    for folder in (own, SHIPPED):
        file = folder / f"{device_id}.json" if folder else None
        if file and file.is_file():
            return Calibration.from_json(file.read_text()), True
    return nearest_calibrations(device_id)[0], False


def nearest_calibrations(device_id: str) -> list[Calibration]:
    """Return the shipped constants of the devices that are nearest in kind, the most similar bandwidth first.

    Devices of the same compute capability where one of them was measured, else of the same maker, else all.
    """
    device, known = devices()[device_id], list(shipped_calibrations().values())

    def distance(other_id: str) -> float:
        return abs(log(devices()[other_id].bandwidth_bytes_per_s / device.bandwidth_bytes_per_s))

    def is_alike(other_id: str) -> bool:
        return devices()[other_id].compute_capability == device.compute_capability

    def is_of_the_maker(other_id: str) -> bool:
        return (capability(devices()[other_id]) is None) == (capability(device) is None)

    kinds = ([c for c in known if is_near(c.device_id)] for is_near in (is_alike, is_of_the_maker))
    return sorted(next((k for k in kinds if k), known), key=lambda c: distance(c.device_id))


@cache
def shipped_calibrations() -> dict[str, Calibration]:
    """Return the constants that ship, by device."""
    found = (Calibration.from_json(file.read_text()) for file in sorted(SHIPPED.glob("*.json")))
    return {known.device_id: known for known in found}


def with_lent_curves(known: Calibration) -> tuple[Calibration, frozenset[str]]:
    """Return constants with a curve for every format that has kernels, and the formats whose curve is not the device's.

    A format that was not measured takes the fractions of the same format on another device (see ``_carried_over``), else those
    of the next one in ``NEXT_OF_KIN``.
    """
    measured = known
    others = [c for c in shipped_calibrations().values() if c.device_id != known.device_id]
    lent = frozenset(FORMATS) - frozenset(known.curves)
    for _ in NEXT_OF_KIN:  # formats that take a curve that was itself taken
        for form in (f for f in FORMATS if f not in known.curves):
            lender = next((c for c in others if form in c.curves), None)
            kin = next((k for k in NEXT_OF_KIN.get(form, ()) if k in known.curves), None)
            if lender is not None:
                known = _with_curve(known, form, _carried_over(form, lender, measured), form)
            elif kin is not None:
                known = _with_curve(known, form, known, kin)
    # Weights of 8 bits are read as those of FP8 are, and multiplied as 16 bits.
    eight = replace(known.curves["fp8"], flop_fraction=known.curves["w8a16"].flop_fraction)
    tables = {**known.tables, WEIGHTS_ONLY: known.tables.get("fp8", {})}
    return replace(known, curves={**known.curves, WEIGHTS_ONLY: eight}, tables=tables), lent


def _carried_over(form: str, lender: Calibration, known: Calibration) -> Calibration:
    """Return a lender whose curve of a format stands to the other device's next of kin as it does to its own.

    Kernels of few bits take as many microseconds on a device with less bandwidth, where they reach more of it. Only a kin with
    weights of as many bits tells that, and no product becomes faster than on a lender with more bandwidth.
    """
    curve = lender.curves[form]
    for kin in NEXT_OF_KIN.get(form, ()):
        if kin in known.curves and kin in lender.curves and FORMATS[kin].bits == FORMATS[form].bits:
            more = known.curves[kin].bandwidth_fraction / lender.curves[kin].bandwidth_fraction
            same_time = (
                devices()[lender.device_id].bandwidth_bytes_per_s / devices()[known.device_id].bandwidth_bytes_per_s
            )
            fraction = curve.bandwidth_fraction * max(1.0, min(more, same_time))
            return replace(lender, curves={**lender.curves, form: replace(curve, bandwidth_fraction=fraction)})
    return lender


def _with_curve(known: Calibration, form: str, lender: Calibration, of: str) -> Calibration:
    ratios = dict(known.prompt_product_ratio)
    if of in ratios and form not in ratios:
        ratios[form] = ratios[of]
    return replace(
        known,
        curves={**known.curves, form: lender.curves[of]},
        tables={**known.tables, form: lender.tables.get(of, {})},
        prompt_product_ratio=ratios,
    )


def offers(
    device_ids: Sequence[str], *, own: Path | None = None, prices: Mapping[str, Price] | None = None
) -> list[Offer]:
    """Return devices of the catalogue with their constants and a price: the reader's own, else that at the median provider.

    Raises ``NotAvailable`` for a device that the catalogue lacks.
    """
    offered = []
    for device_id in device_ids:
        machine, is_own = machine_of(device_id, own=own)
        device, price = devices()[device_id], (prices or {}).get(device_id) or median_price(device_id)
        if device.memory_bytes is None:
            raise NotAvailable(
                gettext("The memory of {device} is not in the catalogue.").format(device=device.name),
                remedy=gettext("Choose another device."),
            )
        offered.append(
            Offer(
                device_id=device_id,
                name=device.name,
                memory_bytes=device.memory_bytes,
                usd_per_hour=price.usd_per_gpu_hour if price else None,
                price_label=price.label if price else gettext("no listed price"),
                machine=machine,
                has_bf16=has_bf16(device),
                has_fp8_cache=has_fp8_cache(device),
                is_calibrated=is_own,
            )
        )
    return offered


def machine_of(device_id: str, *, split: Split | None = None, own: Path | None = None) -> tuple[Machine, bool]:
    """Return devices of the catalogue that work as one, and whether their constants are their own.

    What the reader measured is taken as it is. Else the measured devices that ship bound each other: a device with more
    bandwidth and higher peaks is never predicted to be slower.
    """
    is_the_readers = own is not None and (own / f"{device_id}.json").is_file()
    machine, is_own = _machine(device_id, own)
    if not is_the_readers:
        others = [_machine(i, None)[0] for i in shipped_calibrations() if i != device_id]
        slower = tuple(m for m in others if _is_above(machine.ceilings, m.ceilings))
        faster = () if is_own else tuple(m for m in others if _is_above(m.ceilings, machine.ceilings))
        slower_too = {m.known.device_id: tuple(o for o in others if _is_above(m.ceilings, o.ceilings)) for m in others}
        bounds = [tuple(replace(m, slower=slower_too[m.known.device_id]) for m in side) for side in (slower, faster)]
        machine = replace(machine, slower=bounds[0], faster=bounds[1])
    return replace(machine, split=split or Split(), load=load_constants(device_id, own)), is_own


def _machine(device_id: str, own: Path | None) -> tuple[Machine, bool]:
    """Return one device with its constants alone."""
    link, ceilings, device = catalog_link(device_id), published_ceilings(device_id), devices()[device_id]
    measured, is_own = known_calibration(device_id, own=own)
    known, lent = with_lent_curves(measured)
    near = [] if is_own else nearest_calibrations(device_id)[1:]
    computed = {precision: kernel_format(precision, device) for precision in FORMATS}
    return Machine(
        known=known,
        ceilings=ceilings,
        link=replace(link, measured=known.all_reduces) if is_own else link,
        kernels={precision: form for precision, form in computed.items() if form is not None},
        also=tuple(with_lent_curves(c)[0] for c in near),
        lent=lent,
    ), is_own


def _is_above(one: Ceilings, other: Ceilings) -> bool:
    """Return whether a device has at least the bandwidth and the peaks of another, and more of one."""
    mine, its = ((c.bandwidth_bytes_per_s, c.flop_per_s[16], c.flop_per_s[8]) for c in (one, other))
    return mine != its and all(a >= b for a, b in zip(mine, its, strict=True))


def catalog_link(device_id: str) -> Link:
    """Return NVLink where a device has it, else PCIe, with the shares and latencies that were measured on two H200."""
    device = device_named(device_id)
    if device.scaleup_bytes_per_s:
        return Link(latency_s=NVLINK_LATENCY_S, bytes_per_s=device.scaleup_bytes_per_s / 2, fraction=NVLINK_FRACTION)
    return Link(latency_s=PCIE_LATENCY_S, bytes_per_s=(device.pcie_bytes_per_s or 32e9) / 2, fraction=NVLINK_FRACTION)
