"""Less for everybody while requests wait too long, and as much as before soon after."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.manual_clock import ManualClock

from workbench.core.errors import InvalidSpec
from workbench.gateway.degradation import Ladder, Rung, degrade_request

RUNGS = (Rung(above_wait_s=1.0, most_answer_tokens=64), Rung(above_wait_s=4.0, most_answer_tokens=16, model="small"))


def test_up_at_once_and_down_one_by_one_when_waits_stay_short():
    clock = ManualClock()
    ladder = Ladder(RUNGS, clock=clock, hold_s=5.0)
    assert ladder.rung(0.5) is None
    assert ladder.rung(4.5) is RUNGS[1]
    assert ladder.rung(0.1) is RUNGS[1]
    clock.now += 4.9
    assert ladder.rung(0.1) is RUNGS[1]
    clock.now += 0.2
    assert ladder.rung(0.1) is RUNGS[0]
    clock.now += 5.1
    assert ladder.rung(0.1) is None


def test_a_wait_between_does_not_flap():
    clock = ManualClock()
    ladder = Ladder(RUNGS, clock=clock, hold_s=5.0)
    ladder.rung(1.5)
    for _ in range(20):
        clock.now += 1.0
        assert ladder.rung(0.8) is RUNGS[0]


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 20)), max_size=60))
def test_nobody_with_a_short_wait_is_degraded_for_ever(steps):
    clock = ManualClock()
    ladder = Ladder(RUNGS, clock=clock, hold_s=5.0)
    for wait, passes in steps:
        clock.now += passes
        held = ladder.rung(wait)
        assert held is None or wait > held.above_wait_s or ladder.n
    for _ in range(30):
        clock.now += 1.0
        ladder.rung(0.0)
    assert ladder.n == 0


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ({"model": "m", "max_tokens": 100}, {"model": "m", "max_tokens": 64}),
        ({"model": "m", "max_tokens": 100, "min_tokens": 100}, {"model": "m", "max_tokens": 64, "min_tokens": 64}),
        ({"model": "m", "max_completion_tokens": 100}, {"model": "m", "max_completion_tokens": 64}),
        ({"model": "m"}, {"model": "m", "max_tokens": 64}),
    ],
)
def test_answers_become_shorter(asked, left):
    assert json.loads(degrade_request(json.dumps(asked).encode(), RUNGS[0])) == left


def test_who_asks_for_little_gets_it():
    assert degrade_request(b'{"model": "m", "max_tokens": 8}', RUNGS[0]) is None


def test_a_smaller_model_is_asked():
    assert json.loads(degrade_request(b'{"model": "m", "max_tokens": 8}', RUNGS[1]))["model"] == "small"


@pytest.mark.parametrize("rungs", [(RUNGS[1], RUNGS[0]), (RUNGS[0], RUNGS[0])])
def test_rungs_out_of_order_are_refused(rungs):
    with pytest.raises(InvalidSpec):
        Ladder(rungs, clock=ManualClock())


@pytest.mark.parametrize("wrong", [{"above_wait_s": 0.0, "model": "m"}, {"above_wait_s": 1.0}])
def test_a_rung_gives_something_up(wrong):
    with pytest.raises(InvalidSpec):
        Rung(**wrong)
