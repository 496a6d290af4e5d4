"""The panel of techniques, by driving its controls."""

import ipywidgets
import pytest
from support.waiting import figure_titles

from workbench.jobs.manager import JobManager
from workbench.questions.utilization.techniques.panel import TechniquesPanel

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def panel(tmp_path):
    yield TechniquesPanel(JobManager(tmp_path / "home"), poll_s=0.05)
    ipywidgets.Widget.close_all()


def test_gains_stand_beside_what_is_claimed(panel):
    assert "has the largest measured gain" in panel.answer.value
    on_a_processor = next(r for r in panel.runs if not r.environment.driver)
    panel.controls["run_id"].value = on_a_processor.id
    assert [t.split("<br>")[0] for t in figure_titles(panel)] == [
        "<b>Measured gain of each technique</b>",
        "<b>Step time by kind of operator</b>",
    ]
    assert "CUDA graphs need an NVIDIA GPU" in panel.table.value
    assert "◌ pool of cache blocks" in panel.table.value
    assert "explained by reading weights" in panel.tabs_html[0].value
    assert panel.errors == []


def test_techniques_are_chosen_and_what_cannot_run_here_says_why(panel):
    panel.controls["device"].value = "cpu"
    graphs = panel.controls["techniques"].buttons["graphs"]
    assert graphs.disabled
    assert "need an NVIDIA GPU" in graphs.tooltip
    panel.controls["techniques"].value = ("precision",)
    assert "--only precision" in panel.tabs_html[1].value
    panel.controls["techniques"].value = ()
    assert "No techniques are chosen" in panel.tabs_html[1].value
    assert panel.errors == []
