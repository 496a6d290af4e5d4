"""Layers measured one by one on the reference model, small: what adds up, what a plan gains, what survives a stop."""

from statistics import median

import numpy as np
import pytest

from workbench.catalog.paths import MEASURED, REFERENCE_MODEL
from workbench.compress.layer_damage import open_layer_damage
from workbench.core.errors import InvalidSpec
from workbench.core.runs import Run
from workbench.estimate.mixed_precision import solved
from workbench.estimate.rows import ProductTime
from workbench.measuring.envelope import measured
from workbench.questions.quantization.sensitivity.rows import (
    GroupDamage,
    PlanResult,
    bit_options,
    least_cost,
    time_options,
)
from workbench.questions.quantization.sensitivity.spec import SensitivitySpec
from workbench.store.runs import read_run_file

SMALL = {
    "model": str(REFERENCE_MODEL),
    "formats": ("w3a16", "w4a16", "w6a16"),
    "n_windows": 6,
    "window_tokens": 128,
    "n_samples": 8,
    "budgets_bits": (4.5,),
    "random_budget_bits": 4.5,
    "n_random": 5,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sensitivity")


@pytest.fixture(scope="module")
def run(folder):
    *_, run = measured(SensitivitySpec(**SMALL), folder)
    assert isinstance(run, Run)
    return run


def test_every_group_of_the_model_is_measured_in_every_format(run):
    layers = run.rows(GroupDamage)
    assert len(layers) == 5 * 4 * 3
    assert {r.role for r in layers} == {"qkv", "o_proj", "gate_up", "down_proj"}
    assert all(r.kl_nat_per_token.low <= r.kl_nat_per_token.value <= r.kl_nat_per_token.high for r in layers)


def test_more_bits_do_less_damage_in_every_group(run):
    by_group = {}
    for r in run.rows(GroupDamage):
        by_group.setdefault(r.group, []).append((r.stored_bits, r.kl_nat_per_token.value))
    for points in by_group.values():
        damages = [damage for _, damage in sorted(points)]
        assert damages == sorted(damages, reverse=True)


def test_single_damages_add_up_to_that_of_a_plan(run):
    plan = next(r for r in run.rows(PlanResult) if r.origin == "solved")
    # Searched on three windows, verified on three others: the full run holds 15 %.
    assert plan.predicted_kl_nat_per_token == pytest.approx(plan.verified_kl_nat_per_token.value, rel=0.4)


def test_the_solved_plan_beats_random_ones_of_the_same_bits(run):
    plans = run.rows(PlanResult)
    solved = next(r for r in plans if r.origin == "solved")
    random_kl = median(r.verified_kl_nat_per_token.value for r in plans if r.origin == "random")
    assert solved.verified_kl_nat_per_token.value < random_kl / 2
    assert solved.stored_bits <= 4.5


def test_the_gradients_rank_the_groups_as_the_damage_does(run):
    pairs = [(r.kl_nat_per_token.value, r.fisher_kl_nat_per_token) for r in run.rows(GroupDamage)]
    ranks = np.argsort(np.argsort(np.array(pairs), axis=0), axis=0)
    assert np.corrcoef(ranks.T)[0, 1] > 0.7


def test_a_second_call_measures_nothing_again(run, folder):
    before = {p.name: p.stat().st_mtime_ns for p in (folder / "parts").iterdir()}
    *_, again = measured(SensitivitySpec(**SMALL), folder)
    assert {p.name: p.stat().st_mtime_ns for p in (folder / "parts").iterdir()} == before
    assert again.results == run.results


def test_the_model_is_as_before_after_a_plan():
    damage = open_layer_damage(str(REFERENCE_MODEL), device="cpu", threads=2)
    windows = np.arange(128, dtype=np.int64)[None] + 100
    damage.remember("w", windows)
    with damage.applied({damage.groups[0].name: "w8a8", damage.groups[2].name: "fp8"}):
        assert damage.kl_nat("w")[0] > 1e-7
    assert damage.kl_nat("w")[0] == 0


def test_costs_of_a_plan_are_stored_bits_of_the_whole_model(run):
    options = bit_options(run.rows(GroupDamage))
    assert least_cost(options) == pytest.approx(3 + 16 / 128)
    assert sum(max(o.cost for o in choices) for choices in options.values()) == pytest.approx(16)


def test_a_text_that_is_too_short_is_refused_before_anything_is_measured(tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("import os\n" * 30)
    with pytest.raises(InvalidSpec, match=r"calibration text has \d+ tokens; 8 windows of 128 need 1024"):
        list(measured(SensitivitySpec(**{**SMALL, "calibration": str(short)}), tmp_path))


def test_a_plan_by_measured_time_uses_four_bits_only_where_they_are_faster():
    """The reference model's damages beside an H200's times: there 4 bits pay in the gate and up projection alone."""
    damages = read_run_file(MEASURED / "sensitivity_stdlib-9m_epyc-2-cores.json").rows(GroupDamage)
    times = read_run_file(MEASURED / "gemm_llama-3.1-8b-shape_h200.json").rows(ProductTime)
    options = time_options(damages, times, batch=1)
    plan = solved(options, budget=1.02 * least_cost(options)).plan
    assert {form for group, form in plan.items() if group.endswith("gate_up")} >= {"w4a16"}
    assert not [g for g, form in plan.items() if form == "w4a16" and not g.endswith("gate_up")]
    many = time_options(damages, times, batch=1024)
    assert "w4a16" not in solved(many, budget=1.02 * least_cost(many)).plan.values()


def test_a_batch_that_was_not_timed_is_refused_with_those_that_were():
    times = read_run_file(MEASURED / "gemm_llama-3.1-8b-shape_h200.json").rows(ProductTime)
    with pytest.raises(InvalidSpec, match="batch 3"):
        time_options([], times, batch=3)
