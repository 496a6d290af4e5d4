"""The notebooks of surges, security and rollouts in real JupyterLab, with live choices."""

from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.lab_page import complaints_of, scroll_to, shoot, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def test_a_surge_and_rules_for_scaling(notebook):
    page, complaints = notebook("06_surge", ".wb-scaling .wb-verdict")
    panel = scroll_to(page, ".wb-surge", up=True)
    wait_until_drawn(page, ".wb-surge", 2)
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("of the engine's own capacity")
    panel.get_by_label("Controls in the plot").select_option("gateway, all controls off")
    expect(panel.locator(".gtitle").first).to_contain_text("all controls off")
    shoot(page, SHOTS, "surge")
    rules = scroll_to(page, ".wb-scaling")
    wait_until_drawn(page, ".wb-scaling", 2)
    rules.get_by_label("Traffic").fill("code")
    rules.get_by_label("Traffic").press("Enter")
    expect(page.locator(".wb .sub", has_text="Azure 2023, code")).to_be_visible()
    shoot(page, SHOTS, "scaling")
    reserve = scroll_to(page, ".wb-standby")
    wait_until_drawn(page, ".wb-standby", 2)
    expect(reserve.locator(".wb-verdict .headline")).to_contain_text("replica answers after")
    reserve.get_by_role("tab", name="For the simulation").click()
    expect(reserve.get_by_text("workbench scaling --start-s")).to_be_visible()
    shoot(page, SHOTS, "standby")
    assert complaints_of(complaints) == []


def test_a_text_is_redacted_while_it_is_typed_and_a_corpus_scored(notebook):
    page, complaints = notebook("09_security", ".wb-security .wb-verdict")
    panel = scroll_to(page, ".wb-security", up=True)
    wait_until_drawn(page, ".wb-security", 2)
    panel.get_by_label("Your own text").fill("card 4111 1111 1111 1111")
    expect(panel.locator("mark").first).to_have_text("[CARD]")
    panel.get_by_label("Texts per class").fill("20")
    panel.get_by_label("Texts per class").press("Enter")
    panel.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".wb .sub", has_text="280 generated texts")).to_be_visible(timeout=180_000)
    shoot(page, SHOTS, "security")
    assert complaints_of(complaints) == []


def test_rollouts_and_judges(notebook):
    page, complaints = notebook("10_rollout", ".wb-odds .wb-verdict")
    panel = scroll_to(page, ".wb-rollout", up=True)
    wait_until_drawn(page, ".wb-rollout", 2)
    expect(panel.locator(".wb-verdict .headline")).to_contain_text("ended as they should")
    shoot(page, SHOTS, "rollout")
    odds = scroll_to(page, ".wb-odds")
    wait_until_drawn(page, ".wb-odds", 1)
    expect(odds.locator(".wb-verdict .headline")).to_contain_text("The sequential test rolls back")
    shoot(page, SHOTS, "odds")
    assert complaints_of(complaints) == []
