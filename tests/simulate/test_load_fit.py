"""Constants of a reader's server: what was planted in simulated loads is found again, and is used by what predicts."""

from dataclasses import replace

import pytest

from workbench.catalog.models import catalog_models
from workbench.estimate.device_calibration import machine_of
from workbench.estimate.load_constants import LoadConstants, load_constants
from workbench.estimate.prediction import Question
from workbench.simulate.closed_loop import closed_loop
from workbench.simulate.costs import front_of, step_cost
from workbench.simulate.engine import EngineLimits
from workbench.simulate.load_fit import MeasuredLoad, fitted_loads
from workbench.simulate.summary import summary
from workbench.simulate.under_load import predicted_under_load

MODEL, MACHINE = catalog_models()["meta-llama/Meta-Llama-3.1-8B"], machine_of("h200-sxm")[0]
PLANTED = LoadConstants(device_id="h200-sxm", front_s=0.045, step_ratio=1.25, prompt_ratio=1.4, sources=("planted",))


def measured(users, n_in, n_out):
    """Medians of a server whose constants are the planted ones."""
    machine = replace(MACHINE, load=PLANTED)
    cost = step_cost(MODEL, "bf16", machine, context_tokens=n_in + n_out // 2)
    limits = EngineLimits(front=front_of(machine))
    done = closed_loop(users, [(n_in, n_out)] * max(24, 8 * users), cost, limits)
    s = summary(done.answers, done.arrivals, ttft_s=1.0, tpot_s=1.0)
    return MeasuredLoad(
        users=users, input_tokens=n_in, output_tokens=n_out, ttft_p50_s=s.ttft_s.p50, tpot_p50_s=s.tpot_s.p50
    )


def test_a_planted_host_time_and_planted_factors_are_found():
    loads = [measured(1, 32, 64), measured(1, 1024, 128), measured(8, 1024, 128)]
    constants, errors = fitted_loads(MODEL, "bf16", MACHINE, loads, cache_tokens=500_000)
    assert constants.front_s == pytest.approx(PLANTED.front_s, rel=0.1)
    assert constants.step_ratio == pytest.approx(PLANTED.step_ratio, rel=0.05)
    assert constants.prompt_ratio == pytest.approx(PLANTED.prompt_ratio, rel=0.1)
    assert all(abs(e.ttft_after_fraction) < 0.05 < abs(e.ttft_before_fraction) for e in errors)
    assert all(abs(e.tpot_after_fraction) < 0.05 < abs(e.tpot_before_fraction) for e in errors)


def test_what_was_kept_is_used_for_loads(tmp_path):
    PLANTED.keep(tmp_path)
    assert load_constants("h200-sxm", tmp_path) == PLANTED
    assert load_constants("l4", tmp_path) is None
    machine, is_own = machine_of("h200-sxm", own=tmp_path)
    assert is_own
    assert machine.load == PLANTED
    question = Question(concurrency=1, arrival="steady")
    before, after = (
        predicted_under_load(MODEL, m, question, memory_bytes=150e9, is_own=True) for m in (MACHINE, machine)
    )
    assert after.ttft_s.value > before.ttft_s.value + 0.03
    assert after.tpot_s.value == pytest.approx(PLANTED.step_ratio * before.tpot_s.value, rel=0.01)
