"""What the price of a load hangs on, and how many replicas keep promises in simulated queues."""

from dataclasses import replace

import numpy as np

from workbench.catalog.models import catalog_models
from workbench.estimate.search import Load, chosen, curves, pareto, plans
from workbench.experiments.device_calibration import offers
from workbench.experiments.plan_sensitivity import sensitivities
from workbench.experiments.plan_verdict import replicas_that_keep, simulated

MODEL = catalog_models()["meta-llama/Meta-Llama-3.1-8B"]
LOAD = Load(requests_per_s=40.0, input_tokens=1024, output_tokens=128, ttft_s=1.0, tpot_s=0.05)
OFFERS = offers(["h200-sxm", "l40s"])
BASE = pareto(plans(MODEL, LOAD, OFFERS))[0]


def test_more_work_and_tighter_promises_never_cost_less():
    found = {s.assumption: s for s in sensitivities(MODEL, LOAD, OFFERS, BASE)}
    usd = BASE.usd_per_hour
    for name in (
        "requests a second",
        "prompt",
        "answer",
        "predicted times, 80 % interval",
        f"price of {BASE.device_name}",
    ):
        assert found[name].usd_low <= usd <= found[name].usd_high
    for name in ("promise on the first token", "promise on further tokens"):
        assert found[name].usd_high <= usd <= found[name].usd_low
    spreads = [s.spread(usd) for s in sensitivities(MODEL, LOAD, OFFERS, BASE)]
    assert spreads == sorted(spreads, reverse=True)
    assert found["prompt"].low == "768 tokens"


def test_longer_times_are_shorter_promises_and_a_higher_rate():
    """The identity that the interval's ends are computed with."""
    factor = 1.2
    known = curves(MODEL, LOAD, OFFERS)
    slower = [
        replace(
            c,
            ttft_s=c.ttft_s * factor,
            tpot_s=c.tpot_s * factor,
            capacity_requests_per_s=c.capacity_requests_per_s / factor,
        )
        for c in known
    ]
    scaled = replace(
        LOAD, requests_per_s=LOAD.requests_per_s * factor, ttft_s=LOAD.ttft_s / factor, tpot_s=LOAD.tpot_s / factor
    )
    for a, b in zip(chosen(slower, LOAD), chosen(known, scaled), strict=True):
        assert (a.device_id, a.n_replicas, a.concurrency, a.usd_per_hour) == (
            b.device_id,
            b.n_replicas,
            b.concurrency,
            b.usd_per_hour,
        )


def test_a_promise_that_nothing_keeps_any_more_is_a_row_of_its_own():
    fast = replace(LOAD, tpot_s=BASE.tpot_s)
    tight = replace(
        LOAD, tpot_s=float(np.min([c.tpot_s[0] for c in curves(MODEL, LOAD, OFFERS) if c.batch.size])) * 1.1
    )
    base = pareto(plans(MODEL, tight, OFFERS))[0]
    found = {s.assumption: s for s in sensitivities(MODEL, tight, OFFERS, base)}
    assert found["promise on further tokens"].plan_low is None
    assert found["promise on further tokens"].row()["usd_low"] is None
    assert pareto(plans(MODEL, fast, OFFERS))


def test_the_fewest_replicas_that_keep_promises_in_a_queue():
    offer = OFFERS[0]
    plan = next(p for p in plans(MODEL, LOAD, [offer]) if p.reason is None)
    n = replicas_that_keep(MODEL, plan, LOAD, offer, share=0.95)
    assert simulated(MODEL, replace(plan, n_replicas=n), LOAD, offer)["kept_fraction"] >= 0.95
    assert n == 1 or simulated(MODEL, replace(plan, n_replicas=n - 1), LOAD, offer)["kept_fraction"] < 0.95
    never = replace(LOAD, tpot_s=1e-6)
    assert replicas_that_keep(MODEL, plan, never, offer, share=0.95) is None
