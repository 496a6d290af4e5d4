"""Spec of rollouts: what is wrong with the new version, and how it is compared with the old one."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import Seed, knob
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.estimate.knobs import offered_model

SCENARIOS: dict[str, str] = {
    "same": "same model",
    "int8": "weights rounded to 8 bits",
    "broken": "weights rounded to 3 bits",
    "errors": "same model, 10 % of its requests fail",
    "slow": "same model, every answer delayed by 0.25 s",
}
HEALTHY = ("same", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSpec(Spec):
    """Rollouts of healthy and degraded versions behind the gateway, between two servers with real weights."""

    kind: ClassVar[str] = "rollout"
    command: ClassVar[str] = "rollout"

    model: str = offered_model(
        "Old version", "Folder of the model that is served now; the new versions are derived from it."
    )
    scenarios: tuple[str, ...] = knob(
        ("same", "broken", "errors"),
        "New versions",
        "New versions that are rolled out, one after the other.",
        choices=SCENARIOS,
    )
    rate_per_s: float = knob(
        20.0,
        "Request rate",
        "Rate of the requests to both versions together, in requests per second.",
        unit="requests/s",
        low=0.5,
        option="rate",
    )
    least_requests: int = knob(
        40, "Requests per step", "Smallest number of requests to the new version before the next step.", low=5
    )
    disagreement: float = knob(
        0.05,
        "Tolerated disagreement",
        "Largest share of next tokens that may differ from the old version's, from 0 to 1.",
        high=0.9,
    )
    alpha: float = knob(
        0.01, "Error level alpha", "Largest probability of rolling back a healthy version.", high=0.5, is_advanced=True
    )
    steps: tuple[float, ...] = knob(
        (0.1, 0.25, 0.5, 1.0),
        "Traffic steps",
        "Rising shares of the requests on the new version; the last one must be 1.",
        is_advanced=True,
    )
    input_tokens: int = knob(32, "Prompt tokens", "Number of tokens of each prompt.", low=1, is_advanced=True)
    output_tokens: int = knob(4, "Output tokens", "Number of tokens of each answer.", low=1, is_advanced=True)
    longest_s: float = knob(
        60.0,
        "Time limit of a rollout",
        "Time after which a rollout counts as undecided, in seconds.",
        unit="s",
        low=1,
        is_advanced=True,
    )
    seed: Seed = 1

    def __post_init__(self) -> None:
        require_positive(self, "least_requests", "rate_per_s", "input_tokens", "output_tokens", "longest_s")
        remedy = gettext("Choose from: {names}.").format(names=", ".join(SCENARIOS))
        if not self.scenarios:
            raise InvalidSpec(gettext("No new version is chosen."), remedy=remedy)
        if unknown := set(self.scenarios) - set(SCENARIOS):
            raise InvalidSpec(
                gettext("Unknown new version: {names}.").format(names=", ".join(sorted(unknown))), remedy=remedy
            )
