"""The panel of precision by layer, driven by its controls, on the shipped runs."""

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import ipywidgets
import pytest
from support.waiting import wait_for

from workbench.catalog.paths import MEASURED
from workbench.core.statistics import Interval
from workbench.jobs.manager import JobManager
from workbench.questions.quantization.plan_damage.rows import PlanDamage, PlanSamples
from workbench.questions.quantization.plan_damage.spec import PlanDamageSpec
from workbench.questions.quantization.sensitivity.panel import MixedPrecisionPanel
from workbench.store.runs import RunStore, read_run_file

FAKE = (str(Path(__file__).parents[2] / "support" / "fake_stored_run_child.py"),)
pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def jobs(tmp_path):
    return JobManager(tmp_path / "home", child=FAKE)


@pytest.fixture
def panel(jobs):
    made = MixedPrecisionPanel(jobs, poll_s=0.05, settle_s=0)
    yield made
    assert made.errors == made.verification.errors == []
    ipywidgets.Widget.close_all()


def figure(panel):
    return panel.plots[0].outputs[0]["data"]["application/vnd.plotly.v1+json"]


def trace(panel, name):
    return next(t for t in figure(panel)["data"] if t["name"] == name)


def plan_in_heat_map(panel):
    found = re.findall(r"data-group='([^']+)'[^>]*>([^<]+)</td>", panel.beside.value)
    return dict(found)


def plan_in_tab(panel):
    text = re.search(r"plan\.json \(.*?<pre[^>]*>(.*?)</pre>", panel.tabs_html[0].value, re.S).group(1)
    return json.loads(unescape(text))["plan"]


def short(form):
    return form.upper().removesuffix("A16")


def test_heat_map_plot_and_recipe_agree_on_the_plan_wherever_the_budget_is(panel):
    for budget in (4.3, 5.0, 6.5, 8.0):
        panel.controls["budget"].value = budget
        chosen = panel.chosen()
        assert plan_in_tab(panel) == dict(chosen.plan)
        assert plan_in_heat_map(panel) == {g: short(f) for g, f in chosen.plan.items()}
        marker = trace(panel, "chosen plan")
        assert marker["x"][0] == pytest.approx(chosen.cost)
        assert marker["y"][0] == pytest.approx(chosen.damage)
        recipe = json.loads(unescape(re.findall(r"<pre[^>]*>(.*?)</pre>", panel.tabs_html[0].value, re.S)[-1]))
        modifiers = recipe["quantization_stage"]["quantization_modifiers"].values()
        targets = {t for m in modifiers for g in m["config_groups"].values() for t in g["targets"]}
        assert len(targets) == 5 * 7 - sum(f == "bf16" for f in chosen.plan.values())


def test_the_table_shows_damage_memory_and_time_of_the_plan_at_once(panel):
    assert "time, % of BF16" in panel.table.value
    assert "NVIDIA H200, llama-3.1-8b-shape, 1 token" in panel.table.value
    assert "the chosen plan" in panel.table.value
    before = panel.table.value
    panel.controls["budget"].value = 4.5
    assert panel.table.value != before


def test_a_click_on_a_corner_chooses_its_plan(panel):
    corner = trace(panel, "best plans")
    x, y = corner["x"][7], corner["y"][7]
    panel.relay.point = {"trace": "best plans", "x": x, "y": y, "count": 1}
    assert panel.chosen().cost == pytest.approx(x)
    assert trace(panel, "chosen plan")["y"][0] == pytest.approx(y)


def test_a_dragged_budget_moves_marker_heat_map_and_recipe_at_once_and_the_plots_data_when_it_rests(jobs):
    panel = MixedPrecisionPanel(jobs, poll_s=0.05, settle_s=0.2)
    drawn = figure(panel)
    for budget in (4.4, 4.8, 5.2):
        panel.controls["budget"].value = budget
        chosen = panel.chosen()
        assert panel.relay.marker["x"] == pytest.approx(chosen.cost)
        assert plan_in_heat_map(panel) == {g: short(f) for g, f in chosen.plan.items()}
        assert plan_in_tab(panel) == dict(chosen.plan)
    assert figure(panel) == drawn
    wait_for(lambda: trace(panel, "chosen plan")["x"][0] == pytest.approx(panel.chosen().cost))
    panel.relay.point = {"trace": "best plans", "x": 6.0, "y": 1.0, "count": 1}
    assert panel.controls["budget"].value == pytest.approx(6.0, abs=1e-4)
    assert panel.errors == []


def test_formats_without_a_kernel_start_unticked_and_say_why(panel):
    assert "W5" not in {short(f) for f in panel.state.allowed}
    assert "no kernel in vLLM 0.26.0 on NVIDIA H200" in panel.controls["allowed"].buttons["w5a16"].tooltip
    before = panel.chosen().damage
    panel.controls["budget"].value = 5.0
    for name in ("w3a16", "w5a16", "w6a16"):
        panel.controls["allowed"].buttons[name].value = True
    assert panel.chosen().damage < before
    assert "verified: 0.00623" in panel.answer.value
    assert len(trace(panel, "random plans")["x"]) == 50


def test_another_unit_keeps_the_plan_and_shows_its_own_axis(panel):
    plan = dict(panel.chosen().plan)
    panel.controls["cost"].value = "bytes"
    assert dict(panel.chosen().plan) == plan
    assert "MB" in figure(panel)["layout"]["xaxis"]["title"]["text"]


def test_time_of_another_models_products_is_named_as_such(panel):
    options = dict(panel.controls["cost"].options)
    chosen = next(v for k, v in options.items() if "H200 · llama-3.1-8b" in k)
    panel.controls["cost"].value = chosen
    assert ("8", 8) in panel.controls["batch"].options
    panel.controls["batch"].value = 8
    panel.controls["budget"].value = panel.controls["budget"].min
    assert "% of BF16" in figure(panel)["layout"]["xaxis"]["title"]["text"]
    assert "measure the sensitivity of the model that you serve" in panel.answer.value


def test_verify_measures_the_shown_plan_and_puts_it_beside_the_prediction(panel, jobs, monkeypatch, tmp_path):
    panel.controls["budget"].value = 5.5
    spec = panel.plan_to_verify()
    assert isinstance(spec, PlanDamageSpec)
    assert dict(spec.plan) == dict(panel.chosen().plan)
    assert "has not been measured" in panel.answer.value
    result = PlanDamage(
        calibration_windows=64,
        calibration_tokens=32768,
        stored_bits=5.5,
        mean_kl_nat_per_token=Interval(0.01, 0.009, 0.011),
        n_windows=16,
        make_s=1.0,
    )
    sensitivity = read_run_file(MEASURED / "sensitivity_stdlib-9m_epyc-2-cores.json")
    (tmp_path / "run.json").write_text(
        replace(
            sensitivity, kind="plan_damage", spec={}, results=[result], samples=PlanSamples(), id="checked"
        ).to_json()
    )
    monkeypatch.setenv("WORKBENCH_FAKE_RUN", str(tmp_path / "run.json"))
    panel.verification.job_bar.run.click()
    wait_for(lambda: "verified: 0.0100" in panel.answer.value)
    assert jobs.store.newest("plan_damage")


def test_a_folder_that_is_no_model_gives_one_readable_message_and_offers_no_plan(panel):
    panel.controls["model"].value = "/nowhere/model"
    assert "Nothing was measured yet" in panel.answer.value
    assert panel.plots[0].outputs == ()
    panel.job_bar.run.click()
    wait_for(lambda: "There is no model at /nowhere/model" in panel.message.value)
    assert panel.verification.job_bar.run.disabled


def test_the_static_twin_carries_the_plans_for_a_budget_without_a_kernel(panel):
    static = panel.static_html()
    data = json.loads(re.search(r"wb-plans.*?<script type=\"application/json\">(.*?)</script>", static, re.S).group(1))
    assert len(data["groups"]) == 20
    costs = [s["cost"] for s in data["steps"]]
    assert costs == sorted(costs)
    assert all(len(s["plan"]) == len(s["formats"]) == 20 for s in data["steps"])
    start = data["steps"][data["start"]]  # the plan of the verdict, to the letter
    assert dict(zip(data["groups"], start["plan"], strict=True)) == dict(panel.chosen().plan)


def test_a_new_sensitivity_run_is_shown(panel, monkeypatch):
    monkeypatch.setenv("WORKBENCH_FAKE_RUN", str(MEASURED / "sensitivity_stdlib-9m_epyc-2-cores.json"))
    panel.job_bar.run.click()
    wait_for(lambda: panel.job_id and panel.job_id in panel.header.value)
    assert isinstance(panel.manager.store, RunStore)


def test_every_control_says_what_it_is(panel):
    assert all(getattr(control, "description", None) or control.children for control in panel.controls.values())
