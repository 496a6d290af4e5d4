"""A new version beside the old one: what is wrong with it, and how it is judged."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec

SCENARIOS: dict[str, str] = {
    "same": "the same model again",
    "int8": "weights rounded to 8 bits",
    "broken": "weights rounded to 3 bits",
    "errors": "the same model, and a tenth of its requests fail",
    "slow": "the same model, and every answer takes longer on its way",
}
HEALTHY = ("same", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSpec(Spec):
    """Rollouts through the gateway between two servers with real weights, healthy ones and bad ones."""

    experiment: ClassVar[str] = "rollout"

    model: str
    """Folder of the old version."""
    scenarios: tuple[str, ...] = ("same", "broken", "errors")
    steps: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    least_requests: int = 40
    """Of the new version in each step."""
    alpha: float = 0.01
    disagreement: float = 0.05
    """Share of next tokens that may differ from the old version's."""
    rate_per_s: float = 20.0
    input_tokens: int = 32
    output_tokens: int = 4
    longest_s: float = 60.0
    """Of one rollout, before it counts as undecided."""
    seed: int = 1

    def __post_init__(self) -> None:
        require_positive(self, "least_requests", "rate_per_s", "input_tokens", "output_tokens", "longest_s")
        if not self.scenarios or (unknown := set(self.scenarios) - set(SCENARIOS)):
            raise InvalidSpec(
                f"There is no scenario {', '.join(sorted(unknown)) if self.scenarios else ''}.",
                remedy=f"Choose from: {', '.join(SCENARIOS)}.",
            )
