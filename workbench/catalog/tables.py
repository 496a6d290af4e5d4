"""Rows of the catalogue's smaller tables: hardware, prices, engines, questions and claims."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from workbench.catalog.paths import DATA
from workbench.core.errors import InvalidSpec


def _rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _number(row: Mapping[str, str], key: str, factor: float = 1.0) -> float | None:
    return float(row[key]) * factor if row.get(key) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """What the maker publishes about an accelerator. Rates are dense."""

    id: str
    name: str
    memory_bytes: float | None
    bandwidth_bytes_per_s: float
    bf16_flop_per_s: float | None
    fp8_flop_per_s: float | None
    int8_op_per_s: float | None
    power_w: float | None
    scaleup_bytes_per_s: float | None
    """Of the link between devices of one machine, both directions together; None without one."""
    pcie_bytes_per_s: float | None
    compute_capability: str
    provenance: str
    source: str


@cache
def devices() -> dict[str, DeviceSpec]:
    """Accelerators by id."""
    return {
        row["id"]: DeviceSpec(
            id=row["id"],
            name=row["name"],
            memory_bytes=_number(row, "memory_gb", 1e9),
            bandwidth_bytes_per_s=float(row["mem_bw_gbs"]) * 1e9,
            bf16_flop_per_s=_number(row, "bf16_tflops", 1e12),
            fp8_flop_per_s=_number(row, "fp8_tflops", 1e12),
            int8_op_per_s=_number(row, "int8_tops", 1e12),
            power_w=_number(row, "tdp_w"),
            scaleup_bytes_per_s=_number(row, "scaleup_gbs_bidir", 1e9),
            pcie_bytes_per_s=_number(row, "pcie_gbs_bidir", 1e9),
            compute_capability=row["compute_capability"],
            provenance=row["provenance"],
            source=row["source"],
        )
        for row in _rows("hardware.csv")
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a provider listed for one GPU-hour, on demand."""

    provider: str
    instance: str
    device_id: str
    usd_per_gpu_hour: float
    date: str
    source: str

    @property
    def label(self) -> str:
        """Provider, instance and the day of the price."""
        return f"{' '.join(part for part in (self.provider, self.instance) if part)}, {self.date}"


@cache
def prices() -> tuple[Price, ...]:
    """Listed prices; owner cost models and prepaid blocks are left out."""
    kept = [
        r for r in _rows("prices.csv") if r["provider"] != "semianalysis-tco" and "capacity block" not in r["instance"]
    ]
    return tuple(
        Price(
            provider=r["provider"],
            instance=r["instance"],
            device_id=r["hardware_id"],
            usd_per_gpu_hour=float(r["on_demand_usd_gpu_h"]),
            date=r["price_date"],
            source=r["source"],
        )
        for r in kept
        if r["on_demand_usd_gpu_h"]
    )


OWN_COLUMNS = ("device_id", "usd_per_gpu_hour")


def own_prices(path: Path) -> dict[str, Price]:
    """The reader's own prices by device, from a CSV file with ``OWN_COLUMNS`` and, if wished, provider and date.

    Raises ``InvalidSpec`` when the file cannot be read, lacks a column, names no device of the catalogue, or has a price
    that is none.
    """
    try:
        with path.expanduser().open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        made = {
            r["device_id"].strip(): Price(
                provider=(r.get("provider") or "own price").strip(),
                instance="",
                device_id=r["device_id"].strip(),
                usd_per_gpu_hour=float(r["usd_per_gpu_hour"]),
                date=(r.get("date") or "no date").strip(),
                source=str(path),
            )
            for r in rows
        }
    except (OSError, UnicodeDecodeError, KeyError, ValueError, AttributeError, TypeError, csv.Error) as error:
        raise InvalidSpec(
            f"The prices {path} cannot be read: {type(error).__name__} {error}.",
            remedy=f"Give a CSV file with the columns {', '.join(OWN_COLUMNS)} (and provider, date).",
        ) from error
    odd = [d for d in made if d not in devices()]
    free = [d for d, p in made.items() if not p.usd_per_gpu_hour > 0]
    if odd or free or not made:
        what = f"unknown devices: {', '.join(odd)}" if odd else f"no price: {', '.join(free) or 'no rows'}"
        raise InvalidSpec(
            f"The prices {path} have {what}.", remedy="Use ids of data/hardware.csv and prices above zero."
        )
    return made


def median_spot_price(device_id: str) -> Price | None:
    """The middle of a device's listed spot prices, or None when none is listed."""
    return _median_of(device_id, "spot_usd_h", lambda row: f"{row['instance']} spot")


def median_reserved_price(device_id: str) -> Price | None:
    """The middle of a device's listed prices for machines that are paid for a whole term, used or not; or None."""
    return _median_of(device_id, "reserved_usd_h", lambda row: f"{row['instance']} reserved, {row['reserved_term']}")


def _median_of(device_id: str, column: str, instance: Callable[[Mapping[str, str]], str]) -> Price | None:
    found = [
        Price(
            provider=r["provider"],
            instance=instance(r),
            device_id=device_id,
            usd_per_gpu_hour=float(r[column]) / int(r["gpu_count"]),
            date=r["price_date"],
            source=r["source"],
        )
        for r in _rows("prices.csv")
        if r["hardware_id"] == device_id and r[column]
    ]
    found.sort(key=lambda p: p.usd_per_gpu_hour)
    return found[(len(found) - 1) // 2] if found else None


def median_price(device_id: str) -> Price | None:
    """The middle of a device's listed prices, or None when none is listed."""
    found = sorted((p for p in prices() if p.device_id == device_id), key=lambda p: p.usd_per_gpu_hour)
    return found[(len(found) - 1) // 2] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """An engine, how it is installed and what it can do; the features are as its ``source`` says."""

    id: str
    name: str
    package: str
    tested_version: str
    install: str
    what_for: str
    quantization: str
    parallelism: str
    multimodal: str
    hardware: str
    started: str
    """Where it was started for this workbench, or why not."""
    source: str
    date: str


@cache
def engines() -> tuple[EngineSpec, ...]:
    """The engines of this release."""
    return tuple(EngineSpec(**row) for row in _rows("engines.csv"))


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFigure:
    """What somebody published of an engine on a device; nothing of it was measured here."""

    engine: str
    device_id: str
    model: str
    value: float
    unit: str
    condition: str
    source: str
    date: str


@cache
def published_figures() -> tuple[PublishedFigure, ...]:
    """Published figures of engines."""
    return tuple(
        PublishedFigure(
            engine=row["engine"],
            device_id=row["device_id"],
            model=row["model"],
            value=float(row["value"]),
            unit=row["unit"],
            condition=row["condition"],
            source=row["source"],
            date=row["date"],
        )
        for row in _rows("published.csv")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One of the thirteen questions."""

    number: int
    slug: str
    title: str
    notebook: str
    is_ready: bool


@cache
def questions() -> tuple[Question, ...]:
    """The thirteen questions in order."""
    return tuple(
        Question(
            number=int(r["number"]),
            slug=r["slug"],
            title=r["title"],
            notebook=r["notebook"],
            is_ready=r["state"] == "ready",
        )
        for r in _rows("questions.csv")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A published promise: the range of a metric that a technique is said to reach."""

    question: int
    technique: str
    metric: str
    low: float | None
    high: float | None
    unit: str
    condition: str
    source: str
    date: str

    @property
    def shown_range(self) -> str:
        """The range as a reader would write it."""
        if self.low is None and self.high is None:
            return self.condition
        ends = [f"{v:g}" for v in (self.low, self.high) if v is not None]
        text = ends[0] if len(set(ends)) == 1 else "–".join(ends)
        prefix = "from " if self.high is None else "up to " if self.low is None else ""
        return prefix + text + {"percent": " %", "ratio": "×"}.get(self.unit, f" {self.unit}")


@cache
def claims() -> tuple[Claim, ...]:
    """All claims of the FAQ's tables."""
    return tuple(
        Claim(
            question=int(r["question"]),
            technique=r["technique"],
            metric=r["metric"],
            low=_number(r, "low"),
            high=_number(r, "high"),
            unit=r["unit"],
            condition=r["condition"],
            source=r["source"],
            date=r["date"],
        )
        for r in _rows("claims.csv")
    )
