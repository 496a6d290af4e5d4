"""The cost notebook in real JupyterLab: prices follow their controls, and a price that cannot be says why."""

from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.lab_page import complaints_of, scroll_to, shoot, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def test_prices_follow_the_slo(notebook):
    page, complaints = notebook("08_cost", ".wb-cost .wb-verdict")
    panel = scroll_to(page, ".wb-cost", up=True)
    wait_until_drawn(page, ".wb-cost", 2)
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("USD per million input tokens")
    shoot(page, SHOTS, "cost")
    box = panel.get_by_label("SLO: TPOT (ms)")
    box.fill("0.01")
    box.press("Enter")
    expect(panel.locator(".wb-message.failure").first).to_contain_text("No plan in BF16")
    assert complaints_of(complaints) == []
