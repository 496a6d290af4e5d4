"""The panels of the long-context notebook, by driving their controls on the shipped runs."""

from pathlib import Path

import ipywidgets
import pytest

from workbench.catalog.paths import MEASURED
from workbench.jobs.manager import JobManager
from workbench.panels import context_claims
from workbench.panels.attention import AttentionPanel
from workbench.panels.context_quality import ContextQualityPanel
from workbench.panels.long_context import LongContextPanel
from workbench.testing.waiting import figure_titles, wait_for

FAKE = (str(Path(__file__).parents[1] / "jobs" / "fake_stored_run_child.py"),)
pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def jobs(tmp_path):
    yield JobManager(tmp_path / "home", child=FAKE)
    ipywidgets.Widget.close_all()


def test_the_plan_follows_model_device_precision_and_context(jobs):
    panel = LongContextPanel(jobs, poll_s=0.05)
    assert "It fits." in panel.answer.value
    assert "130048 tokens are read in 10.3 s" in panel.answer.value
    panel.controls["context_tokens"].value = 900_000
    assert "It does not fit." in panel.answer.value
    assert "beyond the 131072 tokens" in panel.launch_command()
    panel.controls["precision"].value = "FP8 weights, FP8 cache"
    assert "It fits." in panel.answer.value
    assert "was made for 131072 tokens" in panel.answer.value
    assert "--kv-cache-dtype fp8" in panel.launch_command()
    panel.controls["n_devices"].value = 2
    assert "--tensor-parallel-size 2" in panel.launch_command()
    panel.controls["model"].value = "deepseek-ai/DeepSeek-V3"
    assert "does not fit" in panel.table.value
    panel.controls["model"].value = "/nowhere"
    assert "There is no model at /nowhere" in panel.answer.value
    assert panel.errors == []


def test_a_model_of_the_catalogue_is_planned_and_not_measured(jobs):
    panel = LongContextPanel(jobs, poll_s=0.05)
    panel.controls["model"].value = "meta-llama/Meta-Llama-3.1-70B"
    assert "does not fit" in panel.answer.value
    panel.job_bar.run.click()
    wait_for(lambda: "in the catalogue only" in panel.message.value)
    assert jobs.views() == []
    assert panel.errors == []


def test_a_new_long_context_run_is_shown(jobs, monkeypatch):
    monkeypatch.setenv("WORKBENCH_FAKE_RUN", str(MEASURED / "long_context_stdlib-9m_epyc-2-cores.json"))
    panel = LongContextPanel(jobs, poll_s=0.05)
    panel.controls["model"].value = "data/models/stdlib-9m"
    panel.job_bar.run.click()
    wait_for(lambda: panel.job_id and panel.job_id in panel.header.value)
    assert "predicted only" in panel.answer.value
    assert panel.errors == []


def test_phase_length_and_techniques_choose_what_attention_is_answered(jobs):
    panel = AttentionPanel(jobs, poll_s=0.05)
    assert "FlashAttention 3 reads a prompt of 131072 tokens fastest" in panel.answer.value
    assert "Time to read a whole prompt" in figure_titles(panel)[0]
    panel.controls["phase"].value = "decode"
    assert "SDPA cuDNN continues a context of 131072 tokens fastest" in panel.answer.value
    panel.controls["phase"].value = "prefill"
    panel.controls["length_tokens"].value = 4096
    assert "4096 tokens" in panel.answer.value
    panel.buttons["fa3"].value = False
    assert "FlashAttention 3" not in panel.answer.value
    panel.controls["beside"].value = "found"
    assert "What is still found" in figure_titles(panel)[1]
    assert panel.buttons["vertical-slash"].disabled
    assert panel.errors == []


def test_the_newest_measurement_of_a_cell_counts_and_memory_that_ran_out_is_a_row(jobs):
    panel = AttentionPanel(jobs, poll_s=0.05)
    assert "out of memory: A shorter context did not fit already." in panel.table.value
    assert panel.header.value.count("2026-11-25") >= 4  # four runs of one device
    panel.controls["run_id"].value = next(v for label, v in panel.controls["run_id"].options if "EPYC" in label)
    assert "EPYC" in panel.header.value
    assert panel.errors == []


def test_a_window_of_zero_is_told_before_a_job_starts(jobs):
    panel = AttentionPanel(jobs, poll_s=0.05)
    panel.controls["window"].value = 0
    assert "window is 0" in panel.tabs_html[1].value
    panel.job_bar.run.click()
    wait_for(lambda: "window is 0" in panel.message.value)
    assert jobs.views() == []
    assert panel.errors == []


def test_the_heat_maps_separate(jobs):
    panel = ContextQualityPanel(jobs, poll_s=0.05)
    assert "window 1024 only 57 %" in panel.answer.value
    assert "no loss beyond chance" in panel.answer.value

    def shares():
        data = panel.plots[0].outputs[0]["data"]["application/vnd.plotly.v1+json"]["data"][0]
        return [z for line in data["z"] for z in line]

    panel.controls["variant"].value = "window:1024"
    assert min(shares()) == 0
    panel.controls["variant"].value = "kv:int8-token"
    assert min(shares()) >= 85
    panel.controls["variant"].value = "kv:int4-head"
    assert "INT4 cache" in figure_titles(panel)[0]
    assert min(shares()) < 85
    panel.controls["task"].value = "multi-key"
    assert panel.errors == []


def test_bad_lengths_and_too_long_ones_give_one_message_and_no_job(jobs):
    panel = ContextQualityPanel(jobs, poll_s=0.05)
    panel.controls["lengths"].value = "many"
    assert "Give numbers" in panel.tabs_html[1].value
    panel.controls["lengths"].value = "16384"
    panel.job_bar.run.click()
    wait_for(lambda: "16384 tokens are more than stdlib-9m" in panel.message.value)
    assert jobs.views() == []
    assert panel.errors == []


def test_every_row_of_the_faqs_table_is_answered(jobs):
    content = context_claims.claimed_and_measured(jobs).content
    assert content.count("<tr") == 1 + 10
    assert "SDPA math, 16384 tokens, NVIDIA H200" in content
    assert "on 2 NVIDIA H100" in content
    assert "depends on the setting" in content


@pytest.mark.parametrize("kind", [LongContextPanel, AttentionPanel, ContextQualityPanel])
def test_without_runs_a_panel_says_what_to_do(jobs, kind, monkeypatch, tmp_path):
    monkeypatch.setattr(f"{kind.__module__}.SHIPPED", tmp_path)
    panel = kind(jobs, poll_s=0.05)
    assert "no run yet" in (panel.header.value + panel.answer.value).lower()
    assert "<h2>" in panel.static_html()
    assert panel.errors == []
