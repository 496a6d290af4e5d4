"""The notebooks of surges, security and rollouts in real JupyterLab, with live choices."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from workbench.testing.lab_page import complaints_of, run_all, scroll_to, shoot, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def test_a_surge_and_rules_for_scaling(lab, page_of):
    page, complaints = page_of()
    run_all(page, lab.notebook("06_surge"), ".wb-scaling .wb-verdict")
    panel = scroll_to(page, ".wb-surge", up=True)
    wait_until_drawn(page, ".wb-surge", 2)
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("is answered in time")
    panel.get_by_label("Compared with no gateway").select_option("gateway, every control off")
    expect(panel.locator(".gtitle").first).to_contain_text("every control off")
    shoot(page, SHOTS, "surge")
    rules = scroll_to(page, ".wb-scaling")
    wait_until_drawn(page, ".wb-scaling", 2)
    rules.get_by_label("Traffic").select_option("Azure 2023, code")
    expect(page.locator(".wb .sub", has_text="Azure 2023, code")).to_be_visible()
    shoot(page, SHOTS, "scaling")
    assert complaints_of(complaints) == []


def test_a_text_is_redacted_while_it_is_typed_and_a_corpus_scored(lab, page_of):
    page, complaints = page_of()
    run_all(page, lab.notebook("09_security"), ".wb-security .wb-verdict")
    panel = scroll_to(page, ".wb-security", up=True)
    wait_until_drawn(page, ".wb-security", 2)
    panel.get_by_label("Try a text").fill("card 4111 1111 1111 1111")
    expect(panel.locator("mark").first).to_have_text("[CARD]")
    panel.get_by_label("Texts of each class and sort").fill("20")
    panel.get_by_label("Texts of each class and sort").press("Enter")
    panel.get_by_role("button", name="Run").click()
    expect(page.locator(".wb .sub", has_text="280 generated texts")).to_be_visible(timeout=60_000)
    shoot(page, SHOTS, "security")
    assert complaints_of(complaints) == []


def test_rollouts_and_judges(lab, page_of):
    page, complaints = page_of()
    run_all(page, lab.notebook("10_rollout"), ".wb-odds .wb-verdict")
    panel = scroll_to(page, ".wb-rollout", up=True)
    wait_until_drawn(page, ".wb-rollout", 2)
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("went where they should")
    shoot(page, SHOTS, "rollout")
    odds = scroll_to(page, ".wb-odds")
    wait_until_drawn(page, ".wb-odds", 1)
    expect(odds.locator(".wb-verdict .headline")).to_contain_text("Ours rolls a version")
    shoot(page, SHOTS, "odds")
    assert complaints_of(complaints) == []
