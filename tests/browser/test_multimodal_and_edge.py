"""The notebooks of images and small devices in real JupyterLab, with live runs."""

from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.lab_page import complaints_of, scroll_to, shoot, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def test_images_are_counted_and_fusion_is_measured_live(notebook):
    page, complaints = notebook("12_multimodal", ".wb-fusion .wb-verdict")
    panel = scroll_to(page, ".wb-tokens", up=True)
    wait_until_drawn(page, ".wb-tokens", 1)
    panel.get_by_label("Image size").fill("896x448")
    panel.get_by_label("Image size").press("Enter")
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("One image takes 392 tokens")
    shoot(page, SHOTS, "tokens")
    scroll_to(page, ".wb-images")
    wait_until_drawn(page, ".wb-images", 2)
    shoot(page, SHOTS, "images")
    study = scroll_to(page, ".wb-fusion")
    wait_until_drawn(page, ".wb-fusion", 2)
    study.get_by_label("Accuracy that routing may lose").fill("0.03")
    study.get_by_label("Accuracy that routing may lose").press("Enter")
    study.get_by_role("button", name="Run").click()
    expect(study.locator(".wb-verdict")).to_contain_text("guaranteed: at most 3.0 %", timeout=180_000)
    shoot(page, SHOTS, "fusion")
    assert complaints_of(complaints) == []


def test_small_devices(notebook):
    page, complaints = notebook("13_edge", ".wb-edge .wb-verdict")
    panel = scroll_to(page, ".wb-edge", up=True)
    wait_until_drawn(page, ".wb-edge", 3)
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("inputs/s")
    panel.get_by_label("Memory limit (MiB)").fill("0.1")
    panel.get_by_label("Memory limit (MiB)").press("Enter")
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("No setting is within these limits")
    panel.get_by_label("Memory limit (MiB)").fill("")
    panel.get_by_label("Memory limit (MiB)").press("Enter")
    panel.get_by_label("Batch size shown").select_option("256")
    expect(panel.locator(".gtitle").first).to_contain_text("Speed-up over float32")
    shoot(page, SHOTS, "edge")
    assert complaints_of(complaints) == []
