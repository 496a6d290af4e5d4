"""The panels of surges, scaling, security and rollouts, by driving their controls."""

import ipywidgets
import pytest

from workbench.jobs.manager import JobManager
from workbench.panels import rollout, scaling, security, surge
from workbench.testing.waiting import figure_titles, wait_for

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def manager(tmp_path):
    yield JobManager(tmp_path / "home")
    ipywidgets.Widget.close_all()


def titles(panel):
    return [t.split("<br>")[0].removeprefix("<b>").removesuffix("</b>") for t in figure_titles(panel)]


def test_a_surge_is_shown_by_way_and_tenant(manager):
    panel = surge.panel(manager=manager, poll_s=0.05)
    assert "can answer is answered in time" in panel.answer.value
    assert titles(panel) == ["Answered in time", "What each tenant gets of its fair share"]
    assert "--max-num-queued-reqs" in panel.tabs_html[1].value
    panel.controls["way"].value = "queue"
    assert (
        "concurrency limit and fair queue"
        in panel.plots[0].outputs[0]["data"]["application/vnd.plotly.v1+json"]["layout"]["title"]["text"]
    )
    panel.controls["overload"].value = 4.5
    assert "--overload 4.5" in panel.tabs_html[2].value
    assert "overload=4.5" in panel.tabs_html[3].value
    assert panel.errors == []


def test_a_surge_before_nothing_is_told(manager):
    panel = surge.panel(manager=manager, poll_s=0.05)
    panel.controls["model"].value = "/no/such/folder"
    panel.job_bar.run.click()
    wait_for(lambda: "wb-message failure" in panel.message.value, 60)
    assert panel.errors == []


def test_scaling_is_played_for_every_choice(manager):
    panel = scaling.panel(manager=manager, poll_s=0.05)
    assert titles(panel) == ["Broken promises against cost", "Replicas over time"]
    assert panel.job_bar.box not in panel.root.children[-1].children[0].children
    before = panel.answer.value
    panel.controls["trace"].value = "code"
    assert panel.answer.value != before
    panel.controls["start_s"].value = 300.0
    assert "--start-s 300" in panel.tabs_html[1].value
    assert "pre-warmed scaling" in panel.tabs_html[0].value
    panel.controls["warm"].value = 3
    assert "ours, 3 warm" in panel.table.value
    assert panel.errors == []


def test_a_text_is_redacted_as_it_is_typed_and_a_corpus_is_scored(manager):
    panel = security.panel(manager=manager, poll_s=0.05)
    assert "<mark>[CARD]</mark>" in panel.beside.value
    panel.controls["text"].value = "<script>mail a@example.com</script>"
    assert "<mark>[EMAIL]</mark>" in panel.beside.value
    assert "<script>" not in panel.beside.value
    panel.controls["seed"].value = 31_337
    panel.controls["n_per_kind"].value = 10
    panel.job_bar.run.click()
    wait_for(lambda: "seed 31337" in panel.header.value, 60)
    assert titles(panel) == ["How much is found", "How much of what is found is right"]
    assert "--seed 31337 --texts 10" in panel.tabs_html[2].value
    assert panel.errors == []


def test_every_threat_has_a_control_and_what_it_cannot_do():
    shown = security.threats().content
    for word in ("model extraction", "injection", "tampered model", "prompt injection", "differential privacy"):
        assert word in shown


def test_rollouts_are_shown_with_their_evidence(manager):
    panel = rollout.panel(manager=manager, poll_s=0.05)
    assert "went where they should" in panel.answer.value
    assert titles(panel) == ["How far each version got", "Evidence against the new version"]
    assert "disagreement" in panel.tabs_html[0].value
    panel.controls["scenarios"].value = ("slow",)
    assert "--scenarios slow" in panel.tabs_html[2].value
    panel.controls["scenarios"].value = ()
    assert "Choose at least one" in panel.tabs_html[3].value
    panel.job_bar.run.click()
    wait_for(lambda: "There is no scenario" in panel.message.value, 10)
    assert panel.errors == []


def test_judges_err_as_often_as_is_drawn(manager):
    panel = rollout.odds_panel(manager=manager, poll_s=0.05)
    assert titles(panel) == ["How often it is rolled back"]
    before = panel.table.value
    panel.controls["new_percent"].value = 1.0
    assert panel.table.value != before
    assert panel.errors == []
