"""The long-context notebook in real JupyterLab: plan, controls, a live run at small lengths, readable refusals."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from workbench.jobs.directory import JobState
from workbench.jobs.manager import JobManager
from workbench.testing.lab_page import complaints_of, run_all, scroll_to, shoot, wait_until_drawn
from workbench.testing.waiting import wait_for

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def test_a_plan_a_kernel_and_a_heat_map_answer_their_controls(lab, page_of):
    page, complaints = page_of()
    run_all(page, lab.notebook("05_long_context"), ".wb-verdict")
    context = scroll_to(page, ".wb-context", up=True)
    wait_until_drawn(page, ".wb-context", 2)
    expect(context).to_contain_text("It fits.")
    box = context.get_by_label("Context, tokens")
    box.fill("2000000")
    box.press("Enter")
    expect(context).to_contain_text("It does not fit.")
    box.fill("131072")
    box.press("Enter")
    expect(context).to_contain_text("It fits.")
    shoot(page, SHOTS, "long_context")

    kernels = scroll_to(page, ".wb-attention")
    wait_until_drawn(page, ".wb-attention", 2)
    headline = kernels.locator(".wb-verdict .headline")
    before = headline.inner_text()
    kernels.get_by_label("Phase").select_option(label="decoding")
    expect(headline).not_to_have_text(before)
    kernels.get_by_label("Phase").select_option(label="reading a prompt")
    expect(headline).to_have_text(before)
    shoot(page, SHOTS, "attention")

    quality = scroll_to(page, ".wb-quality")
    wait_until_drawn(page, ".wb-quality", 2)
    title = quality.locator(".js-plotly-plot .gtitle").first
    expect(title).to_contain_text("window 1024")
    shoot(page, SHOTS, "context_quality")
    quality.get_by_label("Shown variant").select_option(label="INT4 cache, scale per head")
    expect(title).to_contain_text("INT4 cache")
    assert complaints_of(complaints) == []


def test_a_live_run_at_small_lengths_and_a_refusal(lab, page_of):
    page, complaints = page_of()
    run_all(page, lab.notebook("05_long_context"), ".wb-verdict")
    panel = scroll_to(page, ".wb-quality")
    lengths = panel.get_by_label("Lengths to measure, tokens")
    lengths.fill("16384")
    lengths.press("Enter")
    panel.get_by_role("button", name="Run", exact=True).click()
    expect(panel.locator(".wb-message.failure")).to_contain_text("16384 tokens are more than stdlib-9m was made for")
    lengths.fill("256")
    lengths.press("Enter")
    panel.get_by_role("button", name="Run", exact=True).click()
    jobs = JobManager(lab.home)
    wait_for(lambda: jobs.views("context_quality") and jobs.views("context_quality")[0].state is JobState.DONE)
    run = jobs.views("context_quality")[0].id
    expect(panel.get_by_label("Shown run").locator("option:checked")).to_contain_text(run, timeout=15_000)
    expect(panel.locator(".js-plotly-plot .gtitle").first).to_contain_text("Found with")
    shoot(page, SHOTS, "context_quality_live")
    assert complaints_of(complaints) == []
