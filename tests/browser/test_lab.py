"""The notebooks in real JupyterLab: Run All, controls, Run, reload, Cancel, dark, narrow."""

import re
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
from playwright.sync_api import expect
from support.lab_page import complaints_of, run_all, scroll_to, shoot
from support.waiting import wait_for

from workbench.jobs.directory import JobState
from workbench.jobs.manager import JobManager

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
DRAWN = "() => [...(document.querySelector('.wb-panel')?.querySelectorAll('.js-plotly-plot') ?? [])].filter(p => p._fullData && p._fullData.length && p._fullData[0].x.length).length"
SHARE = '[data-title^="Share chart"],[aria-label^="Share chart"]'


def set_theme(page, name):
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    page.get_by_text("Theme", exact=True).first.hover()
    page.get_by_text(name, exact=True).click()


def test_the_start_page_leads_with_the_questions_and_their_answers(notebook):
    page, complaints = notebook("00_start", ".wb-map a")
    first = page.locator(".jp-Notebook .wb-map, .jp-Notebook .wb-table").first
    expect(first).to_contain_text("13. What helps on a small device?")
    expect(page.locator(".wb-map a").nth(8)).to_contain_text("recall")  # the newest verdict of question 9
    expect(page.locator(".wb-map a").nth(8)).to_contain_text("2026-")
    shoot(page, SHOTS, "start")
    assert complaints_of(complaints) == []


def test_a_card_opens_a_tab_without_a_reload(notebook):
    page, complaints = notebook("00_start", ".wb-map a")
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.type), dialog.accept()))
    page.evaluate("window.wasNotReloaded = true")
    scroll_to(page, ".wb-map a", up=True).click()
    opened = "[...jupyterapp.shell.widgets('main')].find(w => w.context?.path.endsWith('01_engines.ipynb'))"
    page.wait_for_function(f"() => Boolean({opened})")
    assert page.evaluate("window.wasNotReloaded")
    page.evaluate(f"{opened}.dispose()")
    assert dialogs == []
    assert complaints_of(complaints) == []


def test_the_ledger_of_the_start_page_follows_its_control(notebook):
    page, complaints = notebook("00_start", ".wb-map a")
    scroll_to(page, "select")
    page.get_by_label("Question").select_option(label="8. What does a million tokens cost me?")
    expect(page.locator(".wb-table").last).to_contain_text("spot instances")
    shoot(page, SHOTS, "start_ledger")
    assert complaints_of(complaints) == []


def test_the_quantization_notebook_from_run_to_reload_to_cancel_to_comparison(lab, notebook):
    page, complaints = notebook("02_quantization", ".wb-verdict")
    page.wait_for_function(f"({DRAWN})() === 2", timeout=180_000)
    assert page.locator(SHARE).count() == 0
    shoot(page, SHOTS, "quantization")
    panel = scroll_to(page, ".wb-quantization", up=True)
    verdict = panel.locator(".wb-verdict .headline")
    before = verdict.inner_text()
    panel.get_by_label("Accuracy limit").select_option(label="loose: mean KL up to 0.05 nat/token")
    expect(verdict).not_to_have_text(before)

    # a short run: two methods, few windows
    keep = {"FP32", "BF16"}
    for button in panel.locator(".wb-methods button").all():
        if button.inner_text() not in keep and button.is_enabled():
            button.click()
    expect(panel.locator(".wb-methods button.mod-active")).to_have_count(2)
    panel.get_by_text("More settings").first.click()
    for label, value in (("Evaluation windows", "8"), ("Rounds", "1")):
        panel.get_by_label(label, exact=True).fill(value)
        panel.get_by_label(label, exact=True).press("Enter")
    page.locator(".wb-quantization").get_by_role("button", name="Run", exact=True).click()
    jobs = JobManager(lab.home)
    wait_for(lambda: jobs.views() and jobs.views()[0].state is JobState.RUNNING)
    expect(page.locator(".wb-quantization .wb-job")).to_contain_text(
        re.compile(r"window|loaded|starting"), timeout=180_000
    )
    job = jobs.views()[0].id

    # the page goes away without being saved; running the cell again finds the job
    page.goto(lab.notebook("02_quantization"))
    run_all(page, ".wb-verdict")
    scroll_to(page, ".wb-quantization", up=True)
    expect(page.locator(".wb-quantization").get_by_role("button", name="Cancel", exact=True)).to_be_enabled(
        timeout=180_000
    )
    assert jobs.view(job).state is JobState.RUNNING
    process = jobs.directory(job).process()
    family = [process, *process.children(recursive=True)]
    page.locator(".wb-quantization").get_by_role("button", name="Cancel", exact=True).click()
    wait_for(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family))
    expect(page.locator(".wb-quantization .wb-message").first).to_contain_text("Cancelled")

    # resume to the end: stored beside the run that came with the workbench, and compared with it
    page.locator(".wb-quantization").get_by_role("button", name="Resume", exact=True).click()
    wait_for(lambda: jobs.view(job).state is JobState.DONE, timeout_s=400)
    expect(page.locator(".wb .sub").first).to_contain_text(job, timeout=180_000)
    page.wait_for_function(f"({DRAWN})() === 2", timeout=180_000)
    panel.get_by_role("tab", name="Compare").click()
    panel.get_by_role("tab", name="History").click()
    expect(page.locator(".wb-quantization .wb-view")).to_contain_text("methods measured")
    shoot(page, SHOTS, "quantization_done")
    assert complaints_of(complaints) == []


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("Model", "/nowhere/model", "There is no model at /nowhere/model"),
        ("Evaluation text", "/nowhere/text.txt", "cannot be read"),
    ],
)
def test_bad_input_gives_one_readable_message(notebook, field, value, says):
    page, complaints = notebook("02_quantization", ".wb-view")
    box = scroll_to(page, ".wb-quantization", up=True).get_by_label(field, exact=True)
    before = box.input_value()
    box.fill(value)
    box.press("Enter")
    page.locator(".wb-quantization").get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".wb-quantization .wb-message.failure")).to_contain_text(says, timeout=180_000)
    expect(page.locator(".wb-quantization .wb-message.failure")).to_have_count(1)
    box.fill(before)
    box.press("Enter")
    assert complaints_of(complaints) == []


CONTRAST = """(selector) => {
  const rgba = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = ([r, g, b, a], below) => [r, g, b].map((v, i) => a * v + (1 - a) * below[i]);
  const ground = (box) => {
    if (!box) return [255, 255, 255];
    const own = rgba(getComputedStyle(box).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, ground(box.parentElement));
  };
  const light = (colour) => colour.map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; })
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const contrast = (element) => {
    const below = ground(element), [a, b] = [light(over(rgba(getComputedStyle(element).color), below)), light(below)];
    return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  };
  return Math.min(...[...document.querySelectorAll(selector)].map(contrast));
}"""
"""The least contrast of the elements: a colour that lets light through, as that of the best row, lies over what is below it."""


def test_the_panel_is_readable_in_the_dark_theme(notebook):
    page, complaints = notebook("02_quantization", ".wb-verdict")
    scroll_to(page, ".wb-quantization", up=True)
    set_theme(page, "JupyterLab Dark")
    page.wait_for_function("document.body.dataset.jpThemeLight === 'false'", timeout=180_000)
    page.wait_for_function(f"({DRAWN})() === 2", timeout=180_000)
    for text in (".wb-verdict .headline", ".wb-table td", ".wb a"):  # the theme's sheet may come after its name
        page.wait_for_function(f"selector => ({CONTRAST})(selector) > 4.5", arg=text, timeout=60_000)
    paper = page.evaluate("getComputedStyle(document.querySelector('.js-plotly-plot .main-svg')).backgroundColor")
    assert paper in {"rgba(0, 0, 0, 0)", "transparent"}
    page.wait_for_timeout(2000)  # the theme's splash fades
    assert all(
        box["height"] > 200
        for box in (p.bounding_box() for p in page.locator(".wb-quantization .js-plotly-plot").all())
    )
    shoot(page, SHOTS, "quantization_dark")
    set_theme(page, "JupyterLab Light")
    page.wait_for_function("document.body.dataset.jpThemeLight === 'true'", timeout=180_000)
    assert complaints_of(complaints) == []


def test_the_panel_fits_a_narrow_window(notebook):
    page, _ = notebook("02_quantization", ".wb-verdict")
    scroll_to(page, ".wb-quantization", up=True)
    page.keyboard.press("Control+b")  # fold the side bar away, as one would on a small screen
    page.set_viewport_size({"width": 420, "height": 1600})
    page.wait_for_timeout(1000)
    scroll_to(page, ".wb-quantization", up=True)
    page.wait_for_function("() => document.querySelector('.wb-panel').clientWidth > 0")
    overflow = page.evaluate(
        "() => { const p = document.querySelector('.wb-panel'); return p.scrollWidth - p.clientWidth; }"
    )
    assert overflow <= 4
    left, right = (page.locator(f".wb-quantization {s}").bounding_box() for s in (".wb-controls", ".wb-view"))
    assert right["y"] >= left["y"] + left["height"] - 1  # stacked, not side by side
    shoot(page, SHOTS, "quantization_narrow")
    page.set_viewport_size({"width": 1500, "height": 1700})
    page.keyboard.press("Control+b")


CORNER = """(i) => {
  const plot = document.querySelector('.wb-mixed .js-plotly-plot'), box = plot.getBoundingClientRect();
  const {xaxis, yaxis} = plot._fullLayout, corners = plot.data.find(t => t.name === 'best plans');
  return [box.left + xaxis._offset + xaxis.d2p(corners.x[i]), box.top + yaxis._offset + yaxis.d2p(corners.y[i]), corners.x[i]];
}"""
SHOWN = """() => ({
  cells: Object.fromEntries([...document.querySelectorAll('.wb-mixed [data-group]')].map(c => [c.dataset.group, c.textContent])),
  plan: JSON.parse([...document.querySelectorAll('.wb-mixed pre')].map(p => p.textContent).find(t => t.startsWith('{') && t.includes('"plan"'))).plan,
  marker: document.querySelector('.wb-mixed .js-plotly-plot').data.find(t => t.name === 'chosen plan').x[0],
})"""


def test_a_budget_is_dragged_and_a_point_clicked_and_everything_shows_that_plan(notebook):
    page, complaints = notebook("02_quantization", ".wb-verdict")
    panel = scroll_to(page, ".wb-mixed")
    headline = panel.locator(".wb-verdict .headline")
    page.wait_for_function("() => document.querySelector('.wb-mixed .js-plotly-plot')?._fullData?.length > 3")
    before = headline.inner_text()
    panel.locator(".noUi-handle").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    expect(headline).not_to_have_text(before)
    page.wait_for_timeout(1500)
    x, y, cost = page.evaluate(CORNER, 3)
    page.mouse.move(x, y)
    page.wait_for_timeout(300)
    page.mouse.click(x, y)
    # Corners lie close together: the click takes the one that is nearest on the screen.
    page.wait_for_function(f"() => Math.abs(({SHOWN})().marker - {cost}) < 0.2", timeout=180_000)
    page.wait_for_timeout(1500)  # the plot is drawn anew when the budget rests
    shown = page.evaluate(SHOWN)
    corners = page.evaluate(
        "() => document.querySelector('.wb-mixed .js-plotly-plot').data.find(t => t.name === 'best plans').x"
    )
    assert min(abs(shown["marker"] - c) for c in corners) < 1e-6
    assert shown["cells"] == {g: f.upper().removesuffix("A16") for g, f in shown["plan"].items()}
    assert len(shown["cells"]) == 20
    shoot(page, SHOTS, "mixed_precision")
    for selector, name in ((".wb-speed", "serving_speed"), (".wb-evaluation", "evaluation")):
        part = scroll_to(page, selector)
        expect(part.locator(".wb-verdict")).to_be_visible()
        page.wait_for_function(f"() => document.querySelectorAll('{selector} .js-plotly-plot .gtitle').length === 2")
        page.wait_for_timeout(500)
        shoot(page, SHOTS, name)
    assert complaints_of(complaints) == []


def test_the_engines_notebook_with_a_changed_slo_and_a_live_run(notebook):
    page, complaints = notebook("01_engines", ".wb-verdict")
    page.wait_for_function(f"({DRAWN})() === 2", timeout=180_000)
    assert page.locator(SHARE).count() == 0
    shoot(page, SHOTS, "engines")
    inside = "[...document.querySelectorAll('.wb-view .wb-scroll')].every(e => e.clientWidth <= e.closest('.wb-view').clientWidth)"
    assert page.evaluate(inside)  # a wide table can be scrolled, it is not cut off
    verdict = page.locator(".wb-verdict .headline")
    before = verdict.inner_text()
    slo = page.get_by_label("SLO: TTFT (s)")
    slo.fill("0.001")
    slo.press("Enter")
    expect(verdict).to_have_text("No engine meets this SLO at any rate that was tried.")
    assert verdict.inner_text() != before
    for name in ("vLLM", "ONNX Runtime"):
        button = page.locator(".wb-methods button", has_text=name)
        if "mod-active" in button.get_attribute("class"):
            button.click()
    page.get_by_text("More settings").first.click()
    for label, value in (("Duration of a trial", "2"), ("Request rates", "4")):
        page.get_by_label(label).fill(value)
        page.get_by_label(label).press("Enter")
    page.get_by_role("button", name="Run", exact=True).last.click()
    titles = "document.querySelectorAll('.wb-engines .js-plotly-plot .gtitle')"
    page.wait_for_function(f"() => {titles}.length === 3", timeout=240_000)  # requests as they happen
    shoot(page, SHOTS, "engines-live")
    expect(page.locator(".wb-job")).to_contain_text("done", timeout=360_000)
    expect(page.locator(".wb-view")).to_contain_text("PyTorch (transformers)")
    expect(page.locator(".wb-view")).not_to_contain_text("A run from another machine is shown.")
    assert complaints_of(complaints) == []


def test_a_link_opens_the_notebook_with_its_choices(lab, page_of):
    page, complaints = page_of()
    page.goto(lab.notebook("01_engines") + "&state=" + quote("engines?usd_per_hour=7.77&slo_ttft_s=0.123"))
    run_all(page, ".wb-verdict")
    expect(page.get_by_label("Price of the machine (USD/h)")).to_have_value("7.77")
    expect(page.locator(".wb-verdict")).to_contain_text("TTFT up to 123 ms")
    page.get_by_role("tab", name="Save and share").click()
    expect(page.get_by_role("button", name="Copy link")).to_be_visible()
    page.get_by_role("button", name="Reset", exact=True).click()
    expect(page.locator(".wb-verdict")).not_to_contain_text("TTFT up to 123 ms")
    assert complaints_of(complaints) == []
    lab.end_kernels()
