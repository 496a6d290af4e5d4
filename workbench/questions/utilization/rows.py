"""Where the time and the energy of a GPU went: a loss for each cause, what remains, and joules by unit of work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.core.provenance import Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A share of the time that is lost, and what speaks for it."""

    cause: str
    fraction: float
    """Share of the whole span at the highest clock."""
    evidence: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """Losses from "all the time at the highest clock" down to what the tensor cores did, in the order of subtraction.

    Fractions add up to 1 with ``achieved_fraction``. The order matters where losses overlap: a step that waits
    for the host at a low clock counts as waiting.
    """

    gpu: str
    span_s: float
    losses: Sequence[Loss]
    achieved_fraction: float
    achieved: str
    """What remains, in words: tensor cores at work, or a kernel running where units are not sampled."""
    dram_fraction: float | None
    """Mean share of the memory bandwidth that was in use."""
    not_seen: Sequence[str]
    """What was not sampled, and why."""

    @property
    def largest(self) -> Loss:
        """The loss to look at first."""
        return max(self.losses, key=lambda loss: loss.fraction)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyUse:
    """Energy of all GPUs in a span, whole and by unit of work; None where something was not sampled or did not happen."""

    joules: float | None = None
    joules_per_output_token: float | None = None
    joules_per_request: float | None = None
    """Energy per request that was answered in the span."""
    joules_per_good_request: float | None = None
    """Energy per request that met the SLO of the load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilization:
    """What the GPUs of a recording did, as ``why-idle --json`` prints it."""

    id: str
    """Id of the run that was looked at."""
    device: str
    provenance: Provenance
    span_s: float
    gpus: Sequence[GpuUse]
    energy: EnergyUse
    problems: Mapping[str, str]
    """Why a source or a signal is missing, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSpan:
    """The part of a recording that is shown, on the monotonic clock."""

    origin_s: float
    """Where the time axis begins to count."""
    start_s: float
    end_s: float
