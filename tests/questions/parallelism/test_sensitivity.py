"""What the price of a load depends on."""

from dataclasses import replace

import numpy as np

from workbench.catalog.models import catalog_models
from workbench.estimate.device_calibration import offers
from workbench.estimate.search import Load, choose_plans, curves, pareto, plans
from workbench.questions.parallelism.findings.sensitivity import sensitivities

MODEL = catalog_models()["meta-llama/Meta-Llama-3.1-8B"]
LOAD = Load(requests_per_s=40.0, input_tokens=1024, output_tokens=128, ttft_s=1.0, tpot_s=0.05)
OFFERS = offers(["h200-sxm", "l40s"])
BASE = pareto(plans(MODEL, LOAD, OFFERS))[0]


def test_more_work_and_a_tighter_slo_never_cost_less():
    found = {s.assumption: s for s in sensitivities(MODEL, LOAD, OFFERS, BASE)}
    usd = BASE.usd_per_hour
    for name in (
        "request rate",
        "prompt tokens",
        "output tokens",
        "predicted times, 80 % interval",
        f"price of {BASE.device_name}",
    ):
        assert found[name].usd_low <= usd <= found[name].usd_high
    for name in ("SLO: TTFT", "SLO: TPOT"):
        assert found[name].usd_high <= usd <= found[name].usd_low
    spreads = [s.spread(usd) for s in sensitivities(MODEL, LOAD, OFFERS, BASE)]
    assert spreads == sorted(spreads, reverse=True)
    assert found["prompt tokens"].low == "768 tokens"


def test_longer_times_are_a_shorter_slo_and_a_higher_rate():
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
    for a, b in zip(choose_plans(slower, LOAD), choose_plans(known, scaled), strict=True):
        assert (a.device_id, a.n_replicas, a.concurrency, a.usd_per_hour) == (
            b.device_id,
            b.n_replicas,
            b.concurrency,
            b.usd_per_hour,
        )


def test_an_slo_that_nothing_meets_any_more_is_a_row_of_its_own():
    fast = replace(LOAD, tpot_s=BASE.tpot_s)
    tight = replace(
        LOAD, tpot_s=float(np.min([c.tpot_s[0] for c in curves(MODEL, LOAD, OFFERS) if c.batch.size])) * 1.1
    )
    base = pareto(plans(MODEL, tight, OFFERS))[0]
    found = {s.assumption: s for s in sensitivities(MODEL, tight, OFFERS, base)}
    assert found["SLO: TPOT"].plan_low is None
    assert found["SLO: TPOT"].usd_low is None
    assert pareto(plans(MODEL, fast, OFFERS))
