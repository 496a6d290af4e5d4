"""The engines panel, driven by its controls; the job behind it is a stand-in with a real life cycle."""

import json
from pathlib import Path

import ipywidgets
import pytest
from support import invented_sweep
from support.waiting import wait_for

from workbench.jobs.manager import JobManager
from workbench.load.spec import LoadSpec
from workbench.questions.engines.figures import attainment_by_rate, latency_by_rate
from workbench.questions.engines.findings import Slo, results_under, usd_per_million_good_tokens, verdict
from workbench.questions.engines.panel import EnginesPanel
from workbench.questions.engines.rows import EngineResult

FAKE = (str(Path(__file__).parent / "fake_sweep_child.py"),)
LABELS = {"torch": "torch", "onnx": "onnx", "vllm": "vllm"}


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.interface.declared_panel.MEASURED", tmp_path / "nothing-shipped")
    monkeypatch.setenv("WORKBENCH_ENGINES", str(tmp_path / "no-engines"))
    monkeypatch.delenv("WORKBENCH_VLLM_PYTHON", raising=False)
    return JobManager(tmp_path / "home", child=FAKE)


@pytest.fixture
def panel(jobs, strict):
    made = EnginesPanel(jobs, poll_s=0.05)
    yield made
    assert made.errors == []
    ipywidgets.Widget.close_all()


def text(panel):
    return " ".join(b.value for b in (panel.header, panel.message, panel.answer, panel.table, *panel.tabs_html))


def with_run(panel, **options):
    panel.runs = [invented_sweep(device=panel.here.name, **options)]
    panel.update(run_id=panel.runs[0].id)


def test_before_any_run_it_says_how_to_start(panel):
    assert "No run yet." in text(panel)
    assert "workbench engines compare" in text(panel)


def test_an_engine_that_is_not_installed_cannot_be_chosen_and_says_why(panel):
    button = panel.controls["engines"].buttons["vllm"]
    assert button.disabled
    assert "workbench engines install vllm" in button.tooltip
    assert panel.plan.engines == ("torch", "onnx")
    assert "--engines torch,onnx" in text(panel)


def test_the_answer_names_the_engine_that_sustains_most(panel):
    with_run(panel)
    assert "ONNX Runtime meets the SLO up to 8.00 requests/s, 2.0x PyTorch" in text(panel)
    assert "next rate tried missed the SLO" in text(panel)
    assert len(panel.plots[0].outputs) == 1


def test_a_changed_slo_is_answered_from_the_stored_requests(panel):
    with_run(panel)
    panel.controls["slo_ttft_s"].value = 3.0  # now also the slow answers are good
    assert "No higher rate was tried" in text(panel)
    panel.controls["slo_tpot_s"].value = 0.005  # 10 ms were measured
    assert "No engine meets this SLO" in text(panel)


def test_other_lengths_ask_for_a_new_run(panel):
    with_run(panel)
    assert "lengths changed" not in text(panel)
    panel.controls["output_tokens"].value = 32
    assert "The lengths changed since this run." in text(panel)
    assert panel.plan.output_tokens == 32


def test_the_price_reaches_the_table(panel):
    with_run(panel)
    before = panel.table.value
    panel.controls["usd_per_hour"].value = 10.0
    assert panel.table.value != before
    trial = invented_sweep().rows(EngineResult)[1].best(0.9)
    assert usd_per_million_good_tokens(trial, usd_per_hour=3.6) == pytest.approx(3.6 / 3600 / 512 * 1e6)


def test_run_shows_requests_as_they_happen_and_then_the_answer(panel):
    panel.job_bar.run.click()
    wait_for(lambda: panel.live.outputs)
    assert "PyTorch (transformers) at 2 requests/s" in json.dumps(panel.live.outputs[0]["data"], default=str)
    wait_for(lambda: panel.state.run_id is not None and panel.state.run_id == panel.job_id)
    wait_for(lambda: "meets the SLO" in text(panel))
    assert panel.live.layout.display == "none"


def test_the_report_needs_no_kernel(panel):
    with_run(panel)
    page = panel.static_html()
    assert "ONNX Runtime" in page
    assert "How these numbers were obtained" in page
    assert "<script src" not in page


def test_figures_hold_what_was_measured():
    results = results_under(invented_sweep(), Slo(ttft_s=0.5, tpot_s=0.05, attainment_fraction=0.9))
    share = attainment_by_rate(results, labels=LABELS, attainment_fraction=0.9, best="onnx")
    assert [list(t.x) for t in share.data] == [[1, 2, 4, 8, 16]] * 2
    assert list(share.data[0].y) == [100, 100, 100, 0, 0]
    waits = latency_by_rate(results, labels=LABELS, ttft_s=0.5)
    assert list(waits.data[0].y) == [50, 50, 50, 2000, 2000]
    assert "ms" in waits.layout.yaxis.title.text


def test_attainment_recounted_equals_attainment_measured():
    run = invented_sweep()
    same = results_under(run, Slo(ttft_s=0.5, tpot_s=0.05, attainment_fraction=0.9))
    measured = [t.attainment_fraction for r in run.rows(EngineResult) for t in r.trials]
    assert [t.attainment_fraction for r in same for t in r.trials] == measured
    strict_slo = Slo(ttft_s=0.01, tpot_s=0.05, attainment_fraction=0.9)
    assert verdict(results_under(run, strict_slo), strict_slo).best is None


def test_specs_survive_their_json_form():
    spec = LoadSpec(url="http://localhost:1", model="m", rate_per_s=3.0, slo_ttft_s=0.2)
    assert LoadSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    names = {}
    exec(spec.as_code().replace("result = run(spec)", ""), names)
    assert names["spec"] == spec


def test_a_shape_without_weights_is_run_with_random_ones_and_a_gpu_run_is_priced_as_that_gpu(panel):
    assert not panel.plan.random_weights
    panel.runs = [invented_sweep(device="NVIDIA H200", model="data/models/llama-3.1-8b-shape")]
    panel.controls["model"].value = "data/models/llama-3.1-8b-shape"
    assert panel.plan.random_weights
    assert panel.state.usd_per_hour > 1


def test_engines_that_were_not_measured_have_a_launch_command_and_say_that_they_were_not_started(panel):
    with_run(panel)
    commands, features = panel.tabs_html[0].value, panel.tabs_html[1].value
    assert "sglang.launch_server" in commands
    assert "not started: wants torch 2.14.1" in commands
    assert "NVFP4" in features
    assert "decode context" in features


def test_servers_by_url_and_engines_with_settings_can_be_compared_too(panel):
    others = panel.controls["engines"].others
    others.value = "http://host:8000/v1, torch --kv-tokens 4096"
    assert panel.plan.engines[-2:] == ("http://host:8000/v1", "torch --kv-tokens 4096")
    panel.controls["engines"].buttons["onnx"].value = False
    assert panel.plan.engines == ("torch", "http://host:8000/v1", "torch --kv-tokens 4096")
    others.value = "sglang"
    panel.job_bar.run.click()
    wait_for(lambda: "no engine that can be started here" in panel.message.value)
    assert "name the URL" in panel.message.value


def test_a_model_without_a_run_shows_no_plot_of_another_one(panel):
    with_run(panel)
    assert all(plot.outputs for plot in panel.plots)
    panel.controls["model"].value = "some/other-model"
    assert not any(plot.outputs for plot in panel.plots)
    assert "Nothing was measured with this model yet." in panel.table.value
    assert "meets the SLO" not in panel.table.value


def test_the_csv_has_a_row_for_each_engine_and_rate(panel):
    rows = panel.csv_rows(invented_sweep())
    assert len(rows) == 10
    assert {(r["engine"], r["rate_per_s"]) for r in rows} == {
        (e, r) for e in ("torch", "onnx") for r in (1, 2, 4, 8, 16)
    }
