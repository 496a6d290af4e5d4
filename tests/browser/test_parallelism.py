"""The planning notebook in real JupyterLab: a load and its SLO answer their controls."""

from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.lab_page import complaints_of, scroll_to, shoot, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def test_an_slo_that_nothing_meets_names_what_binds(notebook):
    page, complaints = notebook("03_parallelism", ".wb-parallel .wb-verdict")
    panel = scroll_to(page, ".wb-parallel", up=True)
    wait_until_drawn(page, ".wb-parallel", 4)
    headline = panel.locator(".wb-verdict .headline")
    expect(headline).to_contain_text("USD/h")
    shoot(page, SHOTS, "parallelism")
    panel.get_by_text("Sensitivity of the price").first.scroll_into_view_if_needed()
    shoot(page, SHOTS, "parallelism_more")
    box = panel.get_by_label("SLO: TPOT (ms)")
    box.fill("0.01")
    box.press("Enter")
    expect(headline).to_contain_text("TPOT: one sequence alone takes")
    assert complaints_of(complaints) == []
