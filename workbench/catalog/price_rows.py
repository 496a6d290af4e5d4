"""Listed prices of an hour of a device: the catalogue's and the reader's own, as they stand in their files."""

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path

from workbench.catalog.csv_rows import RowProblem, lines_of, problems_of, read_rows
from workbench.catalog.own_rows import cached_while_unchanged, catalogue_columns, own_file
from workbench.catalog.paths import DATA
from workbench.catalog.tables import devices
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.core.names import did_you_mean

STALE_AFTER = dt.timedelta(days=180)
"""Before the newest row of the table; a row without a day is stale too."""
NO_OFFERS = ("semianalysis-tco",)  # costs of owners, which nobody can rent at


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a provider listed for one GPU-hour."""

    provider: str
    instance: str
    device_id: str
    usd_per_gpu_hour: float
    date: str
    source: str

    @property
    def label(self) -> str:
        """Provider, instance and the day of the price."""
        return f"{' '.join(part for part in (gettext(self.provider), self.instance) if part)}, {gettext(self.date)}"

    @property
    def day(self) -> dt.date | None:
        """The day on which it was listed; None where only a year or nothing is known."""
        return day_in(self.date)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """A line of ``prices.csv``, with the columns that are used."""

    provider: str
    instance: str = ""
    hardware_id: str
    gpu_count: int
    region: str = ""
    on_demand_usd_h: float | None = None
    spot_usd_h: float | None = None
    reserved_usd_h: float | None = None
    reserved_term: str = ""
    on_demand_usd_gpu_h: float | None = None
    price_date: str
    source: str

    def __post_init__(self) -> None:
        if not 0 < self.gpu_count <= 10_000:
            raise ValueError(gettext("{n} is no number of GPUs").format(n=self.gpu_count) + ": `gpu_count`")
        for name in ("on_demand_usd_h", "on_demand_usd_gpu_h", "spot_usd_h", "reserved_usd_h"):
            value = getattr(self, name)
            if value is not None and not (isfinite(value) and 0 < value < 1e6):
                raise ValueError(gettext("{n} is no price above zero").format(n=f"{value:g}") + f": `{name}`")

    def price(self, usd_per_gpu_hour: float, *, instance: str | None = None) -> Price:
        """Return one of the prices of the line."""
        return Price(
            provider=self.provider,
            instance=self.instance if instance is None else instance,
            device_id=self.hardware_id,
            usd_per_gpu_hour=usd_per_gpu_hour,
            date=self.price_date,
            source=self.source,
        )

    @property
    def on_demand(self) -> Price | None:
        """The price on demand; None where the line has none, is a cost of owners or a prepaid block."""
        if self.provider in NO_OFFERS or "capacity block" in self.instance or not self.on_demand_usd_gpu_h:
            return None
        return self.price(self.on_demand_usd_gpu_h)


@cache
def catalogue_price_rows() -> tuple[PriceRow, ...]:
    """Return the lines of the catalogue's table."""
    return tuple(read_rows(DATA / "prices.csv", PriceRow))


@cached_while_unchanged("prices.csv", "hardware.csv")
def own_price_rows() -> tuple[PriceRow, ...]:
    """Return the lines of the reader's own table; raises ``InvalidSpec`` where one is wrong."""
    file = own_file("prices.csv")
    if file is None or not file.exists():
        return ()
    rows = tuple(read_rows(file, PriceRow))
    for problem in price_problems(file):
        raise InvalidSpec(
            gettext("{file}, line {line}: {cause}.").format(file=file, line=problem.line, cause=problem.cause),
            remedy=gettext("See `workbench prices check` for all lines."),
        )
    return rows


def price_problems(file: Path) -> list[RowProblem]:
    """Return everything that is wrong in a file of prices; see ``problems_of``."""
    problems = problems_of(file, PriceRow, columns=catalogue_columns("prices.csv"))
    if not problems:
        for line in lines_of(file):
            name = line.cells["hardware_id"]
            if name not in devices():
                unknown = gettext("no device has the id {name}").format(name=repr(name))
                near = did_you_mean(name, devices())
                cause = gettext("{cause}. {suggestion}").format(cause=unknown, suggestion=near) if near else unknown
                problems.append(RowProblem(line=line.number, column="hardware_id", cause=cause))
    return problems


def day_in(text: str) -> dt.date | None:
    """Return the day that a text begins with or names; None where there is none."""
    found = re.search(r"\d{4}-\d\d-\d\d", text)
    try:
        return dt.date.fromisoformat(found[0]) if found else None
    except ValueError:
        return None


def prices() -> tuple[Price, ...]:
    """Return the listed prices on demand, the reader's own included; costs of owners and prepaid blocks are left out."""
    return tuple(price for row in (*catalogue_price_rows(), *own_price_rows()) if (price := row.on_demand))


@cached_while_unchanged("prices.csv", "hardware.csv")
def _newest_day() -> dt.date | None:
    return max((day for p in prices() if (day := p.day)), default=None)


def is_stale(price: Price) -> bool:
    """Return whether a price has no day, or one long before the newest of the table."""
    newest = _newest_day()
    return price.day is None or (newest is not None and newest - price.day > STALE_AFTER)


def listings(listed: Iterable[Price]) -> list[Price]:
    """Return one price for each provider and device: the newest, and of those of one day the least for a GPU.

    Sizes of one family differ by the machine around the GPU and would vote several times; the least buys the GPU with
    the least machine.
    """
    best: dict[tuple[str, str], Price] = {}
    for price in listed:
        key = (price.provider, price.device_id)
        if key not in best or _rank(price) < _rank(best[key]):
            best[key] = price
    return list(best.values())


def _rank(price: Price) -> tuple[int, float]:
    return -(price.day.toordinal() if price.day else 0), price.usd_per_gpu_hour
