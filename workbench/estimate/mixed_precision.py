"""Which layer gets which format: the least predicted damage within a budget of bits, bytes or seconds."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from workbench.core.errors import DoesNotFit
from workbench.core.language import gettext

MOST_NODES = 4000  # of branch and bound, about 10 ms: what HiGHS needs for anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One format that a layer group may have."""

    format: str
    damage: float
    """Mean KL divergence, nat per token, when this group alone has the format."""
    cost: float
    """In the unit of the budget; costs of groups add up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A format for each group, with what it costs and the damage that adding up single ones predicts."""

    plan: Mapping[str, str]
    damage: float
    cost: float


def solved(options: Mapping[str, Sequence[Option]], *, budget: float) -> Solution:
    """Return the plan of least damage whose cost keeps the budget.

    Damages are taken to add up: a second-order expansion of the KL divergence without the cross terms between groups.
    A Lagrangian bound leaves few options open; branch and bound takes them within a millisecond or two, or hands over
    to mixed-integer programming (HiGHS) when it takes more.

    Raises:
        DoesNotFit: even the cheapest formats cost more.
    """
    least = sum(min(o.cost for o in choices) for choices in options.values())
    if least > budget * (1 + 1e-9):
        raise DoesNotFit(
            gettext("The budget is {budget}; the cheapest formats cost {least}.").format(
                budget=f"{budget:.6g}", least=f"{least:.6g}"
            ),
            remedy=gettext("Allow more, or offer a cheaper format."),
        )
    open_options, price = _undecided(options, budget=budget)
    return _branched(open_options, budget=budget, price=price) or _programmed(open_options, budget=budget)


def _undecided(options: Mapping[str, Sequence[Option]], *, budget: float) -> tuple[dict[str, list[Option]], float]:
    """Return the options that the best plan may use, and the price of cost that ruled out the others; nothing is lost.

    With a price for cost, no plan within the budget does less damage than the groups' cheapest priced options together
    less the price of the budget. An option that lifts this bound above the damage of a known plan is in no better plan.
    """
    hulls = {group: _hull(choices) for group, choices in options.items()}
    known = {group: hull[0] for group, hull in hulls.items()}
    cost = sum(o.cost for o in known.values())
    price = 0.0
    for saving, group, high in _steps(hulls):
        if cost + high.cost - known[group].cost > budget:
            price = saving
            break
        cost += high.cost - known[group].cost
        known[group] = high
    cheapest = {g: min(o.damage + price * o.cost for o in choices) for g, choices in options.items()}
    bound = sum(cheapest.values()) - price * budget
    scale = sum(max(o.damage for o in choices) for choices in options.values())
    slack = max(sum(o.damage for o in known.values()) - bound, 0.0) + 1e-12 * (scale + price * budget)
    kept = {
        g: [o for o in choices if o.damage + price * o.cost - cheapest[g] <= slack] for g, choices in options.items()
    }
    return kept, price


def _branched(options: Mapping[str, Sequence[Option]], *, budget: float, price: float) -> Solution | None:
    """Return the best plan by branch and bound with the priced bound; None after more than ``MOST_NODES`` nodes."""
    ladders = {g: sorted(choices, key=lambda o: o.damage + price * o.cost) for g, choices in options.items()}
    # First the groups where another option than the first costs most of the slack.
    groups = sorted(ladders, key=lambda g: _regret(ladders[g], price), reverse=True)
    ladder = [ladders[g] for g in groups]
    room = budget * (1 + 1e-9)
    # Of all groups from a place on: the least that they cost, and the least of damage and priced cost together.
    costs, bounds = [0.0], [0.0]
    for choices in reversed(ladder):
        costs.append(costs[-1] + min(o.cost for o in choices))
        bounds.append(bounds[-1] + choices[0].damage + price * choices[0].cost)
    costs.reverse()
    bounds.reverse()
    best: tuple[float, list[Option]] | None = None
    open_nodes: list[tuple[float, float, list[Option]]] = [(0.0, 0.0, [])]
    for _ in range(MOST_NODES):
        if not open_nodes:
            break
        damage, cost, chosen = open_nodes.pop()
        place = len(chosen)
        if best is not None and damage + bounds[place] - price * (room - cost) >= best[0]:
            continue
        if place == len(ladder):
            if best is None or damage < best[0]:
                best = (damage, chosen)
            continue
        # The most promising is taken first, so it goes in last.
        open_nodes += [
            (damage + o.damage, cost + o.cost, [*chosen, o])
            for o in reversed(ladder[place])
            if cost + o.cost + costs[place + 1] <= room
        ]
    if open_nodes or best is None:
        return None
    by_group = dict(zip(groups, best[1], strict=True))
    return _solution([(g, by_group[g]) for g in options])


def _regret(ladder: Sequence[Option], price: float) -> float:
    """Return how much worse, priced, the second option is than the first."""
    first, second = ladder[0], ladder[min(1, len(ladder) - 1)]
    return second.damage - first.damage + price * (second.cost - first.cost)


def _programmed(options: Mapping[str, Sequence[Option]], *, budget: float) -> Solution:
    from scipy.optimize import Bounds, LinearConstraint, milp

    flat = [(group, o) for group, choices in options.items() for o in choices]
    damage = np.array([o.damage for _, o in flat])
    cost = np.array([o.cost for _, o in flat])
    belongs = np.array([[float(group == name) for group, _ in flat] for name in options])
    result = milp(
        damage / (damage.max() or 1.0),
        constraints=[LinearConstraint(belongs, 1, 1), LinearConstraint(cost[None] / budget, 0, 1 + 1e-9)],
        integrality=np.ones(len(flat)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 1e-4},
    )
    if result.x is None:
        raise DoesNotFit(
            gettext("No plan was found for the budget {budget}.").format(budget=f"{budget:.6g}"),
            remedy=gettext("Allow a little more."),
        )
    return _solution([flat[i] for i in np.flatnonzero(result.x > 0.5)])


def _solution(chosen: Sequence[tuple[str, Option]]) -> Solution:
    return Solution(
        plan={group: o.format for group, o in chosen},
        damage=sum(o.damage for _, o in chosen),
        cost=sum(o.cost for _, o in chosen),
    )


def random_solution(
    options: Mapping[str, Sequence[Option]], *, budget: float, rng: random.Random, slack: float = 0.03
) -> Solution:
    """Return a plan that uses the budget up to ``slack`` of it and knows nothing of damage: a baseline for solvers.

    Every group draws a format; groups then move to the next cheaper or dearer one, in random order, until the budget
    is met.
    """
    ladder = {name: sorted(choices, key=lambda o: o.cost) for name, choices in options.items()}
    place = {name: rng.randrange(len(steps)) for name, steps in ladder.items()}

    def cost() -> float:
        return sum(ladder[name][i].cost for name, i in place.items())

    for _ in range(200 * len(ladder)):
        total = cost()
        if budget * (1 - slack) <= total <= budget:
            break
        name = rng.choice(list(ladder))
        step = -1 if total > budget else 1
        place[name] = min(max(place[name] + step, 0), len(ladder[name]) - 1)
    while cost() > budget:
        name = rng.choice([n for n, i in place.items() if i])
        place[name] -= 1
    return _solution([(name, ladder[name][i]) for name, i in place.items()])


def frontier(options: Mapping[str, Sequence[Option]]) -> list[Solution]:
    """Return every plan that no mixture of others beats, from the cheapest to the least damaging.

    These are the corners of the lower convex hull of damage over cost: each group takes the steps of its own hull, and
    over all groups the step that saves most damage for its cost comes first (Lagrangian relaxation; Everett 1963,
    doi 10.1287/opre.11.3.399). Plans between the corners come from ``solved``.
    """
    hulls = {group: _hull(choices) for group, choices in options.items()}
    at = {group: hulls[group][0] for group in options}
    plans = [_solution(list(at.items()))]
    for _, group, high in _steps(hulls):
        at[group] = high
        plans.append(_solution(list(at.items())))
    return plans


def _steps(hulls: Mapping[str, Sequence[Option]]) -> list[tuple[float, str, Option]]:
    """Return what each step along a group's hull saves for its cost, the group, and where it leads; the best one first."""
    steps = ((_saving(low, high), group, high) for group, hull in hulls.items() for low, high in pairwise(hull))
    return sorted(steps, key=lambda step: -step[0])


def _saving(low: Option, high: Option) -> float:
    return (low.damage - high.damage) / (high.cost - low.cost)


def _hull(choices: Sequence[Option]) -> list[Option]:
    """Return the options that a straight line between two others does not beat, from the cheapest on."""
    kept: list[Option] = []
    for option in sorted(choices, key=lambda o: (o.cost, o.damage)):
        if kept and option.damage >= kept[-1].damage:
            continue
        while len(kept) > 1 and _saving(kept[-2], kept[-1]) <= _saving(kept[-1], option):
            kept.pop()
        kept.append(option)
    return kept


def priced(options: Mapping[str, Sequence[Option]], plan: Mapping[str, str]) -> Solution | None:
    """Return cost and predicted damage of a plan; None when it uses something that is no option."""
    chosen = [(g, next((o for o in choices if o.format == plan.get(g)), None)) for g, choices in options.items()]
    known = [(g, o) for g, o in chosen if o is not None]
    return _solution(known) if len(known) == len(options) else None


def uniform(options: Mapping[str, Sequence[Option]]) -> dict[str, Solution]:
    """Return the plans that give every group the same format, by format."""
    names = dict.fromkeys(o.format for choices in options.values() for o in choices)
    plans = {name: priced(options, dict.fromkeys(options, name)) for name in names}
    return {name: solution for name, solution in plans.items() if solution is not None}
