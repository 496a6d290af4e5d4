"""The long-context notebook in real JupyterLab: plan, controls, a live run at small lengths, readable refusals."""

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import TimeoutError as PageTimeout
from playwright.sync_api import expect

from workbench.jobs.directory import JobState
from workbench.jobs.manager import JobManager

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
HARMLESS = re.compile(r"favicon|net::ERR_(ABORTED|INTERNET|NAME|BLOCKED)")


def run_all(page, lab):
    page.goto(lab.notebook("05_long_context"))
    page.wait_for_selector(".jp-Notebook", timeout=60_000)
    for attempt in (1, 2, 3):  # a click right after loading can be lost
        expect(page.locator("#jp-main-statusbar")).to_contain_text("Idle", timeout=60_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        try:
            page.wait_for_selector(".wb-verdict", timeout=30_000)
        except PageTimeout:
            if attempt == 3:
                raise
        else:
            expect(page.locator("#jp-main-statusbar")).to_contain_text("Idle", timeout=60_000)
            return


def scroll_to(page, selector, *, up=False):
    """JupyterLab draws only the cells near the window, and Run All ends at the last one."""
    found = page.locator(selector)
    page.mouse.move(900, 800)
    for _ in range(80):
        if found.count() and found.first.is_visible():
            break
        page.mouse.wheel(0, -500 if up else 500)
        page.wait_for_timeout(150)
    found.first.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    return found.first


def shoot(page, name):
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(700)
    page.screenshot(path=SHOTS / f"{name}.png")


def drawn(page, selector, n):
    page.wait_for_function(
        f"() => document.querySelectorAll('{selector} .js-plotly-plot .gtitle').length === {n}", timeout=30_000
    )


def wait_for(condition, timeout_s=120):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def test_a_plan_a_kernel_and_a_heat_map_answer_their_controls(lab, page_of):
    page, complaints = page_of()
    run_all(page, lab)
    context = scroll_to(page, ".wb-context", up=True)
    drawn(page, ".wb-context", 2)
    expect(context).to_contain_text("It fits.")
    box = context.get_by_label("Context, tokens")
    box.fill("2000000")
    box.press("Enter")
    expect(context).to_contain_text("It does not fit.")
    box.fill("131072")
    box.press("Enter")
    expect(context).to_contain_text("It fits.")
    shoot(page, "long_context")

    kernels = scroll_to(page, ".wb-attention")
    drawn(page, ".wb-attention", 2)
    headline = kernels.locator(".wb-verdict .headline")
    before = headline.inner_text()
    kernels.get_by_label("Phase").select_option(label="decoding")
    expect(headline).not_to_have_text(before)
    kernels.get_by_label("Phase").select_option(label="reading a prompt")
    expect(headline).to_have_text(before)
    shoot(page, "attention")

    quality = scroll_to(page, ".wb-quality")
    drawn(page, ".wb-quality", 2)
    title = quality.locator(".js-plotly-plot .gtitle").first
    expect(title).to_contain_text("window 1024")
    shoot(page, "context_quality")
    quality.get_by_label("Shown variant").select_option(label="INT4 cache, scale per head")
    expect(title).to_contain_text("INT4 cache")
    assert [e for e in complaints.errors if not HARMLESS.search(e)] == []


def test_a_live_run_at_small_lengths_and_a_refusal(lab, page_of):
    page, complaints = page_of()
    run_all(page, lab)
    panel = scroll_to(page, ".wb-quality")
    lengths = panel.get_by_label("Lengths to measure, tokens")
    lengths.fill("16384")
    lengths.press("Enter")
    panel.get_by_role("button", name="Run", exact=True).click()
    expect(panel.locator(".wb-message.failure")).to_contain_text("16384 tokens are more than stdlib-9m was made for")
    lengths.fill("256")
    lengths.press("Enter")
    panel.get_by_role("button", name="Run", exact=True).click()
    jobs = JobManager(lab.home)
    wait_for(lambda: jobs.views("context_quality") and jobs.views("context_quality")[0].state is JobState.DONE)
    run = jobs.views("context_quality")[0].id
    expect(panel.get_by_label("Shown run").locator("option:checked")).to_contain_text(run, timeout=15_000)
    expect(panel.locator(".js-plotly-plot .gtitle").first).to_contain_text("Found with")
    shoot(page, "context_quality_live")
    assert [e for e in complaints.errors if not HARMLESS.search(e)] == []
