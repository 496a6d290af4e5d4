"""The notebook of a GPU's time in real JupyterLab: recorded runs, and this machine live."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from workbench.testing.lab_page import complaints_of, run_all, scroll_to, shoot, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def test_a_recorded_card_then_this_machine_as_it_goes(lab, page_of):
    page, complaints = page_of()
    run_all(page, lab.notebook("04_utilization"), ".wb-use .wb-verdict")
    panel = scroll_to(page, ".wb-use", up=True)
    wait_until_drawn(page, ".wb-use", 2)
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("most is lost to")
    shoot(page, SHOTS, "utilisation")
    box = panel.get_by_label("Record, seconds")
    box.fill("4")
    box.press("Enter")
    panel.get_by_role("button", name="Run").click()
    expect(panel.locator("select").first).to_contain_text("now, this machine", timeout=60_000)
    shoot(page, SHOTS, "utilisation_live")
    expect(panel.locator("select").first).to_contain_text("recording of 4", timeout=60_000)
    assert complaints_of(complaints) == []


def test_a_batch_is_searched_and_shown(lab, page_of):
    page, complaints = page_of()
    run_all(page, lab.notebook("04_utilization"), ".wb-batch .wb-verdict")
    panel = scroll_to(page, ".wb-batch", up=True)
    box = panel.get_by_label("Largest batch to try")
    box.fill("32")
    box.press("Enter")
    panel.get_by_role("button", name="Run").click()
    expect(panel.get_by_text("done ·")).to_be_visible(timeout=120_000)
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("sequences/s")
    wait_until_drawn(page, ".wb-batch", 2)
    shoot(page, SHOTS, "batch_search")
    assert complaints_of(complaints) == []
