"""A plan is offered only if enough simulated requests meet its SLO, also with the longest step times of the interval."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.models import catalog_models
from workbench.estimate.device_calibration import offers
from workbench.estimate.search import Load, choose_plans, curves, pareto
from workbench.simulate.attained import attained_plans, fewest, judged_plan
from workbench.simulate.planned import PlanTraffic

MODEL = catalog_models()["meta-llama/Meta-Llama-3.1-8B"]
LOAD = Load(requests_per_s=60.0, input_tokens=1024, output_tokens=128, ttft_s=0.3, tpot_s=0.02)
OFFERS = offers(["h200-sxm", "l40s"])
KNOWN = curves(MODEL, LOAD, OFFERS, precisions=("bf16", "fp8"), group_sizes=(1, 2))


def attained(load):
    return attained_plans(MODEL, load, OFFERS, KNOWN)


@pytest.mark.parametrize("asked", [0.9, 0.99])
def test_offered_plans_hold_in_a_simulation_of_their_own(asked):
    found = attained(replace(LOAD, attainment_fraction=asked))
    by_means = pareto(choose_plans(KNOWN, LOAD))[0]
    assert found[0].plan.usd_per_hour >= by_means.usd_per_hour
    for one in found:
        share = one.attainment_fraction
        assert one.does_hold
        assert asked <= share.low <= share.value <= share.high
        offer = next(o for o in OFFERS if o.device_id == one.plan.device_id)
        traffic = PlanTraffic(MODEL, one.plan, LOAD, offer)
        again = traffic.simulated(one.plan.n_replicas, traffic.cost)
        assert again.service.attainment_fraction == share.value
        assert one.plan.usd_per_hour == pytest.approx(offer.usd_per_hour * one.plan.total_devices)
    assert [a.plan.usd_per_hour for a in found] == sorted(a.plan.usd_per_hour for a in found)


def test_a_plan_that_only_its_means_hold_up_is_no_offer():
    tpot_s = min(float(c.tpot_s[0]) for c in KNOWN if c.batch.size) * 1.02  # within the mean, not within the interval
    (nearest,) = attained(replace(LOAD, tpot_s=tpot_s))
    assert not nearest.does_hold
    assert nearest.attainment_fraction.low < LOAD.attainment_fraction
    assert attained(replace(LOAD, tpot_s=1e-5)) == []


@given(st.integers(1, 500), st.integers(1, 60), st.integers(0, 600))
def test_the_fewest_are_found(least, start, most):
    found = fewest(lambda n: n >= least, start=min(start, max(1, most)), most=most)
    if most < least:
        assert found is None
    else:
        exact = max(least, min(start, most) // 2, 1)
        assert exact <= found <= max(exact, exact * 20 / 19)


def test_a_cheaper_plan_by_its_means_is_judged_as_it_is():
    by_means = pareto(choose_plans(KNOWN, LOAD))[0]
    judged = judged_plan(MODEL, LOAD, OFFERS, by_means)
    assert judged.plan.n_replicas == by_means.n_replicas
    assert judged.does_hold == (judged.attainment_fraction.low >= LOAD.attainment_fraction)
    assert not judged_plan(MODEL, replace(LOAD, tpot_s=LOAD.tpot_s / 4), OFFERS, by_means).does_hold
