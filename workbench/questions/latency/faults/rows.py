"""What a fault suite leaves behind: the score of each method, and an episode for each load with every method's answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.core.rows import Row, Samples
from workbench.core.statistics import Interval
from workbench.questions.latency.rows import Evidence

WORKBENCH = "workbench"
"""The workbench's own diagnosis among the methods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(Row):
    """How well one method finds the causes of injected faults. Shares have 95 % intervals (Wilson 1927)."""

    method: str
    n_faults: int
    """Loads with a fault that took effect."""
    n_controls: int
    """Healthy loads."""
    top1: Interval | None
    """Share of the faults whose cause the method named; None without faults."""
    top3: Interval | None
    """Share of the faults with an alarm and the true cause among the first three."""
    false_alarms: Interval | None
    """Share of the healthy loads with an alarm; None without healthy loads."""
    alarmed_fraction: float | None
    """Share of the faults with an alarm."""
    abstained_fraction: float | None
    """Share of the faults for which the method named no cause although it raised an alarm."""
    macro_f1: float | None
    """Mean over causes, "none" among them, of the harmonic mean of precision and recall."""
    time_to_detect_s: float | None
    """Median time from the start of a load until the cause was named; None where that was not looked at."""
    brier: float | None
    """Brier score of the probability of the first cause; None for a method that gives no probability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodAnswer:
    """Answer of one method for one load; the simple methods give only alarm and causes."""

    alarm: bool
    causes: tuple[str, ...] = ()
    """At most five causes, the most likely first."""
    scores: tuple[float, ...] = ()
    """Score of each cause, from -1 to 1."""
    probability: float | None = None
    """Probability of the first cause."""
    abstains: str | None = None
    """Why no cause is named although there is an alarm."""
    symptoms: tuple[str, ...] = ()
    """What users notice."""
    evidence: tuple[Evidence, ...] = ()
    """Evidence for and against the first cause."""

    @property
    def named(self) -> str | None:
        """Cause that the method names; None where it names none."""
        return self.causes[0] if self.alarm and not self.abstains and self.causes else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One load of the suite, with a fault or healthy."""

    seed: int
    fault: str
    """Name of the fault, or of the healthy change."""
    dose: str
    cause: str | None
    """True cause; None for a healthy load."""
    took_effect: bool
    proof: str
    """What shows that the fault took effect, read where it was injected."""
    time_to_detect_s: float | None = None
    """Time from the start of the load until the workbench names the cause; None: it never does."""
    answers: Mapping[str, MethodAnswer]
    """Answer of each method, by its name."""

    @property
    def answer(self) -> MethodAnswer:
        """Answer that the diagnosis of the workbench gave."""
        return self.answers[WORKBENCH]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultsSamples(Samples):
    """The loads of a fault suite."""

    episodes: Sequence[Episode]
    engine_version: str | None = None
    """Version of the engine; None: that of the workbench."""


ROWS = (Score,)
SAMPLES = FaultsSamples
