"""What a run of rollouts holds: a row for each new version, and the state of its rollout over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.core.rows import Row, Samples
from workbench.questions.rollout.spec import HEALTHY
from workbench.release.canary import ComparedAnswers, RolloutState
from workbench.release.journal import Phase
from workbench.release.judge import Evidence

OLD, NEW = "old", "new"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutResult(Row):
    """How the rollout of one new version ended."""

    scenario: str
    """What is different about the new version: a key of ``SCENARIOS``."""
    phase: Phase
    """Phase in which it ended; "running": it was not decided in time."""
    reason: str
    """Why it ended; empty where it was not decided in time."""
    is_right: bool
    """Whether a healthy version was promoted, or a degraded one rolled back."""
    duration_s: float
    n_requests: int
    """Requests to both versions."""
    n_new: int
    """Requests to the new version."""
    n_new_failed: int
    last_share: float
    """Largest share of the users that had the new version before the end, from 0 to 1."""
    answers: ComparedAnswers
    evidence: Evidence
    """Evidence against the new version at the end."""
    is_verified: bool
    """Whether the right version answered the requests that were sent after the end to verify it."""

    @property
    def is_rolled_back(self) -> bool:
        """Whether this is a degraded version, and it was rolled back."""
        return self.scenario not in HEALTHY and self.phase is Phase.ROLLED_BACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """State of a rollout after a part of the traffic."""

    at_s: float
    """Time since the rollout began."""
    n_failed: int
    """Requests of this part of the traffic that failed, of both versions."""
    state: RolloutState


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Latencies of the old version alone; what is above them counts as late or slow."""

    ttft_p95_s: float
    tpot_p95_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSamples(Samples):
    """The course of each rollout."""

    courses: Mapping[str, Sequence[Look]]
    """Looks in the order of time, by scenario."""
    baseline: Baseline


ROWS = (RolloutResult,)
SAMPLES = RolloutSamples


def expected_phase(scenario: str) -> Phase:
    """Return the phase in which a rollout should end."""
    return Phase.PROMOTED if scenario in HEALTHY else Phase.ROLLED_BACK
