import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.errors import DoesNotFit
from workbench.estimate.mixed_precision import Option, _programmed, frontier, priced, random_solution, solved, uniform


def drawn_options(seed: int, n_groups: int) -> dict[str, list[Option]]:
    rng = random.Random(seed)
    made = {}
    for i in range(n_groups):
        size, scale = rng.choice([1.0, 2.0, 4.0]), rng.lognormvariate(0, 1)
        forms = (("w4", 4, 1.0), ("w8", 8, 0.02), ("bf16", 16, 0.0))
        made[f"g{i}"] = [Option(format=f, damage=scale * d, cost=bits * size) for f, bits, d in forms]
    return made


@given(st.integers(0, 10_000), st.floats(1.0, 4.0))
@settings(max_examples=30, deadline=None)
def test_no_plan_within_the_budget_does_less_damage(seed: int, room: float) -> None:
    options = drawn_options(seed, 5)
    budget = room * sum(min(o.cost for o in choices) for choices in options.values())
    best = min(
        sum(o.damage for o in choice)
        for choice in itertools.product(*options.values())
        if sum(o.cost for o in choice) <= budget * (1 + 1e-9)
    )
    found = solved(options, budget=budget)
    assert found.damage == pytest.approx(best, rel=2e-4, abs=1e-9)
    assert found.cost <= budget * (1 + 1e-6)
    assert set(found.plan) == set(options)


def test_a_larger_budget_never_does_more_damage() -> None:
    damages = [s.damage for s in frontier(drawn_options(3, 12))]
    assert damages == sorted(damages, reverse=True)
    assert damages[-1] == 0


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_every_corner_is_the_best_plan_for_its_cost(seed: int) -> None:
    options = drawn_options(seed, 6)
    corners = frontier(options)
    assert corners[0].cost == pytest.approx(sum(min(o.cost for o in choices) for choices in options.values()))
    for corner in corners:
        assert solved(options, budget=corner.cost).damage == pytest.approx(corner.damage, rel=2e-4, abs=1e-9)


@given(st.integers(0, 10_000), st.floats(1.0, 4.0))
@settings(max_examples=10, deadline=None)
def test_branching_and_programming_find_the_same_damage(seed: int, room: float) -> None:
    options = drawn_options(seed, 16)
    budget = room * sum(min(o.cost for o in choices) for choices in options.values())
    programmed = _programmed(options, budget=budget)
    found = solved(options, budget=budget)
    assert found.damage <= programmed.damage * (1 + 1e-9)
    assert found.damage == pytest.approx(programmed.damage, rel=2e-4, abs=1e-9)
    assert found.cost <= budget * (1 + 1e-6)


def test_formats_that_cost_more_and_spoil_more_are_never_chosen() -> None:
    good, bad = Option(format="good", damage=0.1, cost=4), Option(format="bad", damage=0.2, cost=5)
    assert [s.plan for s in frontier({"g": [bad, good]})] == [{"g": "good"}]


def test_a_plan_is_priced_by_its_options_and_unknown_formats_have_no_price() -> None:
    options = drawn_options(1, 3)
    everywhere = uniform(options)
    assert set(everywhere) == {"w4", "w8", "bf16"}
    assert priced(options, everywhere["w8"].plan) == everywhere["w8"]
    assert priced(options, {"g0": "w4", "g1": "w4", "g2": "w2"}) is None


def test_a_budget_below_the_cheapest_plan_is_refused_with_the_least_cost() -> None:
    with pytest.raises(DoesNotFit, match="the cheapest formats cost"):
        solved({"g": [Option(format="w4", damage=1, cost=4)]}, budget=3.9)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_random_plans_use_the_budget_and_no_more(seed: int) -> None:
    options = drawn_options(1, 20)
    budget = 1.3 * sum(min(o.cost for o in choices) for choices in options.values())
    solution = random_solution(options, budget=budget, rng=random.Random(seed))
    assert 0.85 * budget <= solution.cost <= budget
