"""What a computation runs on."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One GPU, or the processor of this machine."""

    kind: Literal["cpu", "cuda"]
    name: str
    memory_bytes: int
    free_bytes: int
    compute_capability: float | None = None
    driver: str | None = None
    catalog_id: str | None = None
    """Row of ``data/hardware.csv`` that describes it, where one does."""
