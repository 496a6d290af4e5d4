"""How ways of finding causes are scored: by hand on a few episodes."""

import pytest

from workbench.catalog.paths import MEASURED
from workbench.questions.latency.faults.findings import by_fault
from workbench.questions.latency.faults.measure.scores import macro_f1, score_of
from workbench.questions.latency.faults.rows import WORKBENCH, Episode, FaultsSamples, MethodAnswer, Score
from workbench.questions.latency.findings.naive_diagnosis import METHODS, faq_checks, n_sigma, static_thresholds
from workbench.questions.latency.findings.observation import Observation
from workbench.store.runs import read_run_file


def episode(cause, ranked, *, alarm=True, took_effect=True, abstains=None, probability=0.9, at=None):
    answer = MethodAnswer(alarm=alarm, causes=tuple(ranked), abstains=abstains, probability=probability)
    return Episode(
        fault=f"fault of {cause}",
        dose="low",
        seed=1,
        cause=cause,
        took_effect=took_effect,
        proof="",
        time_to_detect_s=at,
        answers={WORKBENCH: answer},
    )


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
    score = score_of(EPISODES, WORKBENCH)
    assert (score.n_faults, score.n_controls) == (4, 2)
    assert score.top1.value == pytest.approx(1 / 4)
    assert score.top3.value == pytest.approx(3 / 4)
    assert score.false_alarms.value == pytest.approx(1 / 2)
    assert score.abstained_fraction == pytest.approx(1 / 4)
    assert score.time_to_detect_s == 5.0
    assert score.brier == pytest.approx((0.1**2 + 3 * 0.9**2) / 4)
    assert score.top1.low < 1 / 4 < score.top1.high


def test_macro_f1_by_hand():
    # a: 1 right of 2 true and 2 named; b: 0 of 2; none: 1 right of 2 true, 3 named.
    counted = [e for e in EPISODES if e.took_effect]
    assert macro_f1(counted, WORKBENCH) == pytest.approx((2 * 1 / (2 + 2) + 0 + 2 * 1 / (2 + 3)) / 3)
    assert macro_f1([], WORKBENCH) is None


def test_doses_are_counted_apart():
    counts = {c.fault: c for c in by_fault(EPISODES)}
    a, b = counts["fault of a"], counts["fault of b"]
    assert (a.n, a.alarmed, a.named) == (2, 2, 1)
    assert (b.alarmed, b.named) == (1, 0)


def test_no_episodes_give_no_figures():
    score = score_of([], WORKBENCH)
    assert score.top1 is None
    assert score.macro_f1 is None


def seen(**values):
    return Observation(values={k.replace("__", "."): v for k, v in values.items()}, spreads={"offered_per_s": 0.5})


def test_simple_ways_say_what_they_are_known_for():
    busy = seen(host__cpu_percent=99.0, gpu0__utilisation_percent=98.0, memory_used_fraction=0.3)
    assert faq_checks(busy, busy) == ("processor taken by others", "GPU shared")  # a healthy busy server
    assert static_thresholds(busy, busy) == ("processor taken by others",)
    before, after = seen(offered_per_s=5.0, input_tokens=100.0), seen(offered_per_s=9.0, input_tokens=130.0)
    assert n_sigma(before, after) == ("surge",)
    assert n_sigma(before, before) == ()
    assert set(METHODS) == {"static thresholds", "FAQ's checks", "N-sigma"}


@pytest.mark.parametrize("name", ["llama-3.1-8b-shape_h200", "stdlib-9m_epyc-2-cores"])
def test_suites_of_the_first_format_keep_their_episodes_and_scores(name):
    run = read_run_file(MEASURED / f"faults_{name}.json")
    episodes = run.sampled(FaultsSamples).episodes
    for kept in run.rows(Score):
        again = score_of(episodes, kept.method)
        assert (again.top1.value, again.n_faults, again.n_controls) == (kept.top1.value, kept.n_faults, kept.n_controls)
        assert again.brier == pytest.approx(kept.brier)
    first = episodes[0].answer
    assert first.symptoms[0].startswith("TTFT ")
    assert first.evidence[0].score > 0.8
    assert first.probability > 0.9
