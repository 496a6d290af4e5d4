"""Plans for a load: what binds is named, nothing is bought in vain."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.models import catalog_models
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.estimate.device_calibration import offers
from workbench.estimate.launch import launch_command, longest_request
from workbench.estimate.search import Load, n_replicas_for, pareto, plans

EIGHT, SEVENTY = (catalog_models()[f"meta-llama/Meta-Llama-3.1-{n}B"] for n in ("8", "70"))
LOAD = Load(requests_per_s=20, input_tokens=1024, output_tokens=128, ttft_s=1.0, tpot_s=0.03)
OFFERS = offers(["h200-sxm", "h100-sxm", "a100-sxm-80", "l4"])


@given(st.integers(1, 10_000), st.floats(0.01, 100))
def test_an_exact_multiple_of_a_capacity_buys_no_further_machine(n, capacity):
    assert n_replicas_for(n * capacity, capacity) == n
    assert n_replicas_for(n * capacity * 1.001, capacity) == n + 1 or n >= 1000
    assert n_replicas_for(capacity / 1000, capacity) == 1


@pytest.fixture(scope="module")
def found():
    return plans(EIGHT, LOAD, OFFERS)


def test_feasible_plans_keep_the_promises_and_come_cheapest_first(found):
    feasible = [p for p in found if p.reason is None]
    assert feasible
    for p in feasible:
        assert p.tpot_s <= LOAD.tpot_s
        assert p.ttft_s <= LOAD.ttft_s
        assert p.memory_fraction <= 1
        assert p.capacity_requests_per_s * p.n_replicas >= LOAD.requests_per_s * (1 - 1e-6)
        assert p.total_devices == p.n_devices * p.n_replicas
    costs = [p.usd_per_hour for p in feasible if p.usd_per_hour is not None]
    assert costs == sorted(costs)
    assert found.index(feasible[-1]) < len(found) - 1  # the others follow, with their reasons


def test_no_plan_of_the_frontier_is_beaten_in_both(found):
    best = pareto(found)
    assert best
    for p in best:
        assert not any(
            q.reason is None and q.usd_per_hour is not None and q.usd_per_hour < p.usd_per_hour and q.tpot_s < p.tpot_s
            for q in found
        )


def test_the_binding_constraint_is_named():
    too_large = plans(SEVENTY, LOAD, offers(["l4"]), group_sizes=(1,))
    assert all(p.reason.startswith("memory:") for p in too_large if p.precision != "w4a16" or p.reason)
    slow = plans(EIGHT, replace(LOAD, tpot_s=1e-4), offers(["h200-sxm"]))
    assert {p.reason.split(":")[0] for p in slow} == {"TPOT"}
    late = plans(EIGHT, replace(LOAD, ttft_s=1e-3), offers(["h200-sxm"]))
    assert {p.reason.split(":")[0] for p in late} == {"TTFT"}
    old = plans(EIGHT, LOAD, offers(["v100-sxm2-16"]), precisions=("fp8",))
    assert {p.reason for p in old} == {"vLLM has no kernel for FP8 weights and inputs on NVIDIA V100 SXM2 16GB"}
    odd = plans(EIGHT, LOAD, offers(["h200-sxm"]), precisions=("w3a16",))
    assert all("no kernel for INT3" in p.reason for p in odd)


def test_a_promise_that_is_less_strict_never_costs_more(found):
    def cheapest(of):
        return min(p.usd_per_hour for p in of if p.usd_per_hour is not None)

    for easier in ({"tpot_s": 0.1}, {"requests_per_s": 10}):
        assert cheapest(plans(EIGHT, replace(LOAD, **easier), OFFERS)) <= cheapest(found)


def test_tokens_cost_what_the_machines_cost(found):
    plan = next(p for p in found if p.usd_per_hour is not None)
    per_hour = LOAD.requests_per_s * LOAD.output_tokens * 3600
    assert plan.usd_per_million_output_tokens == pytest.approx(plan.usd_per_hour / per_hour * 1e6)


def test_a_plan_becomes_a_command():
    plan = next(
        p for p in plans(SEVENTY, LOAD, OFFERS) if p.reason is None and p.n_devices > 1 and p.precision == "fp8"
    )
    command = launch_command("m", plan, LOAD)
    assert f"--tensor-parallel-size {plan.n_devices}" in command
    assert "--quantization fp8" in command
    assert f"--max-model-len {longest_request(LOAD.input_tokens, LOAD.output_tokens)}" in command


def test_nonsense_is_refused():
    with pytest.raises(InvalidSpec, match="requests_per_s is 0"):
        Load(requests_per_s=0, input_tokens=1, output_tokens=1, ttft_s=1, tpot_s=1)
    with pytest.raises(NotAvailable, match="abacus"):
        offers(["abacus"])
