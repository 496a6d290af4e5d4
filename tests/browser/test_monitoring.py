"""The monitoring notebook in real JupyterLab: a measured overload, watched in retrospect."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from workbench.testing.lab_page import complaints_of, run_all, scroll_to, shoot, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def test_an_overload_is_told_and_another_rule_can_be_drawn(lab, page_of):
    page, complaints = page_of()
    run_all(page, lab.notebook("07_monitoring"), ".wb-watch .wb-verdict")
    panel = scroll_to(page, ".wb-watch", up=True)
    wait_until_drawn(page, ".wb-watch", 2)
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("FirstTokensLate")
    shoot(page, SHOTS, "monitoring")
    panel.get_by_label("Rule drawn").select_option("RequestsWait")
    expect(panel.locator(".gtitle").nth(1)).to_contain_text("RequestsWait")
    assert complaints_of(complaints) == []
