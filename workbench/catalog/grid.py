"""Greenhouse gases of electricity by country."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from workbench.catalog.csv_rows import read_rows
from workbench.catalog.paths import DATA
from workbench.core.checks import require_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A line of ``grid.csv``: the mean of a year."""

    id: str
    name: str
    g_co2_per_kwh: float
    """CO2 equivalents over the life cycle of power stations."""
    year: int
    source: str

    def __post_init__(self) -> None:
        require_positive(self, "g_co2_per_kwh")


@cache
def grids() -> Mapping[str, Grid]:
    """Return the electricity of each country by its ISO 3166 code."""
    return {row.id: row for row in read_rows(DATA / "grid.csv", Grid)}
