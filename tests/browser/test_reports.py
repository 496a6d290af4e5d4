"""The reports as files, with no network: no request, no error, live controls, dark and narrow."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from workbench.catalog.models import model_spec_from
from workbench.estimate.search import pareto, plans
from workbench.experiments.device_calibration import offers
from workbench.experiments.plan_verdict import combination_label
from workbench.panels.parallelism import PlanState

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
ROOT = Path(__file__).parents[2]
NAMES = sorted(p.stem for p in (ROOT / "notebooks").glob("*.ipynb"))
DRAWN = "() => [...document.querySelectorAll('.wb-figure .plot')].every(p => p._fullData && p._fullData.length && p._fullData[0].x.length)"
AS_MEANT = "() => [...document.querySelectorAll('.wb-figure .plot')].every(p => p._fullData.every(t => !t._input.type || t._input.type === t.type))"


def open_offline(page, path):
    page.context.set_offline(True)
    page.goto(path.as_uri())
    page.wait_for_function(DRAWN, timeout=20_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_a_report_needs_nothing_but_itself(report_of, page_of, name, scheme):
    page, complaints = page_of(width=1100, color_scheme=scheme)
    open_offline(page, report_of(name))
    assert complaints.errors == []
    assert [u for u in complaints.requests if not u.startswith(("file://", "data:", "blob:"))] == []
    assert page.evaluate(AS_MEANT)  # a kind of trace that the report's plotly lacks becomes a scatter without a word
    assert page.locator('[data-title^="Share chart"],[aria-label^="Share chart"]').count() == 0
    (ROOT / "build" / "screenshots").mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ROOT / "build" / "screenshots" / f"report_{name}_{scheme}.png", full_page=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_report_fits_a_narrow_screen(report_of, page_of, name):
    page, _ = page_of(width=420)
    open_offline(page, report_of(name))
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


@pytest.mark.parametrize(("control", "value"), [("price", "7.5"), ("utilisation", "10"), ("batch", "8")])
def test_every_what_if_control_changes_the_result(report_of, page_of, control, value):
    page, complaints = page_of()
    open_offline(page, report_of("02_quantization"))
    table = page.locator(".wb-whatif tbody")
    before = table.inner_text()
    page.locator(f'.wb-whatif [name="{control}"]').evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", value
    )
    expect(table).not_to_have_text(before)
    assert complaints.errors == []


@pytest.mark.parametrize(("rate", "ttft_ms", "tpot_ms"), [(10, 1000, 50), (100, 400, 21), (0.2, 5000, 120)])
def test_plans_for_another_load_are_those_that_python_finds(report_of, page_of, rate, ttft_ms, tpot_ms):
    state = PlanState(requests_per_s=rate, ttft_ms=ttft_ms, tpot_ms=tpot_ms)
    found = pareto(plans(model_spec_from(state.model), state.load, offers(state.devices)))
    page, complaints = page_of()
    open_offline(page, report_of("03_parallelism"))
    for name, value in (("rate", rate), ("ttft", ttft_ms), ("tpot", tpot_ms)):
        page.locator(f'.wb-load [name="{name}"]').evaluate(
            "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", str(value)
        )
    cells = page.locator(".wb-load tbody tr").first.locator("th,td").all_inner_texts()
    best = found[0]
    assert cells[0] == f"{best.n_replicas} × {combination_label(best)}"
    assert float(cells[1]) == best.concurrency
    assert float(cells[3].removesuffix(" ms")) == pytest.approx(best.tpot_s * 1e3, rel=5e-3)
    assert float(cells[4].replace(",", "")) == pytest.approx(best.usd_per_hour, rel=5e-3)
    assert complaints.errors == []


def test_promises_that_nothing_keeps_are_told_offline(report_of, page_of):
    page, _ = page_of()
    open_offline(page, report_of("03_parallelism"))
    page.locator('.wb-load [name="ttft"]').evaluate(
        "e => { e.value = '0.2'; e.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    expect(page.locator(".wb-load tbody")).to_contain_text("No plan keeps both promises")


def test_the_policy_stops_what_would_phone_home(report_of, page_of):
    page, complaints = page_of()
    open_offline(page, report_of("02_quantization"))
    page.evaluate("() => { const i = new Image(); i.src = 'https://example.invalid/x.png'; document.body.append(i); }")
    page.wait_for_timeout(300)
    assert any("Content Security Policy" in e for e in complaints.errors)


def test_the_budget_of_a_report_moves_marker_heat_map_and_plan(report_of, page_of):
    page, complaints = page_of()
    open_offline(page, report_of("02_quantization"))
    slider = page.locator(".wb-plans [name=step]")
    set_to = "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }"
    state = """() => ({
      cells: [...document.querySelectorAll('[data-group]')].map(c => c.textContent).join(),
      plan: document.querySelector('.wb-plans [data-shows=plan]').textContent,
      marker: [...document.querySelectorAll('.wb-figure .plot')].flatMap(p => p.data).find(t => t.name === 'chosen plan').x[0],
    })"""
    slider.evaluate(set_to, "0")
    cheapest = page.evaluate(state)
    slider.evaluate(set_to, slider.get_attribute("max"))
    dearest = page.evaluate(state)
    assert all(cheapest[key] != dearest[key] for key in cheapest)
    assert cheapest["marker"] < dearest["marker"]
    assert complaints.errors == []
