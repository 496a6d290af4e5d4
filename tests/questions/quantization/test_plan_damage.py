"""Whole plans on the reference model, small: calibration helps, what is finished is kept, bad input is told."""

import pytest

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.errors import InvalidSpec
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.measuring.envelope import measured
from workbench.questions.quantization.plan_damage.findings import enough_tokens
from workbench.questions.quantization.plan_damage.rows import PlanDamage, PlanSamples
from workbench.questions.quantization.plan_damage.spec import PlanDamageSpec

ROLES = ("qkv", "o_proj", "gate_up", "down_proj")
SMALL = {
    "model": str(REFERENCE_MODEL),
    "plan": dict.fromkeys(ROLES, "w4a16"),
    "n_samples": (0, 16),
    "n_windows": 4,
    "window_tokens": 128,
    "device": "cpu",
}


def test_calibration_text_makes_four_bits_less_damaging_and_finished_parts_are_kept(tmp_path):
    spec = PlanDamageSpec(**SMALL)
    *_, run = measured(spec, tmp_path)
    assert isinstance(run, Run)
    plain, calibrated = run.rows(PlanDamage)
    assert calibrated.mean_kl_nat_per_token.value < plain.mean_kl_nat_per_token.value
    assert plain.stored_bits == pytest.approx(4.125)
    assert calibrated.calibration_tokens == 16 * 128
    assert {n: len(kl) for n, kl in run.sampled(PlanSamples).kl_nat.items()} == {0: 2, 16: 2}
    steps = [event.step for event in measured(spec, tmp_path) if not isinstance(event, Run)]
    assert steps == ["loading"]  # nothing is measured twice


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"plan": {"qkv": "w2a99"}}, "Unknown formats in the plan: w2a99"),
        ({"plan": {}}, "formats in the plan"),
        ({"n_samples": (-1,)}, "n_samples"),
        ({"n_windows": 1}, "One window"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(changes, told):
    with pytest.raises(InvalidSpec, match=told):
        PlanDamageSpec(**SMALL | changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"plan": {"model.layers.9.mlp.gate_up": "w4a16"}}, "does not know"),
        ({"n_samples": (100_000,)}, "calibration text has"),
        ({"text": "/nowhere.txt"}, "cannot be read"),
    ],
)
def test_what_only_the_model_and_the_text_can_tell_is_told(tmp_path, changes, told):
    with pytest.raises(InvalidSpec, match=told):
        list(measured(PlanDamageSpec(**SMALL | changes), tmp_path))


def test_enough_is_where_more_text_changes_little():
    def row(tokens, kl):
        interval = Interval(kl, kl, kl)
        return PlanDamage(
            calibration_windows=tokens,
            calibration_tokens=tokens,
            stored_bits=4.0,
            mean_kl_nat_per_token=interval,
            n_windows=1,
            make_s=1.0,
        )

    assert enough_tokens([row(0, 9.0), row(1, 3.0), row(2, 1.04), row(4, 1.06), row(8, 1.01), row(16, 1.0)]) == 8
    assert enough_tokens([row(0, 9.0), row(1, 3.0)]) is None  # whether more would help was not seen
