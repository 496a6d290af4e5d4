"""Graceful degradation: shorter answers, then a smaller model, while requests wait too long."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from workbench.core.errors import InvalidSpec
from workbench.core.rows import Json
from workbench.gateway.request_json import written
from workbench.gateway.token_bucket import Clock

DOWN_BELOW = 0.5  # of the wait of a rung, for a while, before the rung is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """Degradation that applies while requests would wait longer than a threshold."""

    above_wait_s: float
    most_answer_tokens: int | None = None
    """Largest number of tokens of an answer; None: not limited."""
    model: str | None = None
    """Smaller model that answers instead; None: the model that was asked for."""

    def __post_init__(self) -> None:
        if self.above_wait_s <= 0 or (self.most_answer_tokens is not None and self.most_answer_tokens < 1):
            raise InvalidSpec(f"{self} is not a valid rung.", remedy="Give a wait above zero and one or more tokens.")
        if self.most_answer_tokens is None and not self.model:
            raise InvalidSpec("A rung changes nothing.", remedy="Give most_answer_tokens, model or both.")

    @property
    def label(self) -> str:
        """Text of the ``x-degraded`` header."""
        parts = [f"at most {self.most_answer_tokens} tokens"] if self.most_answer_tokens is not None else []
        return ", ".join([*parts, *([f"model {self.model}"] if self.model else [])])


class Ladder:
    """Rung that is active now: raised at once, lowered one by one after waits have been short for a while.

    Waits must stay below half of the threshold of a rung for ``hold_s`` before it is left, so that rungs do not flap.
    """

    def __init__(self, rungs: Sequence[Rung], *, clock: Clock, hold_s: float = 5.0) -> None:
        if any(a.above_wait_s >= b.above_wait_s for a, b in pairwise(rungs)) or hold_s < 0:
            raise InvalidSpec("The rungs are not in the order of their waits.", remedy="Sort them by above_wait_s.")
        self._rungs, self._clock, self._hold_s = tuple(rungs), clock, hold_s
        self._n = 0
        self._calm_since: float | None = None

    @property
    def n(self) -> int:
        """Rungs that are active now; 0 without degradation."""
        return self._n

    def rung(self, wait_s: float) -> Rung | None:
        """Return the rung for a request that would wait for ``wait_s``; None without degradation."""
        if not self._rungs:
            return None
        n_exceeded = sum(wait_s > r.above_wait_s for r in self._rungs)
        if n_exceeded >= self._n:
            self._n, self._calm_since = n_exceeded, None
        elif wait_s < DOWN_BELOW * self._rungs[self._n - 1].above_wait_s:
            now = self._clock()
            self._calm_since = now if self._calm_since is None else self._calm_since
            if now - self._calm_since >= self._hold_s:
                self._n, self._calm_since = self._n - 1, now if self._n > 1 else None
        else:
            self._calm_since = None
        return self._rungs[self._n - 1] if self._n else None


class _Lengths(msgspec.Struct):
    """Fields of a request that a rung may change."""

    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    min_tokens: int | None = None
    model: str | None = None


def degrade_request(body: bytes, rung: Rung) -> bytes | None:
    """Return the request within the limits of a rung; None when it is within them already."""
    asked, most = msgspec.json.decode(body, type=_Lengths), rung.most_answer_tokens
    changes: dict[str, Json] = {}
    if most is not None:
        limits = {
            "max_tokens": asked.max_tokens,
            "max_completion_tokens": asked.max_completion_tokens,
            "max_output_tokens": asked.max_output_tokens,
        }
        known = {name: n for name, n in limits.items() if n is not None}
        changes |= {name: most for name, n in known.items() if n > most} if known else {"max_tokens": most}
        if asked.min_tokens is not None and asked.min_tokens > most:
            changes |= {"min_tokens": most}
    if rung.model and asked.model != rung.model:
        changes |= {"model": rung.model}
    return written(json.loads(body) | changes) if changes else None
