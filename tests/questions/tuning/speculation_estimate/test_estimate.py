"""The estimate follows acceptance and the cost of drafts, and says which acceptance is needed."""

from itertools import pairwise

import pytest

from workbench.core.errors import InvalidSpec
from workbench.estimate.prediction import tokens_per_step
from workbench.questions.tuning.speculation_estimate.findings import estimated_speculation, needed_acceptance, verdict
from workbench.questions.tuning.speculation_estimate.spec import SpeculationEstimateSpec


def answer(**asked):
    return estimated_speculation(
        SpeculationEstimateSpec(**{"model": "meta-llama/Meta-Llama-3.1-8B", "device": "h200-sxm"} | asked)
    )


def test_more_acceptance_and_cheaper_drafts_never_gain_less():
    by_acceptance = [[p.speed_up for p in answer(acceptance=a).points] for a in (0.0, 0.3, 0.6, 0.9)]
    by_cost = [[p.speed_up for p in answer(draft_fraction=f).points] for f in (0.5, 0.1, 0.0)]
    for curves in (by_acceptance, by_cost):
        assert all(a <= b for low, high in pairwise(curves) for a, b in zip(low, high, strict=True))


def test_without_acceptance_drafts_pay_at_no_batch_size():
    found = answer(acceptance=0.0)
    assert found.break_even_batch == 0
    assert {p.best_draft_tokens for p in found.points} == {0}
    assert "would not pay" in verdict(found).headline


def test_at_the_needed_acceptance_there_is_neither_gain_nor_loss():
    for p in answer().points:
        if p.needed_acceptance is not None:
            even = tokens_per_step(p.needed_acceptance, 4) * p.plain_s / (p.verify_s + p.draft_s)
            assert even == pytest.approx(1.0, abs=1e-6)


def test_needed_acceptance_of_one_draft_token_is_what_it_costs_more():
    """(1 + a) / 1.25 = 1 at a = 0.25."""
    assert needed_acceptance(1, 1 / 1.25) == pytest.approx(0.25)
    assert needed_acceptance(1, 0.4) is None


def test_a_weak_gpu_is_bound_by_memory_at_batch_one_so_drafts_are_almost_free():
    first = answer(draft_fraction=0.0).points[0]
    assert first.verify_s < 1.2 * first.plain_s
    assert first.speed_up > 2


def test_a_draft_model_is_slower_than_lookup():
    lookup, model = answer(draft_fraction=0.0), answer(draft_model="Qwen/Qwen3-0.6B")
    assert all(a.speed_up > b.speed_up for a, b in zip(lookup.points, model.points, strict=True))


def test_shares_beyond_one_are_refused():
    with pytest.raises(InvalidSpec, match="Shares"):
        SpeculationEstimateSpec(model="m", device="h200-sxm", acceptance=1.5)
