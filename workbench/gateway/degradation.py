"""Less for everybody rather than nothing for some: shorter answers, then a smaller model, while requests wait too long."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from workbench.core.errors import InvalidSpec

Clock = Callable[[], float]
DOWN_BELOW = 0.5  # of a rung's wait, for a while, before it is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What is given up once requests would wait so long."""

    above_wait_s: float
    most_answer_tokens: int | None = None
    """An answer has at most so many tokens."""
    model: str | None = None
    """Asked instead of the one that was named: a smaller one."""

    def __post_init__(self) -> None:
        if self.above_wait_s <= 0 or (self.most_answer_tokens is not None and self.most_answer_tokens < 1):
            raise InvalidSpec(f"{self} is no rung.", remedy="Give a wait above zero and one or more tokens.")
        if self.most_answer_tokens is None and not self.model:
            raise InvalidSpec("A rung gives nothing up.", remedy="Give most_answer_tokens, model or both.")

    @property
    def told(self) -> str:
        """For the ``x-degraded`` header."""
        parts = [f"at most {self.most_answer_tokens} tokens"] if self.most_answer_tokens is not None else []
        return ", ".join([*parts, *([f"model {self.model}"] if self.model else [])])


class Ladder:
    """Which rung holds now: up at once, down one after the other when waits have been short for a while.

    Args:
        rungs: In the order of their waits.
        clock: Seconds that never go back.
        hold_s: For which waits must be below half of a rung's before it is left, so that it does not flap.
    """

    def __init__(self, rungs: Sequence[Rung], *, clock: Clock, hold_s: float = 5.0) -> None:
        if any(a.above_wait_s >= b.above_wait_s for a, b in pairwise(rungs)) or hold_s < 0:
            raise InvalidSpec("Rungs are not in the order of their waits.", remedy="Sort them by above_wait_s.")
        self._rungs, self._clock, self._hold_s = tuple(rungs), clock, hold_s
        self._n = 0
        self._calm_since: float | None = None

    @property
    def n(self) -> int:
        """Rungs that hold now; 0 when nothing is given up."""
        return self._n

    def rung(self, wait_s: float) -> Rung | None:
        """The rung for a request that would wait so long."""
        if not self._rungs:
            return None
        wanted = sum(wait_s > r.above_wait_s for r in self._rungs)
        if wanted >= self._n:
            self._n, self._calm_since = wanted, None
        elif wait_s < DOWN_BELOW * self._rungs[self._n - 1].above_wait_s:
            now = self._clock()
            self._calm_since = now if self._calm_since is None else self._calm_since
            if now - self._calm_since >= self._hold_s:
                self._n, self._calm_since = self._n - 1, now if self._n > 1 else None
        else:
            self._calm_since = None
        return self._rungs[self._n - 1] if self._n else None


def shortened(body: bytes, rung: Rung) -> bytes | None:
    """A request as the rung lets it pass; None when it asks for no more than that."""
    asked: dict[str, Any] = json.loads(body)
    changes: dict[str, Any] = {}
    if rung.most_answer_tokens is not None:
        names = [n for n in ("max_tokens", "max_completion_tokens") if asked.get(n) is not None] or ["max_tokens"]
        changes |= {n: rung.most_answer_tokens for n in names if (asked.get(n) or 1 << 60) > rung.most_answer_tokens}
        if (asked.get("min_tokens") or 0) > rung.most_answer_tokens:
            changes["min_tokens"] = rung.most_answer_tokens
    if rung.model and asked.get("model") != rung.model:
        changes["model"] = rung.model
    return json.dumps(asked | changes, ensure_ascii=False).encode() if changes else None
