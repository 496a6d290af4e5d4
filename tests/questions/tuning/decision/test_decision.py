"""Both bills follow from the prices, the page needs no network, and what cannot be decided is refused in a sentence."""

import re
from dataclasses import replace
from datetime import date
from statistics import median_low

import pytest
from typer.testing import CliRunner

from workbench.app.main import app
from workbench.catalog.api_prices import ApiPrice, api_prices
from workbench.catalog.grid import grids
from workbench.catalog.models import catalog_models
from workbench.catalog.paths import DATA
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.questions.tuning.decision.findings import HOURS_PER_MONTH, decision, verdict
from workbench.questions.tuning.decision.panel import decision_page
from workbench.questions.tuning.decision.spec import DecisionSpec

MODEL = "meta-llama/Meta-Llama-3.1-8B"


def asked(**changed):
    return DecisionSpec(**{"model": MODEL, "device": "h200-sxm", "requests_per_s": 4.0} | changed)


@pytest.fixture(scope="module")
def answer():
    return decision(asked())


def test_the_api_bills_cached_input_at_its_own_price():
    """1000 input tokens, half of them cached: 500 x 2 + 500 x 0.5; 100 output tokens x 10; USD per million."""
    price = ApiPrice(model=MODEL, provider="x", input_usd=2.0, cached_input_usd=0.5, output_usd=10.0)
    assert price.usd_per_request(1000, 100, cached_fraction=0.5) == pytest.approx((1000 + 250 + 1000) / 1e6)
    plain = replace(price, cached_input_usd=None)
    assert plain.usd_per_request(1000, 100, cached_fraction=0.5) == pytest.approx((2000 + 1000) / 1e6)


def test_the_median_of_the_listed_apis_is_billed_and_the_contrary_ones_are_said(answer):
    bills = [o.usd_per_month for o in answer.api_offers]
    assert len(bills) == len(api_prices(MODEL)) > 4
    assert bills == sorted(bills)
    assert answer.api.usd_per_month == pytest.approx(median_low(bills))
    contrary = sum(
        (b < answer.own.usd_per_month) != (answer.api.usd_per_month < answer.own.usd_per_month) for b in bills
    )
    said = verdict(answer).objection
    side = "more" if answer.api.usd_per_month < answer.own.usd_per_month else "less"
    assert (f"{contrary} of {len(bills)} APIs bill {side} than own devices" in said) == (contrary > 0)
    named = decision(asked(api_provider="Amazon Bedrock"))
    assert named.api_price.provider == "Amazon Bedrock"
    assert len(named.api_offers) == len(bills)
    given = decision(asked(api_input_usd=1.0, api_output_usd=2.0))
    assert [o.price.provider for o in given.api_offers] == ["as given"]


def test_every_listed_api_price_names_a_model_of_the_catalogue_its_source_and_its_day():
    known = [api_prices(name) for name in catalog_models()]
    rows = [row for listed in known for row in listed]
    assert len(rows) > 300
    assert sum(bool(listed) for listed in known) > 60
    assert len(rows) == len((DATA / "api_prices.csv").read_text().splitlines()) - 1
    assert len({(r.model, r.provider) for r in rows}) == len(rows)
    for row in rows:
        assert "http" in row.source
        assert date.fromisoformat(row.price_date).year >= 2026
        assert (row.cached_input_usd or 0) <= row.input_usd <= 20
        assert row.output_usd <= 60


def test_at_the_break_even_both_bills_are_the_same(answer):
    spec = asked()
    at_peak = answer.api.usd_per_month / spec.mean_fraction
    assert answer.break_even_fraction * at_peak == pytest.approx(answer.own.usd_per_month)
    assert answer.own.usd_per_month == pytest.approx(answer.plan.usd_per_hour * HOURS_PER_MONTH)


def test_a_dearer_api_never_makes_own_devices_worse():
    said = [decision(asked(api_output_usd=p, api_input_usd=p / 4)) for p in (0.1, 1.0, 10.0)]
    even = [d.break_even_fraction for d in said]
    assert even == sorted(even, reverse=True)
    assert verdict(said[0]).headline.startswith("Use the API")
    assert verdict(said[-1]).headline.startswith("Serve it yourself")


def test_co2_is_energy_times_the_countrys_grid(answer):
    assert answer.grid == grids()["DEU"]
    assert answer.kg_co2_per_month == pytest.approx(answer.kwh_per_month * answer.grid.g_co2_per_kwh / 1000)
    assert decision(asked(country="SWE")).kg_co2_per_month < answer.kg_co2_per_month


def test_every_grid_names_its_source_and_year():
    assert all(g.source and 2015 < g.year < 2100 and 10 < g.g_co2_per_kwh < 1100 for g in grids().values())


def test_the_page_needs_no_network_and_has_what_is_signed(answer):
    html = decision_page(asked(), answer)
    assert len(html) < 1_000_000
    assert not re.search(r"(?:src|href)=[\"']https?:", html)
    for text in ("What may go wrong", "CO2", "vllm serve", "USD a month", "Decision"):
        assert text in html
    assert verdict(answer).headline in html


def test_the_command_writes_the_page(tmp_path):
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["decide", MODEL, "h200-sxm", "--rate", "4", "--page", str(page)])
    assert done.exit_code == 0, done.output
    assert "Serve it ourselves" in page.read_text()


def test_what_cannot_be_decided_is_refused_in_a_sentence():
    with pytest.raises(NotAvailable, match="No plan"):
        decision(asked(ttft_s=0.001, tpot_s=0.0005))
    with pytest.raises(InvalidSpec, match="API prices"):
        asked(api_input_usd=0.0, api_output_usd=0.0)
    with pytest.raises(InvalidSpec, match="in part"):
        asked(api_input_usd=0.5)
    with pytest.raises(InvalidSpec, match="another one given"):
        asked(api_provider="Nebius", api_input_usd=0.5, api_output_usd=1.0)
    with pytest.raises(InvalidSpec, match="providers: Nobody"):
        decision(asked(api_provider="Nobody"))
    with pytest.raises(NotAvailable, match="No API's price"):
        decision(asked(model="TinyLlama/TinyLlama-1.1B-Chat-v1.0"))
    with pytest.raises(InvalidSpec, match="countries"):
        asked(country="Atlantis")
    with pytest.raises(InvalidSpec, match="cached share"):
        asked(api_cached_fraction=1.5)
