"""The panels of the long-context notebook, by driving their controls on the shipped runs."""

from pathlib import Path

import ipywidgets
import pytest
from support.waiting import figure_titles, wait_for

from workbench.catalog.paths import MEASURED
from workbench.jobs.manager import JobManager
from workbench.questions.long_context.attention.panel import AttentionPanel
from workbench.questions.long_context.panel import LongContextPanel
from workbench.questions.long_context.quality.panel import ContextQualityPanel

FAKE = (str(Path(__file__).parents[2] / "support" / "fake_stored_run_child.py"),)
pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def jobs(tmp_path):
    yield JobManager(tmp_path / "home", child=FAKE)
    ipywidgets.Widget.close_all()


def test_the_plan_follows_model_device_precision_and_context(jobs):
    panel = LongContextPanel(jobs, poll_s=0.05)
    assert "It fits." in panel.answer.value
    assert "TTFT is 10.3 s" in panel.answer.value
    panel.controls["context_tokens"].value = 900_000
    assert "It does not fit." in panel.answer.value
    assert "beyond the 131,072 tokens" in panel.launch_command()
    panel.controls["precision"].value = "FP8 weights, FP8 cache"
    assert "It fits." in panel.answer.value
    assert "was made for 131,072 tokens" in panel.answer.value
    assert "--kv-cache-dtype fp8" in panel.launch_command()
    panel.controls["n_devices"].value = 2
    assert "--tensor-parallel-size 2" in panel.launch_command()
    panel.controls["model"].value = "deepseek-ai/DeepSeek-V3"
    assert "does not fit" in panel.table.value
    panel.controls["planned_device"].value = "rtx4090"
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
    assert "FlashAttention 3 is the fastest exact kernel for prefill of 131,072 tokens" in panel.answer.value
    assert "Prefill time" in figure_titles(panel)[0]
    panel.controls["phase"].value = "decode"
    assert "fastest exact kernels, for decode after 131,072 tokens" in panel.answer.value
    assert "Time of a decode step" in figure_titles(panel)[0]
    panel.controls["phase"].value = "prefill"
    panel.controls["length_tokens"].value = 4096
    assert "4,096 tokens" in panel.answer.value
    shown = panel.controls["shown"]
    shown.buttons["fa3"].value = False
    assert "FlashAttention 3" not in panel.answer.value
    panel.controls["second_plot"].value = "retrieval"
    assert "Retrieval by length" in figure_titles(panel)[1]
    assert shown.buttons["vertical-slash"].disabled
    assert panel.errors == []


def test_the_newest_measurement_of_a_cell_counts_and_memory_that_ran_out_is_a_row(jobs):
    panel = AttentionPanel(jobs, poll_s=0.05)
    assert "out of memory: A shorter context did not fit already." in panel.table.value
    assert panel.header.value.count("2026-11-25") >= 4  # four runs of one device
    panel.controls["run_id"].value = next(v for label, v in panel.controls["run_id"].options if "EPYC" in label)
    assert "EPYC" in panel.header.value
    assert panel.errors == []


def test_no_technique_is_refused_before_a_job_starts(jobs):
    panel = AttentionPanel(jobs, poll_s=0.05)
    panel.controls["techniques"].value = ()
    assert "No techniques are chosen" in panel.tabs_html[-3].value
    panel.job_bar.run.click()
    wait_for(lambda: "No techniques are chosen" in panel.message.value)
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
    assert "&#39;many&#39; is not a whole number" in panel.message.value
    panel.controls["lengths"].value = "16384"
    panel.job_bar.run.click()
    wait_for(lambda: "stdlib-9m takes at most 8,192 tokens" in panel.message.value)
    assert jobs.views() == []
    assert panel.errors == []


@pytest.mark.parametrize("kind", [LongContextPanel, AttentionPanel, ContextQualityPanel])
def test_without_runs_a_panel_says_what_to_do(jobs, kind, monkeypatch, tmp_path):
    monkeypatch.setattr("workbench.interface.declared_panel.MEASURED", tmp_path)
    panel = kind(jobs, poll_s=0.05)
    text = panel.header.value + panel.answer.value
    assert "no run yet" in text or "Nothing was measured yet" in text
    assert "<h2>" in panel.static_html()
    assert panel.errors == []


def test_what_is_measured_follows_the_planned_context_until_lengths_are_typed(jobs):
    panel = LongContextPanel(jobs, poll_s=0.05)
    assert panel.plan.lengths[-1] == 131008
    panel.controls["context_tokens"].value = 20_000
    assert panel.plan.lengths == (1024, 4096, 16384, 20_000)
    panel.controls["lengths"].value = "512"
    panel.controls["batch"].value = 2
    assert panel.plan.lengths == (512,)
    assert "--lengths 512" in panel.tabs_html[-4].value
    assert panel.errors == []
