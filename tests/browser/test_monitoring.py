"""The monitoring notebook in real JupyterLab: a measured overload, watched in retrospect."""

from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.lab_page import complaints_of, scroll_to, shoot, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def test_an_overload_raises_an_alert_and_another_rule_can_be_drawn(notebook):
    page, complaints = notebook("07_monitoring", ".wb-watch .wb-verdict")
    panel = scroll_to(page, ".wb-watch", up=True)
    wait_until_drawn(page, ".wb-watch", 2)
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("TtftHigh")
    shoot(page, SHOTS, "monitoring")
    panel.get_by_label("Rule drawn").select_option("RequestsQueued")
    expect(panel.locator(".gtitle").nth(1)).to_contain_text("RequestsQueued")
    assert complaints_of(complaints) == []
