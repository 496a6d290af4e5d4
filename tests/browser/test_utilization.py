"""The notebook of a GPU's time in real JupyterLab: recorded runs, and this machine live."""

from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.lab_page import complaints_of, scroll_to, shoot, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def test_a_recorded_card_then_this_machine_as_it_goes(notebook):
    page, complaints = notebook("04_utilization", ".wb-use .wb-verdict")
    panel = scroll_to(page, ".wb-use", up=True)
    wait_until_drawn(page, ".wb-use", 2)
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("the largest loss is")
    shoot(page, SHOTS, "utilization")
    box = panel.get_by_label("Duration (s)")
    box.fill("4")
    box.press("Enter")
    panel.get_by_role("button", name="Run").click()
    expect(panel.locator("select").first).to_contain_text("now, this machine", timeout=180_000)
    shoot(page, SHOTS, "utilization_live")
    expect(panel.locator("select").first).to_contain_text("recording of 4", timeout=180_000)
    assert complaints_of(complaints) == []


def test_a_batch_is_searched_and_shown(notebook):
    page, complaints = notebook("04_utilization", ".wb-batch .wb-verdict")
    panel = scroll_to(page, ".wb-batch", up=True)
    for label, value in (("Largest batch size", "12"), ("Context length (tokens)", "16")):
        box = panel.get_by_label(label)
        box.fill(value)
        box.press("Enter")
    panel.get_by_role("button", name="Run").click()
    expect(panel.get_by_text("done ·")).to_be_visible(timeout=240_000)
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("tokens/s")
    wait_until_drawn(page, ".wb-batch", 2)
    shoot(page, SHOTS, "batch_search")
    assert complaints_of(complaints) == []


def test_a_technique_that_cannot_run_here_is_legible(notebook):
    page, _ = notebook("04_utilization", ".wb-techniques .wb-verdict")
    chips = page.locator(".wb-techniques .wb-methods button:disabled")
    expect(chips.first).to_contain_text("cannot run here")
    assert "rgb(255, 255, 255)" not in chips.evaluate_all("all => all.map(chip => getComputedStyle(chip).color)")
