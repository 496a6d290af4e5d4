"""The notebook of server settings in real JupyterLab: moving the SLO moves the choice."""

from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.lab_page import complaints_of, scroll_to, shoot, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def test_moving_the_slo_moves_the_choice(notebook):
    page, complaints = notebook("14_tuning", ".wb-tuning .wb-verdict")
    panel = scroll_to(page, ".wb-tuning", up=True)
    wait_until_drawn(page, ".wb-tuning", 2)
    shoot(page, SHOTS, "tuning")
    before = panel.locator(".wb-verdict").inner_text()
    readout = panel.locator(".widget-hslider", has_text="SLO: TTFT").locator(".widget-readout")
    readout.fill("10")
    readout.press("Enter")
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("Not worth tuning")
    expect(panel.locator(".wb-verdict")).to_contain_text("another SLO")
    assert panel.locator(".wb-verdict").inner_text() != before
    shoot(page, SHOTS, "tuning-other-slo")
    assert complaints_of(complaints) == []
