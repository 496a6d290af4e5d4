"""Scaling rules over traffic: what must hold of every play, and what each rule is known for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.errors import InvalidSpec
from workbench.experiments.scaling import ScalingCase, compared, traffic_of
from workbench.simulate.autoscaling import (
    Covered,
    Fixed,
    Predictive,
    QueueLength,
    Relief,
    Traffic,
    Utilisation,
    pareto,
    play,
)

COMMON = {"start_s": 60.0, "promised_s": 1.0}


def steady(rate, seconds=600, work=0.1):
    return Traffic(requests=np.full(seconds, rate), work_s=np.full(seconds, rate * work))


def test_enough_replicas_keep_every_promise_and_cost_their_hours():
    played = play(steady(10.0), Fixed(n=2), first=2, **COMMON)
    assert played.slo_minutes == 0
    assert played.gpu_hours == pytest.approx(2 * 600 / 3600)
    assert played.n_changes == 0


def test_too_few_replicas_wait_longer_by_the_second():
    """Work of two replicas a second on one: after t seconds t seconds of work are left, and a request waits as long."""
    played = play(steady(20.0, seconds=100), Fixed(n=1), first=1, **COMMON)
    assert played.waits_s[50] == pytest.approx(50.5)
    assert played.late_fraction > 0.95


def test_a_surge_is_late_until_started_replicas_are_ready():
    requests = np.concatenate([np.full(300, 5.0), np.full(300, 50.0)])
    traffic = Traffic(requests=requests, work_s=requests * 0.1)
    slow = play(traffic, Utilisation(), first=1, start_s=120.0, promised_s=1.0)
    fast = play(traffic, Utilisation(), first=1, start_s=10.0, promised_s=1.0)
    assert slow.slo_minutes >= 2.0
    assert fast.slo_minutes < slow.slo_minutes


def test_a_warm_spare_serves_at_once_and_is_paid_for():
    requests = np.concatenate([np.full(300, 5.0), np.full(300, 15.0)])
    traffic = Traffic(requests=requests, work_s=requests * 0.1)
    plain = play(traffic, Covered(start_s=120.0), first=1, start_s=120.0, promised_s=1.0)
    warm = play(traffic, Covered(start_s=120.0), first=1, start_s=120.0, promised_s=1.0, warm=2)
    assert warm.slo_minutes < plain.slo_minutes
    assert warm.gpu_hours > plain.gpu_hours


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0, 50), min_size=60, max_size=300),
    st.sampled_from([QueueLength, Utilisation, lambda: Predictive(start_s=30.0), lambda: Covered(start_s=30.0)]),
    st.integers(1, 4),
)
def test_replicas_stay_within_their_bounds_whatever_comes(rates, make, first):
    requests = np.array(rates)
    played = play(
        Traffic(requests=requests, work_s=requests * 0.1),
        make(),
        first=first,
        least=1,
        most=12,
        start_s=30.0,
        promised_s=1.0,
    )
    assert played.replicas.min() >= 1
    assert played.most <= 12
    assert played.gpu_hours >= played.replicas.sum() / 3600 - 1e-9
    assert 0 <= played.late_fraction <= 1
    assert (played.waits_s >= 0).all()


def test_a_cache_and_shorter_answers_take_work_away():
    traffic = steady(12.0, work=0.1)
    bare = play(traffic, Fixed(n=1), first=1, **COMMON)
    cached = play(traffic, Fixed(n=1), first=1, relief=Relief(cached=0.3), **COMMON)
    shorter = play(traffic, Fixed(n=1), first=1, relief=Relief(shorter_above_s=0.5, shorter_to=0.5), **COMMON)
    assert bare.late_fraction > 0.9
    assert cached.late_fraction == 0
    assert shorter.late_fraction == 0
    assert 0 < shorter.shorter_fraction < 1


def test_the_best_are_those_that_no_other_beats():
    cheap, dear, worse = (play(steady(r), Fixed(n=n), first=n, **COMMON) for r, n in ((12.0, 1), (12.0, 2), (14.0, 1)))
    assert pareto({"cheap": cheap, "dear": dear, "worse": worse}) == ["cheap", "dear"]


@pytest.mark.parametrize("wrong", [{"start_s": 0.0}, {"promised_s": 0.0}, {"first": 0}, {"most": 0}, {"warm": -1}])
def test_odd_numbers_are_refused(wrong):
    with pytest.raises(InvalidSpec):
        play(steady(1.0), Fixed(n=1), **({"first": 1} | COMMON | wrong))


@pytest.mark.parametrize("trace", ["conv", "code"])
def test_the_shipped_traffic_has_the_requests_of_the_traces(trace):
    traffic = traffic_of(ScalingCase(trace=trace, times=1.0))
    assert traffic.requests.sum() == pytest.approx({"conv": 19_366, "code": 8_819}[trace])
    assert 3400 < traffic.requests.size < 3600


def test_a_trace_file_is_read_and_a_missing_one_refused(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:00.0,640,80\n2023-11-16 18:00:05.0,640,80\n"
    )
    traffic = traffic_of(ScalingCase(trace=str(file), times=2.0))
    assert traffic.requests.tolist() == [2, 0, 0, 0, 0, 2]
    assert traffic.work_s[0] == pytest.approx(2 * (640 / 64_000 + 80 / 8_000))
    with pytest.raises(InvalidSpec):
        traffic_of(ScalingCase(trace=str(tmp_path / "none.csv")))


def test_the_default_replica_answers_the_conversations_as_fast_as_measured():
    """22.4 a second at saturation on one H200: data/measured/README.md."""
    traffic = traffic_of(ScalingCase(trace="conv", times=1.0))
    assert traffic.requests.sum() / traffic.work_s.sum() == pytest.approx(22.4, rel=0.05)


def test_rules_that_are_ours_break_fewer_promises_than_the_usual_ones_on_held_out_traffic():
    """Set on "code"; "conv" is held out."""
    found = compared(ScalingCase(trace="conv", times=10.0, start_s=120.0))
    by = {name.split(" ")[0]: p for name, p in found.items() if not name.startswith(("fixed", "ours,"))}
    assert by["ours"].slo_minutes < min(by[n].slo_minutes for n in ("queue", "utilisation", "predictive"))
