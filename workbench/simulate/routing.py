"""Several simulated engines behind a router."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from workbench.core.errors import InvalidSpec
from workbench.core.traffic import Arrival
from workbench.simulate.engine import Answer, Engine, EngineLimits, Moment, StepCost

Routing = Literal["in turn", "least loaded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """What several engines did with the same traffic."""

    answers: Sequence[Answer]
    """One for each arrival, in the same order."""
    moments: Sequence[Sequence[Moment]]
    """Of each engine."""
    busy_fraction: float
    """Of the time from the first arrival to the last answer, mean over the engines."""


def replicas(
    n: int, arrivals: Sequence[Arrival], cost: StepCost, limits: EngineLimits, *, routing: Routing = "in turn"
) -> Replicas:
    """Send arrivals to engines.

    Args:
        n: Engines, all alike.
        arrivals: In any order; they are sent in the order of their times.
        cost: Of their steps.
        limits: Their settings.
        routing: "in turn", or to the engine with the fewest outstanding tokens when a request comes.

    Raises ``DoesNotFit`` when a request alone is longer than a cache.
    """
    if n < 1:
        raise InvalidSpec(f"{n} replicas.", remedy="Give 1 or more.")
    if routing not in get_args(Routing):
        raise InvalidSpec(f"Routing {routing!r}.", remedy=f"Choose from: {', '.join(get_args(Routing))}.")
    engines = [Engine(cost, limits) for _ in range(n)]
    order = sorted(range(len(arrivals)), key=lambda i: arrivals[i].at_s)
    for turn, i in enumerate(order):
        chosen = engines[turn % n]
        if routing == "least loaded" and n > 1:
            for engine in engines:
                engine.advance(arrivals[i].at_s)
            # From the next in turn on, so that engines with as much to do take turns.
            chosen = min((engines[(turn + k) % n] for k in range(n)), key=lambda e: e.outstanding_tokens)
        chosen.add(i, arrivals[i])
    answers: dict[int, Answer] = {}
    for engine in engines:
        engine.advance()
        answers |= engine.answers
    ends = max((e.now_s for e in engines), default=0.0)
    span = ends - arrivals[order[0]].at_s if order else 0.0
    return Replicas(
        answers=[answers[i] for i in range(len(arrivals))],
        moments=[e.moments for e in engines],
        busy_fraction=sum(e.busy_s for e in engines) / (n * span) if span > 0 else 0.0,
    )
