"""Rows of the catalogue's smaller tables: hardware, engines, questions and claims."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import isfinite
from typing import TypeVar

from workbench.catalog.csv_rows import rows_of
from workbench.catalog.own_rows import cached_while_unchanged
from workbench.core.errors import NotAModel, NotAvailable
from workbench.core.language import gettext
from workbench.core.names import did_you_mean

T = TypeVar("T")


def row_named(known: Mapping[str, T], name: str, *, what: str) -> T:
    """Return the row of a name; raises ``NotAModel`` with the nearest known names, or with all."""
    if name not in known:
        raise NotAModel(
            gettext("No {what} of the name {name} is known.").format(what=what, name=repr(name)),
            remedy=did_you_mean(name, known) or gettext("Choose from: {names}.").format(names=", ".join(known)),
        )
    return known[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """What the maker publishes about an accelerator. Rates are dense."""

    id: str
    name: str
    memory_bytes: float | None
    """As the driver reports it where that was seen, else the data sheet's gigabytes."""
    reported_memory_source: str | None
    """Where the driver's report was seen; None where ``memory_bytes`` are the data sheet's."""
    bandwidth_bytes_per_s: float
    bf16_flop_per_s: float | None
    fp8_flop_per_s: float | None
    int8_op_per_s: float | None
    fp16_flop_per_s: float | None = None
    fp4_flop_per_s: float | None = None
    power_w: float | None
    scaleup_bytes_per_s: float | None
    """Bandwidth of the link between devices of one machine, both directions together; None without one."""
    pcie_bytes_per_s: float | None
    compute_capability: str
    provenance: str
    source: str


DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LARGEST = 1e6
"""No figure of a data sheet is larger in its unit: a PB/s, or an EFLOP/s."""
NUMBERS = (
    *("memory_gb", "mem_bw_gbs", "bf16_tflops", "fp8_tflops", "int8_tops", "tdp_w"),
    *("scaleup_gbs_bidir", "pcie_gbs_bidir"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareRow:
    """A line of ``hardware.csv``, in the units of data sheets."""

    id: str
    name: str
    memory_gb: float | None = None
    reported_memory_mib: int | None = None
    reported_memory_source: str | None = None
    mem_bw_gbs: float
    bf16_tflops: float | None = None
    fp8_tflops: float | None = None
    int8_tops: float | None = None
    fp16_tflops: float | None = None
    fp4_tflops: float | None = None
    tdp_w: float | None = None
    scaleup_gbs_bidir: float | None = None
    pcie_gbs_bidir: float | None = None
    compute_capability: str = ""
    provenance: str
    source: str

    def __post_init__(self) -> None:
        if not DEVICE_ID.fullmatch(self.id):
            raise ValueError(
                gettext("{name} is no id of letters, digits, dots, dashes and underscores").format(
                    name=f"{self.id!r:.60}"
                )
                + ": `id`"
            )
        if len(self.name) > 120 or not self.name.isprintable():
            raise ValueError(gettext("{name} is no name of one line").format(name=f"{self.name!r:.60}") + ": `name`")
        for column in NUMBERS:
            value = getattr(self, column)
            if value is not None and not (isfinite(value) and 0 < value <= LARGEST):
                raise ValueError(
                    gettext("{n} is no number above 0 and up to {most}").format(n=f"{value:g}", most=f"{LARGEST:g}")
                    + f": `{column}`"
                )


@cached_while_unchanged("hardware.csv")
def devices() -> dict[str, DeviceSpec]:
    """Return the accelerators of the catalogue by id; the reader's own ones come before those of the same id."""
    return {
        row.id: DeviceSpec(
            id=row.id,
            name=row.name,
            memory_bytes=_times(row.reported_memory_mib, 2.0**20) or _times(row.memory_gb, 1e9),
            reported_memory_source=row.reported_memory_source,
            bandwidth_bytes_per_s=row.mem_bw_gbs * 1e9,
            bf16_flop_per_s=_times(row.bf16_tflops, 1e12),
            fp8_flop_per_s=_times(row.fp8_tflops, 1e12),
            int8_op_per_s=_times(row.int8_tops, 1e12),
            fp16_flop_per_s=_times(row.fp16_tflops, 1e12),
            fp4_flop_per_s=_times(row.fp4_tflops, 1e12),
            power_w=row.tdp_w,
            scaleup_bytes_per_s=_times(row.scaleup_gbs_bidir, 1e9),
            pcie_bytes_per_s=_times(row.pcie_gbs_bidir, 1e9),
            compute_capability=row.compute_capability,
            provenance=row.provenance,
            source=row.source,
        )
        for row in rows_of("hardware.csv", HardwareRow)
    }


def device_named(device_id: str) -> DeviceSpec:
    """Return the device of an id; raises ``NotAvailable`` with the nearest known ids."""
    device = devices().get(device_id)
    if device is None:
        raise NotAvailable(
            gettext("There is no device {id} in the catalogue.").format(id=device_id),
            remedy=gettext("{suggestion} `workbench devices list` shows all; `workbench devices add` adds your own.")
            .format(suggestion=did_you_mean(device_id, devices()))
            .strip(),
        )
    return device


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


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
    """Return the engines of this release."""
    return tuple(rows_of("engines.csv", EngineSpec))


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
    """Return the published figures of engines."""
    return tuple(rows_of("published.csv", PublishedFigure))


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One of the fourteen questions."""

    number: int
    slug: str
    """Name of its folder in ``workbench/questions``."""
    title: str
    notebook: str
    is_ready: bool

    @property
    def shown_title(self) -> str:
        """Its number and its title in the reader's language."""
        return f"{self.number}. {gettext(self.title)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _QuestionRow:
    """A line of ``questions.csv``, as it stands there."""

    number: int
    slug: str
    title: str
    notebook: str
    state: str


@cache
def questions() -> tuple[Question, ...]:
    """Return the fourteen questions in order."""
    return tuple(
        Question(number=r.number, slug=r.slug, title=r.title, notebook=r.notebook, is_ready=r.state == "ready")
        for r in rows_of("questions.csv", _QuestionRow)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A published claim: the range of a metric that a technique is said to reach."""

    question: int
    technique: str
    metric: str
    low: float | None = None
    high: float | None = None
    unit: str
    condition: str = ""
    source: str
    date: str

    @property
    def shown_range(self) -> str:
        """The range as a reader would write it."""
        if self.low is None and self.high is None:
            return gettext(self.condition)
        ends = [f"{v:g}" for v in (self.low, self.high) if v is not None]
        text = ends[0] if len(set(ends)) == 1 else "–".join(ends)
        shown = text + {"percent": " %", "ratio": "×"}.get(self.unit, f" {gettext(self.unit)}")
        if self.high is None:
            return gettext("from {value}").format(value=shown)
        return gettext("up to {value}").format(value=shown) if self.low is None else shown


@cache
def claims() -> tuple[Claim, ...]:
    """Return all claims of the FAQ's tables."""
    return tuple(rows_of("claims.csv", Claim))
