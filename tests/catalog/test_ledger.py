"""The rules by which a value is compared with a claim."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.ledger import Evidence, Outcome, claimed_range, compared, judged, outcome_of
from workbench.catalog.tables import Claim


def claim(low, high, *, unit="ratio", metric="speedup", technique="t"):
    return Claim(question=4, technique=technique, metric=metric, low=low, high=high, unit=unit, source="s", date="2024")


@pytest.mark.parametrize(
    ("value", "interval", "outcome"),
    [
        (3.0, None, "confirmed"),
        (1.9, (1.7, 2.1), "confirmed"),  # the interval reaches into the claimed range
        (1.9, (1.8, 1.95), "less than claimed"),
        (5.0, (4.5, 5.5), "more than claimed"),
        (1.2, (0.9, 1.5), "no gain"),
        (1.02, (1.01, 1.03), "no gain"),
        (0.5, (0.4, 0.6), "opposite"),
    ],
)
def test_a_gain_of_two_to_four(value, interval, outcome):
    assert outcome_of(claim(2, 4), value, interval) == outcome


@pytest.mark.parametrize(
    ("value", "outcome"),
    [(70, "confirmed"), (30, "less than claimed"), (90, "more than claimed"), (1, "no gain"), (-8, "opposite")],
)
def test_a_single_number_is_taken_with_a_tenth(value, outcome):
    assert outcome_of(claim(75, 75, unit="percent", metric="memory_saving"), value) == outcome


def test_a_shorter_time_is_more_than_claimed_and_a_longer_one_less():
    seconds = claim(60, 180, unit="seconds", metric="response_time")
    assert outcome_of(seconds, 12) == Outcome.MORE
    assert outcome_of(seconds, 600) == Outcome.LESS
    assert outcome_of(claim(0, 0, unit="seconds", metric="response_time"), 0.4) == Outcome.CONFIRMED


@given(value=st.floats(0.01, 100), width=st.floats(0, 5), low=st.floats(1.1, 5), more=st.floats(0, 5))
def test_an_outcome_never_says_more_than_the_interval(value, width, low, more):
    asked, interval = claim(low, low + more), (value - width, value + width)
    least, most = claimed_range(asked)
    outcome = outcome_of(asked, value, interval)
    if interval[0] <= most and interval[1] >= least:
        assert outcome == Outcome.CONFIRMED
    elif interval[0] <= 1 <= interval[1]:
        assert outcome == Outcome.NO_GAIN
    else:
        assert outcome in {
            Outcome.NO_GAIN,
            Outcome.OPPOSITE if value < 1 else Outcome.LESS if value < least else Outcome.MORE,
        }


def test_a_run_that_cannot_be_compared_does_not_hide_the_other_claims():
    def broken(_claim, _evidence):
        raise KeyError("p50_s")

    asked = [claim(2, 4, technique="a"), claim(2, 4, technique="b")]
    judges = {(4, "a", "speedup"): broken, (4, "b", "speedup"): lambda c, _: compared(c, 3.0, "how", runs=())}
    first, second = judged(asked, judges, Evidence(runs=()))
    assert first.judgement.outcome == Outcome.NOT_TESTED
    assert "KeyError" in first.judgement.how
    assert second.judgement.outcome == Outcome.CONFIRMED
