"""Spec of simulated rollouts: failure rates of both versions, and how often the rules are evaluated."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.checks import require_fraction
from workbench.core.knobs import knob
from workbench.core.specs import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class OddsSpec(Spec):
    """Failure rates of two versions, and how often a rollout between them is evaluated."""

    command: ClassVar[str] = "rollout-odds"

    old_rate: float = knob(
        0.01,
        "Failure rate, old version",
        "Share of the requests to the old version that fail, in percent.",
        unit="%",
        factor=100,
        high=50,
    )
    new_rate: float = knob(
        0.03,
        "Failure rate, new version",
        "Share of the requests to the new version that fail, in percent.",
        unit="%",
        factor=100,
        high=100,
    )
    per_interval: int = knob(
        1000,
        "Requests per interval",
        "Number of requests to both versions between two evaluations of the threshold rules.",
        low=20,
        high=5000,
    )
    alpha: float = knob(
        0.01,
        "Error level alpha",
        "Largest probability that the sequential test rolls back a healthy version, in percent.",
        unit="%",
        factor=100,
        high=20,
    )

    def __post_init__(self) -> None:
        require_fraction(self, "alpha")
