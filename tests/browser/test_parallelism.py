"""The planning notebook in real JupyterLab: a load and its promises answer their controls."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import TimeoutError as PageTimeout
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
HARMLESS = re.compile(r"favicon|net::ERR_(ABORTED|INTERNET|NAME|BLOCKED)")


def test_a_promise_that_nothing_keeps_names_what_binds(lab, page_of):
    page, complaints = page_of()
    page.goto(lab.notebook("03_parallelism"))
    page.wait_for_selector(".jp-Notebook", timeout=60_000)
    for attempt in (1, 2, 3):  # a click right after loading can be lost
        expect(page.locator("#jp-main-statusbar")).to_contain_text("Idle", timeout=60_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        try:
            page.wait_for_selector(".wb-parallel .wb-verdict", timeout=30_000)
        except PageTimeout:
            if attempt == 3:
                raise
        else:
            break
    expect(page.locator("#jp-main-statusbar")).to_contain_text("Idle", timeout=60_000)
    panel = page.locator(".wb-parallel")
    panel.scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelectorAll('.wb-parallel .js-plotly-plot .gtitle').length === 2")
    headline = panel.locator(".wb-verdict .headline")
    expect(headline).to_contain_text("USD/h")
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(700)
    page.screenshot(path=SHOTS / "parallelism.png")
    box = panel.get_by_label("Promise: each further token within, ms")
    box.fill("0.01")
    box.press("Enter")
    expect(headline).to_contain_text("No plan keeps these promises: TPOT")
    assert [e for e in complaints.errors if not HARMLESS.search(e)] == []
