"""What the steps of a simulated engine cost, and the way of a request to them."""

from dataclasses import dataclass
from typing import Protocol

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """How long a request takes from a client to the scheduler."""

    base_s: float = 0.0
    """Network, the server's front end, and the way to the engine."""
    request_s: float = 0.0
    """Time that the front end takes for each request, one after the other."""
    stream_s: float = 0.0
    """Delay by each running sequence, whose tokens the front end passes on meanwhile."""


AT_ONCE = Front()
"""No time passes on the way."""


class StepCost(Protocol):
    """Time of steps by what is in them."""

    @property
    def cached_token_s(self) -> float:
        """Time to read one token of the cache."""

    def decode_s(self, sequences: int, cached: int) -> float:
        """Return the time of a step in which every sequence gets a token, with so many tokens in the cache."""

    def mixed_s(self, sequences: int, read: int, pairs: float, cached: int) -> float:
        """Return the time of a step that also reads prompts.

        Args:
            sequences: All that get a token, those whose prompt ends in this step included.
            read: Tokens of prompts.
            pairs: Pairs of these tokens and what they attend to.
            cached: Tokens in the cache before the step.
        """

    def scaled(self, steps: float, prompts: float) -> "StepCost":
        """Return the cost with decode and prefill taking so many times as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearCost:
    """Time of a step: ``fixed_s``, then for each sequence, each token of prompts, and each token in the cache."""

    fixed_s: float
    sequence_s: float
    prompt_token_s: float
    cached_token_s: float

    def __post_init__(self) -> None:
        require_positive(self, "fixed_s")
        if min(self.sequence_s, self.prompt_token_s, self.cached_token_s) < 0:
            raise InvalidSpec(
                gettext("A part of a step's time is below zero."), remedy=gettext("Give times from 0 on.")
            )

    def decode_s(self, sequences: int, cached: int) -> float:
        """Return the time of a step of decoding alone."""
        return self.fixed_s + self.sequence_s * sequences + self.cached_token_s * cached

    def mixed_s(self, sequences: int, read: int, pairs: float, cached: int) -> float:  # noqa: ARG002 attention is in the tokens
        """Return the time of a step that also reads prompts."""
        return self.decode_s(sequences, cached) + self.prompt_token_s * read

    def scaled(self, steps: float, prompts: float) -> "LinearCost":
        """Return the cost with decode and prefill taking so many times as long."""
        factors = {"fixed_s": steps, "sequence_s": steps, "prompt_token_s": prompts, "cached_token_s": steps}
        return LinearCost(**{name: getattr(self, name) * factor for name, factor in factors.items()})
