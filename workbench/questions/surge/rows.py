"""What a run of a surge holds: a row for each set of controls that was tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.core.rows import Row, Samples
from workbench.core.runs import Run

WITHOUT_CONTROLS = ("direct", "open")


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantResult:
    """One tenant in the surge."""

    asked_per_s: float
    fair_per_s: float
    """Max-min fair share of what the engine can answer."""
    good_per_s: float
    """Requests per second that met the SLO."""
    fair_share_fraction: float
    """Requests that met the SLO over the fair share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurgeResult(Row):
    """A surge with one set of controls; fractions are of the requests of the surge unless they say otherwise."""

    controls: str
    """Name of the set, as the spec has it."""
    goodput_per_s: float
    """Requests per second that met the SLO."""
    goodput_fraction: float
    """Goodput over the capacity of the engine."""
    offered_per_s: float
    """Request rate of the surge."""
    ttft_p50_s: float | None
    """From when a request was due, of answered requests."""
    ttft_p99_s: float | None
    refused_fraction: float | None
    """Answered with status 429 or 503."""
    late_fraction: float
    """Answered, but missed the SLO."""
    timed_out_fraction: float
    """Given up by their clients."""
    degraded_fraction: float
    """Answered with fewer tokens than were asked for."""
    retry_after_p50_s: float | None
    """Time after which refused clients were asked to try again (Retry-After)."""
    recovery_s: float
    """From the end of the surge to the last request that missed the SLO."""
    least_fair_share_fraction: float | None
    """Smallest ``fair_share_fraction`` of a tenant."""
    jain_index: float | None
    """Fairness between tenants (Jain 1984): 1 where each gets the same part of its fair share."""
    tenants: Mapping[str, TenantResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the engine can do when it is full and not more."""

    requests_per_s: float
    prompt_tokens_per_s: float
    tpot_full_s: float
    ttft_alone_s: float
    """With one request at a time."""
    ttft_full_s: float | None = None
    tpot_alone_s: float | None = None
    """With one request at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Every request, one list for each quantity; seconds since the first."""

    client: Sequence[str]
    due_s: Sequence[float]
    first_s: Sequence[float | None]
    """First token."""
    end_s: Sequence[float | None]
    status: Sequence[int]
    """HTTP status; 0 where none came."""
    error: Sequence[str | None]
    tpot_s: Sequence[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class OverTime:
    """Requests by the second in which they were due."""

    asked: Sequence[float]
    good: Sequence[float]
    """Requests that met the SLO."""
    requests: Outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Processor cores of the two sides; the same ones where the machine has one only."""

    engine: int
    gateway_and_clients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """What may wait in front of the engine, from a simulation of the surge with the measured step times."""

    waiting: int
    """Longest queue with which 99 % of the requests that are let in meet the SLO of TTFT."""
    wait_s: float
    """Time that the SLO leaves for the queue."""
    ttft_p99_s: float
    """Of requests that are let in, simulated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurgeSamples(Samples):
    """Raw samples of a surge, and what limits were derived from."""

    capacity: Capacity
    slo_tpot_s: float
    """SLO of TPOT that requests were judged by."""
    over_time: Mapping[str, OverTime]
    """By set of controls."""
    flags: Mapping[str, int]
    """Server flags that give vLLM the same limits."""
    engine_version: str | None
    cores: Cores
    limits: QueueLimits | None = None
    """None in older runs, whose limits are shares of the SLO."""


ROWS = (SurgeResult,)
SAMPLES = SurgeSamples


def without_controls(run: Run) -> SurgeResult | None:
    """Return the row without any control, the one without a gateway first; None where neither was tried."""
    rows = {row.controls: row for row in run.rows(SurgeResult)}
    return next((rows[name] for name in WITHOUT_CONTROLS if name in rows), None)


def gateway_controls(run: Run | None) -> list[str]:
    """Return the sets of controls that were tried through the gateway."""
    return [row.controls for row in run.rows(SurgeResult) if row.controls != "direct"] if run else []
