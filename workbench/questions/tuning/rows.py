"""What a tuning run holds: every setting with its simulation and its trials, the loads that the simulation was fitted to, and the choice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from workbench.core.rows import Json, Row, Samples, flat
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.engines.vllm_settings import VllmSetting


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingResult(Row):
    """One setting of the search space."""

    part: ClassVar[str] = "setting"
    name: str
    """The setting in a few words."""
    setting: VllmSetting
    status: Literal["simulated", "measured", "refused", "failed", "left out"]
    """Left out: no simulation knows its flags, and the budget ended before it was measured."""
    reason: str | None = None
    """Why it was refused, or why it failed; a setting that ran out of memory counts as worse than all that were measured."""
    is_default: bool = False
    launch: str | None = None
    """Server flags."""
    simulated: Interval | None = None
    """Simulated score, higher is better, before anything but the default was measured; a nominal 80 % interval."""
    predicted: Interval | None = None
    """The same with what all measurements said."""
    measured: Interval | None = None
    """Measured score with its 95 % interval over time windows of all its loads."""
    n_loads: int = 0
    startup_s: float | None = None
    """Time of a launch until the server answered."""
    goodput_per_s: float | None = None
    """Requests per second that met the SLO, measured where there are loads, else simulated."""
    simulated_answered_per_s: float | None = None
    """Requests per second that were answered while the simulated load lasted."""
    output_tokens_per_s: float | None = None
    ttft_p50_s: float | None = None
    ttft_p90_s: float | None = None
    tpot_p50_s: float | None = None
    tpot_p90_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneTrial(Row):
    """One load on one setting."""

    part: ClassVar[str] = "trial"
    name: str
    """The setting in a few words."""
    seed: int
    """Seed of the arrivals and lengths, the same for all settings of a round."""
    purpose: Literal["search", "confirmation", "grid"]
    score: float
    """What is maximised."""
    goodput_per_s: float
    attainment_fraction: float
    n_requests: int
    n_failed: int
    at_s: float
    """Start of the load, in seconds since the start of the run."""
    seconds: float
    """Duration with the warm-up, without the launch."""
    changed_live: bool = False
    """Whether the server's limits were changed while it ran, instead of a launch with the flags."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedLoad(Row):
    """A closed loop to which the times of simulated steps were fitted."""

    part: ClassVar[str] = "fitted load"
    users: int
    input_tokens: int
    output_tokens: int
    ttft_p50_s: float
    """Measured."""
    tpot_p50_s: float
    simulated_ttft_p50_s: float
    simulated_tpot_p50_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneChoice(Row):
    """What the run recommends, and what the search has cost."""

    part: ClassVar[str] = "choice"
    name: str
    """The best setting, or the default where no other is better by more than 2 %."""
    default: str
    best_measured: str
    gain_fraction: Interval | None
    """Gain of the best setting over the default with its 95 % interval; None where the default itself is the best one."""
    is_confirmed: bool
    """Whether the gain was measured on fresh seeds, which decided nothing."""
    confirmed_score: float | None = None
    """Score of the best setting on the fresh seeds."""
    confirmed_default_score: float | None = None
    """Score of the default there."""
    n_settings: int
    n_simulated: int
    n_refused: int
    n_measured: int
    n_launches: int
    simulation_s: float
    measurement_s: float
    """Launches, probes and loads together."""
    stopped: Literal[
        "the winner is certain", "a tie within 2 %", "the budget is used", "the server cannot be restarted"
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTimes:
    """Requests of a load in the order in which they were due, rounded to 0.1 ms; None: not answered."""

    due_s: Sequence[float]
    ttft_s: Sequence[float | None]
    """From when a request was due."""
    tpot_s: Sequence[float | None]
    e2e_s: Sequence[float | None]
    output_tokens: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneSamples(Samples):
    """Requests of each load, so that any SLO can be asked about later."""

    measured: Mapping[str, Mapping[str, RequestTimes]] = field(default_factory=dict)
    """By setting and seed."""
    simulated: Mapping[str, RequestTimes] = field(default_factory=dict)
    """Evenly spaced requests of the simulation, by setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSoFar:
    """Settings that a running search has measured, in their order."""

    names: tuple[str, ...]
    scores: tuple[float, ...]


ROWS = (SettingResult, TuneTrial, FittedLoad, TuneChoice)
SAMPLES = TuneSamples


def csv_rows(run: Run) -> list[dict[str, Json]]:
    """Return a row for each setting."""
    return [flat(row) for row in run.rows(SettingResult)]
