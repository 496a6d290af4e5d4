"""Techniques on the reference model: interleaved gains, honest absences, profiles that add up, and claims beside them."""

import pytest
import torch

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.compress.technique_steps import category
from workbench.core.errors import InvalidSpec
from workbench.measuring.envelope import run
from workbench.questions.utilization.techniques.findings import BoundBy, bound_by, profile_title
from workbench.questions.utilization.techniques.measure import Pair, compared
from workbench.questions.utilization.techniques.rows import (
    MemoryGain,
    NotMeasured,
    Roof,
    StepProfile,
    TechniquesSamples,
    TimeGain,
)
from workbench.questions.utilization.techniques.spec import TechniquesSpec


@pytest.mark.filterwarnings("ignore")
def test_a_model_without_keys_and_values_is_timed_with_its_own_state(tmp_path):
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(0)
    config = MambaConfig(vocab_size=4096, hidden_size=32, num_hidden_layers=2, state_size=4, pad_token_id=0)
    MambaForCausalLM(config).save_pretrained(tmp_path)
    asked = TechniquesSpec(
        model=str(tmp_path), techniques=("batching", "pool"), rounds=5, context_tokens=16, device="cpu"
    )
    result = run(asked)
    assert result.row(TimeGain).technique == "batching"
    assert "no cache of keys and values" in result.row(NotMeasured).reason


@pytest.fixture(scope="module")
def measured():
    chosen = ("batching", "overlap", "graphs", "pool", "precision")
    return run(TechniquesSpec(model=str(REFERENCE_MODEL), techniques=chosen, rounds=5, context_tokens=64, device="cpu"))


def test_what_was_measured_has_its_interval_and_what_cannot_run_its_reason(measured):
    gains = measured.rows(TimeGain)
    assert {r.technique for r in gains} == {"batching", "overlap", "precision"}
    for row in gains:
        low, high = row.gain_interval
        assert low <= row.gain <= high
        assert min(row.without_s, row.with_s) > 0
    graphs = measured.row(NotMeasured)
    assert (graphs.technique, graphs.status) == ("graphs", "not available")
    assert "NVIDIA GPU" in graphs.reason


def test_both_sides_are_timed_in_every_round_and_the_gain_is_by_unit_of_work():
    """Eight sequences in 2 s against one in 1 s, on a machine that is three times as slow in every third round."""
    order = []

    def timed(step):
        order.append(step)
        slow = 3.0 if len(order) % 6 in {5, 0} else 1.0
        return slow * {"one": 1.0, "eight": 2.0}[step]

    pair = Pair(without="one", with_it="eight", units_with=8.0, what="tokens per second")
    row = compared("batching", pair, timed, rounds=9, seed=0)
    rounds = [order[i : i + 2] for i in range(0, 18, 2)]
    assert all(set(r) == {"one", "eight"} for r in rounds)
    assert {r[0] for r in rounds} == {"one", "eight"}
    assert (row.gain, *row.gain_interval) == pytest.approx((4.0, 4.0, 4.0))
    assert (row.without_s, row.with_s) == (1.0, 0.25)
    assert row.reduction_percent == pytest.approx(75.0)


def test_blocks_leave_less_of_the_cache_empty(measured):
    row = measured.row(MemoryGain)
    assert (row.technique, row.provenance) == ("pool", "estimated")
    assert 0 < row.with_fraction < 0.1 < row.without_fraction < 1
    # Half a block of each sequence is empty on average.
    assert row.with_fraction == pytest.approx(16 / (256 + 16), abs=0.03)


def test_a_profile_adds_up(measured):
    profiles = measured.sampled(TechniquesSamples).profiles
    for profile in profiles.values():
        assert sum(profile.by_category_s.values()) == pytest.approx(profile.busy_s)
        assert profile.n_operators > 20
        assert profile.largest[0].s >= profile.largest[-1].s
    one, many = (profiles[f"a token for {n}"] for n in ("one sequence", "8 sequences"))
    assert many.flop == pytest.approx(8 * one.flop, rel=0.2)


def test_a_step_is_bound_by_what_takes_most_of_its_time():
    profile = StepProfile(wall_s=2.0, busy_s=2.0, flop=4e12, bytes=1e12, n_operators=7, by_category_s={}, largest=())
    roof = Roof(flop_per_s=1e13, bytes_per_s=1e12)
    assert bound_by(profile, roof) == BoundBy(compute=0.2, memory=0.5, neither=0.5)
    assert profile_title("a step", profile, roof) == (
        "A step: 2.00 s, 7 operators; 50 % explained by reading weights, 20 % by arithmetic"
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::scaled_dot_product_attention", "attention"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("aten::copy_", "copies and layout"),
        ("aten::silu", "other arithmetic"),
        ("nvjet_hsh_128x256_64x4", "matrix products"),
    ],
)
def test_operators_are_sorted_by_what_they_do(name, kind):
    assert category(name) == kind


def test_invalid_specs_are_refused():
    with pytest.raises(InvalidSpec, match="Unknown techniques: magic"):
        TechniquesSpec(model="m", techniques=("magic",))
    with pytest.raises(InvalidSpec, match="No techniques are chosen"):
        TechniquesSpec(model="m", techniques=())
    with pytest.raises(InvalidSpec, match="batch of 1"):
        TechniquesSpec(model="m", batch=1)
