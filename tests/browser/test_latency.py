"""The latency notebook in real JupyterLab: a measured change with its cause, and the fault suite."""

from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.lab_page import complaints_of, scroll_to, shoot, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def test_a_change_is_explained_and_the_suite_is_shown(notebook):
    page, complaints = notebook("11_latency", ".wb-faults .wb-verdict")
    panel = scroll_to(page, ".wb-latency", up=True)
    wait_until_drawn(page, ".wb-latency", 2)
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("probability")
    shoot(page, SHOTS, "latency")
    panel.get_by_label("Latency drawn").select_option("End-to-end latency")
    expect(panel.locator(".gtitle").nth(1)).to_contain_text("End-to-end latency")
    suite = scroll_to(page, ".wb-faults")
    wait_until_drawn(page, ".wb-faults", 1)
    expect(suite.locator(".wb-verdict .headline")).to_contain_text("The true cause was named in")
    shoot(page, SHOTS, "faults")
    assert complaints_of(complaints) == []
