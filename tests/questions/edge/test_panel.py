"""The panel of small devices, by driving its controls."""

import ipywidgets
import pytest
from support.waiting import figure_titles, wait_for

from workbench.questions.edge.panel import EdgePanel
from workbench.questions.edge.rows import Choice, LengthsResult

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def panel(manager):
    panel = EdgePanel(manager, poll_s=0.05)
    yield panel
    assert panel.errors == []
    ipywidgets.Widget.close_all()


def test_edge_shows_speed_verdicts_and_chooses_within_limits(panel):
    titles = [t.split("<br>")[0].removeprefix("<b>").removesuffix("</b>") for t in figure_titles(panel)]
    assert titles == ["Speed-up over float32", "Size", "Accuracy"]
    assert "relative to student: slower" in panel.table.value
    before = panel.answer.value
    panel.controls["memory_mib"].value = "0.1"
    assert "No setting is within these limits" in panel.answer.value
    assert "memory" in panel.tabs_html[0].value
    panel.controls["memory_mib"].value = ""
    assert panel.answer.value == before
    panel.controls["latency_ms"].value = "0.2"
    assert panel.answer.value != before
    assert "No inputs of different lengths" in panel.tabs_html[3].value
    assert "--latency-ms 0.2" in panel.tabs_html[4].value
    panel.controls["batch"].value = "256"
    assert "batch size 256" in panel.answer.value
    assert "TensorRT" in panel.tabs_html[2].value
    language = next(r for r in panel.runs if r.rows(LengthsResult))
    panel.controls["run_id"].value = language.id
    assert panel.state.batch == "1"
    assert "perplexity" in panel.table.value
    assert panel.tabs_html[3].value.count("<tr") == 1 + len(language.rows(LengthsResult))
    assert "At batch size 1, padding to the longest of the batch" in panel.tabs_html[3].value
    ratio = {r.batch: r.speedup.ratio for r in language.rows(LengthsResult) if r.padding == "dynamic"}
    assert f"At batch size 1, padding to the longest of a batch is {ratio[1]:.2f}" in panel.answer.value
    panel.controls["batch"].value = "8"
    assert f"At batch size 8, padding to the longest of a batch is {ratio[8]:.2f}" in panel.answer.value
    assert not any("Speed-up" in title for title in figure_titles(panel))


def test_the_run_that_is_shown_first_has_a_chosen_setting(panel):
    first = next(r for r in panel.runs if r.id == panel.state.run_id)
    assert first.row(Choice)
    assert panel.runs[0].row(Choice) is None  # which is newer


def test_a_graph_that_is_not_there_is_said(panel):
    panel.controls["model"].value = "/no/such/model.onnx"
    panel.job_bar.run.click()
    wait_for(lambda: "wb-message failure" in panel.message.value)
    assert "There is no graph" in panel.message.value


@pytest.mark.slow
def test_the_edge_run_is_cancelled_and_nothing_is_lost(panel, manager):
    shown = panel.state.run_id
    panel.job_bar.run.click()
    wait_for(lambda: panel.job_id is not None and manager.view(panel.job_id).step)
    panel.job_bar.cancel.click()
    wait_for(lambda: "Cancelled" in panel.message.value)
    assert panel.state.run_id == shown
