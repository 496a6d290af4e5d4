"""Scores of a surge by hand, limits that follow from what was measured, and a small surge before a real engine."""

import itertools
import tomllib
from dataclasses import replace

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.errors import InvalidSpec
from workbench.gateway.config import config_of
from workbench.load.crowd import Outcome
from workbench.measuring.envelope import run
from workbench.questions.surge import measure
from workbench.questions.surge.measure import admission_flags, calls_of, queue_limits, settings
from workbench.questions.surge.measure.scores import fair_shares, over_time, scored
from workbench.questions.surge.rows import Capacity, SurgeResult, SurgeSamples
from workbench.questions.surge.spec import SurgeSpec

SPEC = SurgeSpec(model=str(REFERENCE_MODEL), calm_s=1.0, surge_s=4.0, after_s=3.0, slo_ttft_s=1.0)
CAPACITY = Capacity(
    requests_per_s=10.0, prompt_tokens_per_s=4000.0, tpot_full_s=0.02, ttft_alone_s=0.05, tpot_alone_s=0.01
)
LIMITS = queue_limits(SPEC, CAPACITY)


def test_max_min_shares_by_hand():
    """Bertsekas and Gallager: small wishes are met, the rest is shared alike."""
    assert fair_shares({"a": 2.0, "b": 2.6, "c": 4.0, "d": 5.0}, 10.0) == pytest.approx(
        {"a": 2.0, "b": 2.6, "c": 2.7, "d": 2.7}
    )


@given(st.dictionaries(st.text(min_size=1), st.floats(0.01, 100), min_size=1, max_size=8), st.floats(0.1, 100))
def test_shares_are_what_there_is_and_never_more_than_asked(demands, capacity):
    shares = fair_shares(demands, capacity)
    assert sum(shares.values()) == pytest.approx(min(capacity, sum(demands.values())))
    assert all(shares[n] <= demands[n] + 1e-9 for n in demands)


def answered(due, client="app", ttft=0.5, tpot=0.02):
    return Outcome(client=client, due_s=due, first_s=due + ttft, end_s=due + ttft + 1, status=200, tpot_s=tpot)


def refused(due, client="app"):
    return Outcome(client=client, due_s=due, end_s=due, status=503, error="HTTP 503", retry_after_s=2.0)


def test_scores_by_hand():
    seen = [answered(0.5)]
    seen += [answered(1 + i / 10, client="app") for i in range(20)]  # in time
    seen += [answered(1 + i / 10, client="batch", ttft=2.0) for i in range(10)]  # late
    seen += [refused(1 + i / 10, client="batch") for i in range(10)]
    seen += [answered(6.0, ttft=3.0), answered(7.0)]
    row = scored("all", seen, SPEC, capacity_per_s=10.0, tpot_s=0.05)
    assert row.goodput_per_s == 5.0
    assert row.goodput_fraction == 0.5
    assert row.refused_fraction == 0.25
    assert row.late_fraction == 0.25
    assert row.recovery_s == pytest.approx(1.0)
    assert row.retry_after_p50_s == 2.0
    assert row.tenants["app"].fair_share_fraction == pytest.approx(1.0)
    assert row.least_fair_share_fraction == 0.0
    assert row.jain_index == pytest.approx(0.5)


def test_slow_tokens_are_not_in_time():
    row = scored("all", [answered(2.0, tpot=0.06), answered(2.0, tpot=0.04)], SPEC, capacity_per_s=10.0, tpot_s=0.05)
    assert row.goodput_per_s == 0.25


def test_over_time_counts_by_the_second_in_which_they_were_due():
    times = over_time([answered(0.2), answered(2.5), refused(2.7)], SPEC, tpot_s=0.05)
    assert times.asked == [1, 0, 2, 0, 0, 0, 0, 0]
    assert times.good == [1, 0, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("way", ["open", "rates", "queue", "deadline", "shorter", "cache", "all"])
def test_every_way_is_a_configuration_that_the_gateway_takes(way):
    values = settings(way, SPEC, CAPACITY, LIMITS) | {"upstreams": [{"name": "e", "url": "http://localhost:1"}]}
    config = config_of(tomllib.loads(tomli_w.dumps(values)))
    assert (config.concurrency.most == SPEC.max_num_seqs) == (way not in {"open", "rates"})
    assert (config.deadline_s < 1) == (way in {"deadline", "shorter", "cache", "all"})
    assert bool(config.degradation) == (way in {"shorter", "all"})
    assert bool(config.cache_bytes) == (way in {"cache", "all"})
    assert (config.tenants[0].requests_per_s < 100) == (way == "rates")


def test_flags_of_vllm_follow_from_the_simulated_queue():
    n = SPEC.max_num_seqs + LIMITS.waiting
    assert admission_flags(SPEC, LIMITS) == {
        "--max-num-seqs": 8,
        "--max-num-queued-reqs": n,
        "--max-num-queued-tokens": n * SPEC.input_tokens,
    }
    assert 0 < LIMITS.wait_s < SPEC.slo_ttft_s
    assert LIMITS.ttft_p99_s <= SPEC.slo_ttft_s


def test_the_same_seed_asks_the_same_and_the_surge_is_as_large_as_told():
    calls = calls_of(replace(SPEC, surge_s=40.0), 10.0)
    assert calls == calls_of(replace(SPEC, surge_s=40.0), 10.0)
    inside = [c for c in calls if 1 <= c.due_s < 41]
    assert len(inside) / 40 == pytest.approx(30, rel=0.15)
    assert sum(c.client == "batch" for c in inside) / len(inside) == pytest.approx(0.8, abs=0.05)


def test_a_trace_gives_its_arrivals(tmp_path):
    file = tmp_path / "trace.csv"
    rows = [f"2023-11-16 18:{i // 60:02}:{i % 60:02}.0,100,10" for i in range(200)]
    file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(rows) + "\n")
    inside = [c.due_s for c in calls_of(replace(SPEC, trace=str(file)), 10.0) if 1 <= c.due_s < 5]
    gaps = [b - a for a, b in itertools.pairwise(inside)]
    assert len(inside) == 120
    assert max(gaps) == pytest.approx(min(gaps))


@pytest.mark.parametrize(
    "wrong",
    [{"controls": ("magic",)}, {"shares": (1.0,)}, {"calm": 1.5}, {"engine": "x"}, {"surge_s": 1.0}, {"overload": 0}],
)
def test_odd_wishes_are_refused(wrong):
    with pytest.raises(InvalidSpec):
        SurgeSpec(model="m", **wrong)


@pytest.mark.slow
def test_a_small_surge_before_a_real_engine(tmp_path, monkeypatch):
    """Shape and bookkeeping; how much controls help is measured where the machine is not shared (data/measured)."""
    spec = SurgeSpec(
        model=str(REFERENCE_MODEL),
        controls=("direct", "all"),
        overload=4.0,
        slo_ttft_s=0.2,
        calm_s=1.0,
        surge_s=3.0,
        after_s=2.0,
        input_tokens=32,
        output_tokens=16,
        patience_s=5.0,
    )
    working = tmp_path / "working"
    working.mkdir()
    monkeypatch.chdir(working)
    for name, seconds in (("WARM_UP_S", 0.5), ("ALONE_S", 0.5), ("PREFILL_S", 1.0), ("FULL_S", 2.0)):
        monkeypatch.setattr(measure, name, seconds)
    made = run(spec)
    assert list(working.iterdir()) == []
    rows = {r.controls: r for r in made.rows(SurgeResult)}
    assert set(rows) == {"direct", "all"}
    assert made.sampled(SurgeSamples).capacity.requests_per_s > 0
    assert rows["direct"].refused_fraction == 0
    assert rows["all"].refused_fraction > 0
    times = made.sampled(SurgeSamples).over_time["all"]
    assert sum(times.asked) == len(times.requests.due_s)
    assert set(times.requests.status) <= {200, 503, 0}
