"""How ways of finding causes are scored: by hand on a few episodes."""

import pytest

from workbench.experiments.fault_scores import OURS, by_fault, macro_f1, scores
from workbench.experiments.naive_diagnosis import METHODS, faq_checks, n_sigma, static_thresholds
from workbench.experiments.observation import Observation


def episode(cause, said, *, alarm=True, took_effect=True, abstains=None, share=0.9, at=None):
    told = {"alarm": alarm, "causes": said, "abstains": abstains, "share": share}
    return {
        "fault": f"fault of {cause}",
        "dose": "low",
        "seed": 1,
        "cause": cause,
        "took_effect": took_effect,
        "time_to_detect_s": at,
        "said": {OURS: told},
    }


EPISODES = [
    episode("a", ["a", "b", "c"], at=3.0),
    episode("a", ["b", "c", "a"]),  # among the first three
    episode("b", ["b", "a", "c"], abstains="two are as likely", at=5.0),  # not named
    episode("b", ["a", "c", "d", "b"], alarm=False),  # missed
    episode("c", ["c"], took_effect=False),  # does not count
    episode(None, ["a"], alarm=False),
    episode(None, ["a"]),  # false alarm
]


def test_accuracy_false_alarms_and_abstentions_by_hand():
    told = scores(EPISODES, OURS)
    assert (told["n_faults"], told["n_controls"]) == (4, 2)
    assert told["top1"] == pytest.approx(1 / 4)
    assert told["top3"] == pytest.approx(3 / 4)
    assert told["false_alarms"] == pytest.approx(1 / 2)
    assert told["abstained"] == pytest.approx(1 / 4)
    assert told["time_to_detect_s"] == 5.0
    assert told["brier"] == pytest.approx((0.1**2 + 3 * 0.9**2) / 4)
    low, high = told["top1_interval"]
    assert low < 1 / 4 < high


def test_macro_f1_by_hand():
    # a: 1 right of 2 true and 2 named; b: 0 of 2; none: 1 right of 2 true, 3 named.
    counted = [e for e in EPISODES if e["took_effect"]]
    assert macro_f1(counted, OURS) == pytest.approx((2 * 1 / (2 + 2) + 0 + 2 * 1 / (2 + 3)) / 3)
    assert macro_f1([], OURS) is None


def test_doses_are_counted_apart():
    rows = {r["fault"]: r for r in by_fault(EPISODES)}
    assert rows["fault of a"] | {"n": 2, "alarmed": 2, "named": 1} == rows["fault of a"]
    assert rows["fault of b"] | {"alarmed": 1, "named": 0} == rows["fault of b"]


def test_no_episodes_give_no_figures():
    told = scores([], OURS)
    assert told["top1"] is None
    assert told["top1_interval"] is None


def seen(**values):
    return Observation(values={k.replace("__", "."): v for k, v in values.items()}, spreads={"offered_per_s": 0.5})


def test_simple_ways_say_what_they_are_known_for():
    busy = seen(host__cpu_percent=99.0, gpu0__utilisation_percent=98.0, memory_used_fraction=0.3)
    assert faq_checks(busy, busy).causes == ("processor taken by others", "GPU shared")  # a healthy busy server
    assert static_thresholds(busy, busy).causes == ("processor taken by others",)
    before, after = seen(offered_per_s=5.0, input_tokens=100.0), seen(offered_per_s=9.0, input_tokens=130.0)
    assert n_sigma(before, after).causes == ("surge",)
    assert n_sigma(before, before).causes == ()
    assert set(METHODS) == {"static thresholds", "FAQ's checks", "N-sigma"}
