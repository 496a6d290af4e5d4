"""Several simulated engines behind a router."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.core.traffic import Arrival
from workbench.simulate.engine import Answer, Engine, EngineLimits, Moment
from workbench.simulate.step_cost import StepCost

Routing = Literal["round robin", "least loaded", "cache aware"]
MOST_AHEAD = 1.5
"""How much more than the least loaded engine may have to do and still be chosen for what its cache holds; SGLang's router has the same
factor (--balance-rel-threshold, 1.5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """What several engines did with the same traffic."""

    answers: Sequence[Answer]
    """One for each arrival, in the same order."""
    moments: Sequence[Sequence[Moment]]
    """Moments of each engine, in the order of time."""
    busy_fraction: float
    """Share of the time from the first arrival to the last answer in which an engine worked, mean over the engines."""
    busy_s: float = 0.0
    """Time in which engines worked, over all of them."""
    hit_fraction: float | None = None
    """Share of the prompt tokens that the prefix caches had; None without hash ids."""


def replicas(
    n: int, arrivals: Sequence[Arrival], cost: StepCost, limits: EngineLimits, *, routing: Routing = "round robin"
) -> Replicas:
    """Simulate identical engines behind a router and return what they did with the arrivals, in the order of their times.

    They go round robin, or to the engine with the fewest outstanding tokens when a request comes, or to the one whose cache holds most
    of the prompt: the least loaded of these, unless all have ``MOST_AHEAD`` times as much to do as the least loaded of all.

    Raises ``DoesNotFit`` when a request alone is longer than a cache.
    """
    require_routing(n, routing)
    has_hash_ids = any(a.hash_ids for a in arrivals)
    engines = [Engine(cost, limits, has_hash_ids=has_hash_ids) for _ in range(n)]
    order = sorted(range(len(arrivals)), key=lambda i: arrivals[i].at_s)
    for turn, i in enumerate(order):
        if routing != "round robin" and n > 1:
            for engine in engines:
                engine.advance(arrivals[i].at_s)
        chosen = chosen_engine(engines, turn, arrivals[i], routing)
        chosen.add(i, arrivals[i])
    for engine in engines:
        engine.advance()
    return answered(engines, arrivals)


def require_routing(n: int, routing: Routing) -> None:
    """Raise ``InvalidSpec`` unless there are engines and a known way to choose one."""
    if n < 1:
        raise InvalidSpec(gettext("{n} replicas.").format(n=n), remedy=gettext("Give 1 or more."))
    if routing not in get_args(Routing):
        raise InvalidSpec(
            gettext("Routing {routing}.").format(routing=repr(routing)),
            remedy=gettext("Choose from: {names}.").format(names=", ".join(get_args(Routing))),
        )


def chosen_engine(engines: Sequence[Engine], turn: int, arrival: Arrival, routing: Routing) -> Engine:
    """Return the engine that a request goes to, the ``turn``-th; unless they go round robin, engines must be at its time."""
    n = len(engines)
    if routing == "round robin" or n == 1:
        return engines[turn % n]
    # From the next engine on, so that engines with as much to do take turns.
    in_turn = [engines[(turn + k) % n] for k in range(n)]
    if routing == "cache aware":
        most = MOST_AHEAD * min(e.outstanding_tokens for e in engines) + arrival.input_tokens
        in_turn = [e for e in in_turn if e.outstanding_tokens <= most]
        known = [e.known_tokens(arrival) for e in in_turn]
        in_turn = [e for e, tokens in zip(in_turn, known, strict=True) if tokens == max(known)]
    return min(in_turn, key=lambda e: e.outstanding_tokens)


def answered(engines: Sequence[Engine], arrivals: Sequence[Arrival]) -> Replicas:
    """Return what engines did that have answered all arrivals, each under its number."""
    answers: dict[int, Answer] = {}
    for engine in engines:
        answers |= engine.answers
    span = max((e.now_s for e in engines), default=0.0) - min((a.at_s for a in arrivals), default=0.0)
    prompt_tokens, busy_s = sum(e.prompt_tokens for e in engines), sum(e.busy_s for e in engines)
    return Replicas(
        answers=[answers[i] for i in range(len(arrivals))],
        moments=[e.moments for e in engines],
        busy_fraction=busy_s / (len(engines) * span) if arrivals and span > 0 else 0.0,
        busy_s=busy_s,
        hit_fraction=sum(e.hit_tokens for e in engines) / prompt_tokens if prompt_tokens else None,
    )
