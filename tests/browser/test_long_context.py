"""The long-context notebook in real JupyterLab: plan, controls, a live run at small lengths, readable refusals."""

from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.lab_page import complaints_of, scroll_to, shoot, wait_until_drawn
from support.waiting import wait_for

from workbench.jobs.directory import JobState
from workbench.jobs.manager import JobManager

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def test_a_plan_a_kernel_and_a_heat_map_answer_their_controls(notebook):
    page, complaints = notebook("05_long_context", ".wb-verdict")
    context = scroll_to(page, ".wb-context", up=True)
    wait_until_drawn(page, ".wb-context", 2)
    expect(context).to_contain_text("It fits.")
    box = context.get_by_label("Context length (tokens)")
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
    kernels.get_by_label("Phase", exact=True).select_option(label="decode")
    expect(headline).not_to_have_text(before)
    kernels.get_by_label("Phase", exact=True).select_option(label="prefill")
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


def test_a_live_run_at_small_lengths_and_a_refusal(lab, notebook):
    page, complaints = notebook("05_long_context", ".wb-verdict")
    panel = scroll_to(page, ".wb-quality")
    lengths = panel.get_by_label("Context lengths (tokens)")
    lengths.fill("16384")
    lengths.press("Enter")
    panel.get_by_role("button", name="Run", exact=True).click()
    expect(panel.locator(".wb-message.failure")).to_contain_text("stdlib-9m takes at most 8,192 tokens")
    for name in ("INT8 cache, scale per token", "INT4 cache, scale per head"):
        panel.get_by_role("button", name=name).click()
    panel.get_by_text("More settings").click()
    least = {"Depths": "1", "Questions per cell": "1", "Windows of text": "0", "Context lengths (tokens)": "256"}
    for label, value in least.items():
        panel.get_by_label(label).fill(value)
        panel.get_by_label(label).press("Enter")
    expect(panel.locator(".wb-code").first).to_contain_text("--lengths 256 --depths 1 --per-cell 1 --windows 0")
    panel.get_by_role("button", name="Run", exact=True).click()
    jobs = JobManager(lab.home)
    wait_for(lambda: jobs.views("context_quality") and jobs.views("context_quality")[0].state is JobState.DONE)
    run = jobs.views("context_quality")[0].id
    expect(panel.get_by_label("Shown run").locator("option:checked")).to_contain_text(run, timeout=180_000)
    expect(panel.locator(".js-plotly-plot .gtitle").first).to_contain_text("Retrieval with")
    shoot(page, SHOTS, "context_quality_live")
    assert complaints_of(complaints) == []
