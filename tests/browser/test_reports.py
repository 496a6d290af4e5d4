"""The reports as files, with no network: no request, no error, live controls, dark and narrow."""

from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.lab_page import serious_findings, shoot
from support.lab_server import context_of, page_in

from workbench.catalog.models import model_spec_from
from workbench.estimate.device_calibration import offers
from workbench.estimate.search import pareto, plans
from workbench.questions.parallelism.spec import PlanSpec
from workbench.simulate.planned import combination_label

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
ROOT = Path(__file__).parents[2]
NAMES = sorted(p.stem for p in (ROOT / "notebooks").glob("*.ipynb"))
DRAWN = "() => [...document.querySelectorAll('.wb-figure .plot')].every(p => p._fullData && p._fullData.length && p._fullData[0].x.length)"
AS_MEANT = "() => [...document.querySelectorAll('.wb-figure .plot')].every(p => p._fullData.every(t => !t._input.type || t._input.type === t.type))"

PAPER_PX = 703
"""A4 without its margins; letter is wider."""
BEYOND_PAPER = """(width) => [...document.querySelectorAll('main *')].filter(e => e.checkVisibility() && !e.closest('svg')
  && e.getBoundingClientRect().right > width + 1).map(e => `${e.tagName}.${e.className}: ${e.textContent.slice(0, 60)}`)"""
CONTROLS_ON_PAPER = "() => [...document.querySelectorAll('input, select, button, summary, .modebar')].filter(e => e.checkVisibility()).map(e => e.outerHTML)"


def open_offline(page, path):
    page.context.set_offline(True)
    page.goto(path.as_uri())
    page.wait_for_function(DRAWN, timeout=180_000)


@pytest.fixture(scope="module")
def opened(report_of, browser):
    """Opens a report once, for all tests that use its controls one after the other; gives back its page and its complaints."""
    contexts, pages = [], {}

    def open_report(name):
        if name not in pages:
            contexts.append(context_of(browser))
            pages[name] = page_in(contexts[-1])
            open_offline(pages[name][0], report_of(name))
        pages[name][1].errors.clear()
        return pages[name]

    yield open_report
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_report_needs_nothing_but_itself_and_fits_a_narrow_screen_and_paper(report_of, page_of, name):
    """Every second report is opened wide and bright, and then becomes narrow and dark; the others the other way round."""
    looks = [("light", 1100), ("dark", 420)][:: 1 if NAMES.index(name) % 2 else -1]
    page, complaints = page_of(looks[0][1], color_scheme=looks[0][0])
    open_offline(page, report_of(name))
    assert page.evaluate(AS_MEANT)  # a kind of trace that the report's plotly lacks becomes a scatter without a word
    assert page.locator('[data-title^="Share chart"],[aria-label^="Share chart"]').count() == 0
    for scheme, width in looks:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 1700})
        page.wait_for_function(f"() => innerWidth === {width} && document.documentElement.scrollWidth <= innerWidth")
        assert serious_findings(page) == []
        shoot(page, ROOT / "build" / "screenshots", f"report_{name}_{scheme}", full_page=True)
    page.set_viewport_size({"width": PAPER_PX, "height": 1700})
    page.emulate_media(media="print", color_scheme="light")
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function(DRAWN)
    assert page.evaluate(BEYOND_PAPER, PAPER_PX) == []
    assert page.evaluate(CONTROLS_ON_PAPER) == []
    assert complaints.errors == []
    assert [u for u in complaints.requests if not u.startswith(("file://", "data:", "blob:"))] == []


@pytest.mark.parametrize(("control", "value"), [("price", "7.5"), ("utilization", "10"), ("batch", "8")])
def test_every_what_if_control_changes_the_result(opened, control, value):
    page, complaints = opened("02_quantization")
    table = page.locator(".wb-whatif tbody")
    before = table.inner_text()
    page.locator(f'.wb-whatif [name="{control}"]').evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", value
    )
    expect(table).not_to_have_text(before)
    assert complaints.errors == []


def test_what_a_reader_sets_stands_in_the_address_and_opens_again(report_of, page_of):
    page, complaints = page_of(1100)
    open_offline(page, report_of("02_quantization"))
    price, table = page.locator('.wb-whatif [name="price"]'), page.locator(".wb-whatif tbody")
    price.fill("7.25")
    shown, address = table.inner_text(), page.url
    assert "#state=" in address
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_function(DRAWN, timeout=180_000)
    expect(price).to_have_value("7.25")
    expect(table).to_have_text(shown, use_inner_text=True)
    assert page.locator(".wb-code").count() == page.locator("button.wb-copy").count() > 0
    assert complaints.errors == []


@pytest.mark.parametrize(("rate", "ttft_ms", "tpot_ms"), [(10, 1000, 50), (100, 400, 21), (0.2, 5000, 120)])
def test_plans_for_another_load_are_those_that_python_finds(opened, rate, ttft_ms, tpot_ms):
    model = "meta-llama/Meta-Llama-3.1-70B"
    spec = PlanSpec(model=model, requests_per_s=rate, ttft_s=ttft_ms / 1e3, tpot_s=tpot_ms / 1e3)
    found = pareto(plans(model_spec_from(model), spec, offers(spec.devices)))
    page, complaints = opened("03_parallelism")
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


def test_an_slo_that_nothing_meets_is_said_offline(opened):
    page, _ = opened("03_parallelism")
    page.locator('.wb-load [name="ttft"]').evaluate(
        "e => { e.value = '0.2'; e.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    expect(page.locator(".wb-load tbody")).to_contain_text("No plan meets the SLO")


def test_the_policy_stops_what_would_phone_home(opened):
    page, complaints = opened("02_quantization")
    page.evaluate("() => { const i = new Image(); i.src = 'https://example.invalid/x.png'; document.body.append(i); }")
    page.wait_for_timeout(300)
    assert any("Content Security Policy" in e for e in complaints.errors)


def test_the_budget_of_a_report_moves_marker_heat_map_and_plan(opened):
    page, complaints = opened("02_quantization")
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
