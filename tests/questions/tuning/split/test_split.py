"""A split is simulated with its transfer, never recommended without a sure gain, and refused without a link."""

from statistics import mean

import pytest

from workbench.core.errors import DoesNotFit, InvalidSpec, NotAvailable
from workbench.core.statistics import Interval
from workbench.core.traffic import Arrival
from workbench.questions.tuning.split.findings import AtBandwidth, flip, split_answer, verdict
from workbench.questions.tuning.split.spec import SplitSpec
from workbench.simulate.engine import EngineLimits
from workbench.simulate.split import Transfer, split_replicas
from workbench.simulate.step_cost import LinearCost

COST = LinearCost(fixed_s=0.01, sequence_s=0.0, prompt_token_s=1e-4, cached_token_s=0.0)
LIMITS = EngineLimits(token_budget=8192, max_sequences=64, cache_tokens=100_000, settles_ahead=False)


def transfer(bytes_per_s):
    return Transfer(bytes_per_token=1e6, bytes_per_s=bytes_per_s, latency_s=0.002)


def test_one_request_takes_prefill_transfer_and_decode():
    """1000 tokens: 0.01 s + 1000 x 1e-4 s, 1 GB at 10 GB/s and 2 ms, then five steps of 0.01 s."""
    (answer,) = split_replicas(1, 1, [Arrival(0.0, 1000, 5)], COST, LIMITS, transfer=transfer(1e10))
    assert answer.ttft_s == pytest.approx(0.11 + 0.102 + 0.01)
    assert answer.e2e_s == pytest.approx(0.11 + 0.102 + 0.05)


def test_prompts_of_one_engine_cross_its_link_one_after_the_other():
    arrivals = [Arrival(0.0, 1000, 2), Arrival(0.0, 1000, 2)]
    first, second = split_replicas(1, 1, arrivals, COST, LIMITS, transfer=transfer(1e10))
    assert second.ttft_s - first.ttft_s == pytest.approx(0.102, abs=0.011)


def test_a_faster_link_never_makes_first_tokens_later():
    arrivals = [Arrival(0.05 * i, 800 + 100 * (i % 5), 20) for i in range(40)]
    means = [
        mean(a.ttft_s for a in split_replicas(2, 2, arrivals, COST, LIMITS, transfer=transfer(b)))
        for b in (1e9, 1e10, 1e11, 1e12)
    ]
    assert means == sorted(means, reverse=True)


def answer(**asked):
    start = {
        "model": "meta-llama/Meta-Llama-3.1-8B",
        "device": "h200-sxm",
        "n_devices": 2,
        "n_requests": 40,
        "n_seeds": 3,
    }
    return split_answer(SplitSpec(**start | asked))


def test_a_split_is_recommended_only_where_the_whole_interval_is_a_gain():
    for rate in (1.0, 6.0):
        found = answer(requests_per_s=rate)
        assert not found.is_recommended or found.confirmed_gain_fraction.low > 0
        assert verdict(found).headline.startswith("Split") == found.is_recommended
        assert [r.n_prefill for r in found.ratios] == [0, 1]


def test_an_idle_server_shows_no_gain():
    found = answer(requests_per_s=0.1, tpot_s=1.0, ttft_s=60.0)
    assert not found.is_recommended
    assert found.confirmed_gain_fraction == Interval(0.0, 0.0, 0.0)
    assert found.flips_at_bytes_per_s is None


def test_the_flip_is_the_least_bandwidth_of_an_unbroken_gain():
    def at(b, low):
        return AtBandwidth(bytes_per_s=b, gain_fraction=Interval(low + 0.1, low, low + 0.2))

    assert flip([at(1.0, 0.1), at(2.0, -0.1), at(4.0, 0.1), at(8.0, 0.2)]) == 4.0
    assert flip([at(1.0, 0.1), at(2.0, 0.0)]) is None


def test_what_cannot_be_simulated_is_refused_in_a_sentence():
    with pytest.raises(NotAvailable, match="--link-bandwidth"):
        answer(device="l4")
    with pytest.raises(DoesNotFit, match="needs"):
        answer(model="meta-llama/Meta-Llama-3.1-70B", device="a100-sxm-40", link_bytes_per_s=1e11)
    with pytest.raises(InvalidSpec, match="cannot be split"):
        answer(n_devices=1)
    with pytest.raises(InvalidSpec, match="no spread"):
        answer(n_seeds=2)
