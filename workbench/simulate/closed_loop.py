"""Users that each wait for their answer before they ask again, in front of a simulated engine."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.core.traffic import Arrival
from workbench.simulate.engine import Answer, Engine, EngineLimits, Moment
from workbench.simulate.routing import Replicas
from workbench.simulate.step_cost import StepCost


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """What became of the users' requests, in the order in which they were sent."""

    arrivals: Sequence[Arrival]
    answers: Sequence[Answer]
    moments: Sequence[Moment]
    busy_fraction: float


def closed_loop(
    n_users: int,
    lengths: Sequence[tuple[int, int]],
    cost: StepCost,
    limits: EngineLimits,
    *,
    think_s: float = 0.0,
) -> ClosedLoop:
    """Simulate users of whom each sends the next request as soon as it has its answer and has thought.

    Args:
        n_users: Users, who all send at the start.
        lengths: Tokens of the prompt and of the answer of each request, taken in turn by whoever sends next.
        cost: Time of the engine's steps.
        limits: Limits of the engine.
        think_s: Time between an answer and the next request of a user.

    Raises:
        DoesNotFit: A request alone is longer than the cache.
    """
    if n_users < 1 or think_s < 0:
        raise InvalidSpec(
            gettext("{n} users who think for {seconds} s.").format(n=n_users, seconds=think_s),
            remedy=gettext("Give 1 or more users, and a time from 0 on."),
        )
    sent: list[Arrival] = []

    def send(at_s: float) -> None:
        if len(sent) < len(lengths):
            sent.append(Arrival(at_s, *lengths[len(sent)]))
            engine.add(len(sent) - 1, sent[-1])

    engine = Engine(cost, limits, ended=lambda _, at_s: send(at_s + think_s))
    for _ in range(n_users):
        send(0.0)
    engine.advance()
    return ClosedLoop(
        arrivals=sent,
        answers=[engine.answers[i] for i in range(len(sent))],
        moments=engine.moments,
        busy_fraction=engine.busy_s / engine.now_s if engine.now_s else 0.0,
    )


def users_of_replicas(
    n_users: int,
    n_replicas: int,
    lengths: Sequence[tuple[int, int]],
    cost: StepCost,
    limits: EngineLimits,
    *,
    think_s: float = 0.0,
) -> tuple[Replicas, list[Arrival]]:
    """Return what engines did that each serve their share of the users, and the requests in the order of the answers."""
    n = min(n_replicas, n_users)
    loops = [closed_loop(len(range(i, n_users, n)), lengths[i::n], cost, limits, think_s=think_s) for i in range(n)]
    done = Replicas(
        answers=[a for loop in loops for a in loop.answers],
        moments=[loop.moments for loop in loops],
        busy_fraction=sum(loop.busy_fraction for loop in loops) / n_replicas,
    )
    return done, [a for loop in loops for a in loop.arrivals]
