"""The two loads that a diagnosis compares."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.knobs import knob, needed
from workbench.core.specs import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosisSpec(Spec):
    """A healthy load, and the load whose latency is in question."""

    command: ClassVar[str] = "diagnose"

    baseline: str = needed("Healthy load", "Id or file of a load that was measured while latency was normal.")
    current: str | None = knob(
        None,
        "Load in question",
        "Id or file of the load whose latency is to be explained; if left out, the command sends the healthy load again.",
    )
