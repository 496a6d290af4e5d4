"""Savings are planned for the reader's case."""

from dataclasses import replace

import pytest

from workbench.catalog.models import catalog_models
from workbench.estimate.device_calibration import offers
from workbench.estimate.fleet import SpotMarket
from workbench.estimate.search import Load
from workbench.questions.cost.findings.savings import Case, prompt_time_fraction, savings

(OFFER,) = offers(["h200-sxm"])
CASE = Case(
    model=catalog_models()["meta-llama/Meta-Llama-3.1-8B"],
    load=Load(requests_per_s=200, input_tokens=1024, output_tokens=128, ttft_s=1, tpot_s=0.05),
    offer=OFFER,
    hit_fraction=0.5,
    spot_usd=1.0,
    market=SpotMarket(interruptions_per_hour=1 / 24, return_s=600),
    smaller=catalog_models()["Qwen/Qwen3-0.6B"],
)


def test_every_way_of_the_faq_is_planned_for_the_case():
    base, found = savings(CASE)
    saved = {s.technique: s.saved_fraction for s in found}
    assert set(saved) == {"quantization", "dynamic batching", "caching", "spot instances", "distillation"}
    assert saved["caching"] == pytest.approx(0.5, abs=0.15)
    assert saved["dynamic batching"] > 0.5
    assert 0.3 < saved["spot instances"] < 1 - 1.0 / OFFER.usd_per_hour + 1e-9
    assert saved["distillation"] > 0
    assert all(s.claimed_low_fraction is not None for s in found)
    assert base.does_hold
    assert 0 < prompt_time_fraction(CASE, base.plan) < 1


def test_nothing_is_claimed_where_nothing_is_known():
    _, found = savings(replace(CASE, spot_usd=None, smaller=None))
    unknown = {s.technique: s for s in found if s.saved_fraction is None}
    assert unknown["spot instances"].how == "no spot price is listed"
    assert unknown["distillation"].how == "no smaller model was named"
