"""The notebooks of pictures and small devices in real JupyterLab, with live runs."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from workbench.testing.lab_page import complaints_of, run_all, scroll_to, shoot, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def test_pictures_are_counted_and_fusion_is_measured_live(lab, page_of):
    page, complaints = page_of()
    run_all(page, lab.notebook("12_multimodal"), ".wb-fusion .wb-verdict")
    panel = scroll_to(page, ".wb-tokens", up=True)
    wait_until_drawn(page, ".wb-tokens", 1)
    panel.get_by_label("Width, pixels").fill("448")
    panel.get_by_label("Width, pixels").press("Enter")
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("392 tokens a picture")
    shoot(page, SHOTS, "tokens")
    scroll_to(page, ".wb-images")
    wait_until_drawn(page, ".wb-images", 2)
    shoot(page, SHOTS, "images")
    study = scroll_to(page, ".wb-fusion")
    wait_until_drawn(page, ".wb-fusion", 2)
    study.get_by_label("Routing may lose, %").fill("3")
    study.get_by_label("Routing may lose, %").press("Enter")
    study.get_by_role("button", name="Run").click()
    expect(study.locator(".wb-verdict")).to_contain_text("guaranteed: 3.0 %", timeout=180_000)
    shoot(page, SHOTS, "fusion")
    assert complaints_of(complaints) == []


def test_small_devices(lab, page_of):
    page, complaints = page_of()
    run_all(page, lab.notebook("13_edge"), ".wb-edge .wb-verdict")
    panel = scroll_to(page, ".wb-edge", up=True)
    wait_until_drawn(page, ".wb-edge", 3)
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("Run ")
    panel.get_by_label("Most memory, MiB (0: any)").fill("0.1")
    panel.get_by_label("Most memory, MiB (0: any)").press("Enter")
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("Nothing keeps these limits")
    panel.get_by_label("Most memory, MiB (0: any)").fill("0")
    panel.get_by_label("Most memory, MiB (0: any)").press("Enter")
    panel.get_by_label("Batch that is drawn").select_option("256")
    expect(panel.locator(".gtitle").first).to_contain_text("Really faster here?")
    shoot(page, SHOTS, "edge")
    assert complaints_of(complaints) == []
