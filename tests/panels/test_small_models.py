"""The panels of pictures, fusion and small devices, by driving their controls."""

import ipywidgets
import pytest

from workbench.jobs.manager import JobManager
from workbench.panels import edge, fusion, image_tokens, images
from workbench.testing.waiting import figure_titles, wait_for

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def manager(tmp_path):
    yield JobManager(tmp_path / "home")
    ipywidgets.Widget.close_all()


def titles(panel):
    return [t.split("<br>")[0].removeprefix("<b>").removesuffix("</b>") for t in figure_titles(panel)]


def test_tokens_follow_size_and_model(manager):
    panel = image_tokens.panel(manager=manager, poll_s=0.05)
    assert "1,176 tokens a picture" in panel.answer.value
    assert titles(panel) == ["Tokens of a picture"]
    panel.controls["width_px"].value = 896
    assert "784 tokens a picture" in panel.answer.value
    panel.controls["model"].value = "google/gemma-3-12b-it (text)"
    assert "256 tokens a picture" in panel.answer.value
    panel.controls["n_images"].value = 10
    assert "the prompt has 2,644" in panel.answer.value
    assert "height_px=896, width_px=896" in panel.tabs_html[1].value
    assert panel.errors == []


def test_a_picture_that_a_processor_refuses_is_said(manager):
    panel = image_tokens.panel(manager=manager, poll_s=0.05)
    panel.controls["height_px"].value = 20
    panel.controls["width_px"].value = 8000
    assert "Not possible" in panel.answer.value
    assert "200 to 1" in panel.answer.value
    panel.controls["width_px"].value = 400
    assert "tokens a picture" in panel.answer.value
    assert panel.errors == []


def test_parts_and_caches_of_the_shipped_run(manager):
    panel = images.panel(manager=manager, poll_s=0.05)
    assert "of the time to the first token" in panel.answer.value
    assert titles(panel) == ["Time to the first token, by part", "When a cache of pictures pays"]
    assert "pays from" in panel.tabs_html[0].value
    assert "error" in panel.tabs_html[1].value
    n_rows = panel.table.value.count("<tr")
    panel.controls["only_held_out"].value = True
    assert panel.table.value.count("<tr") < n_rows
    panel.controls["repeats"].value = 9
    assert "repeats=9" in panel.tabs_html[3].value
    assert panel.errors == []


def test_without_a_gpu_a_run_of_pictures_says_why(manager):
    panel = images.panel(manager=manager, poll_s=0.05)
    panel.job_bar.run.click()
    wait_for(lambda: "wb-message failure" in panel.message.value, 90)
    assert "torchvision" in panel.message.value or "vLLM" in panel.message.value
    panel.controls["hit_size"].value = "big"
    assert "not a size" in panel.message.value
    panel.controls["hit_size"].value = "448x448"


def test_fusion_shows_what_dropping_saves(manager):
    panel = fusion.panel(manager=manager, poll_s=0.05)
    assert "when modalities were dropped in training" in panel.answer.value
    assert titles(panel)[0] == "When pictures are missing"
    panel.controls["batch"].value = "64"
    assert "batch 64" in figure_titles(panel)[1]
    assert "guaranteed loss" in panel.tabs_html[1].value
    assert "20 to 40 %" in panel.tabs_html[4].value
    panel.controls["routed"].value = "early"
    assert "--routed early" in panel.tabs_html[5].value
    assert panel.errors == []


def test_edge_shows_the_gate_and_chooses_under_limits(manager):
    panel = edge.panel(manager=manager, poll_s=0.05)
    assert titles(panel) == ["Really faster here?", "Size", "Accuracy"]
    assert "beside student: <b>slower</b>" in panel.table.value
    before = panel.answer.value
    panel.controls["memory_mib"].value = 0.1
    assert "Nothing keeps these limits" in panel.answer.value
    assert "memory" in panel.tabs_html[0].value
    panel.controls["memory_mib"].value = 0.0
    assert panel.answer.value == before
    panel.controls["latency_ms"].value = 0.2
    assert panel.answer.value != before
    assert "--latency-ms 0.2" in panel.tabs_html[4].value
    panel.controls["batch"].value = "256"
    assert "batch 256" in panel.answer.value
    assert "75 %" in panel.tabs_html[3].value
    assert "TensorRT" in panel.tabs_html[2].value
    language = next(r.id for r in panel.runs if r.spec["model"] != "digits")
    panel.controls["run_id"].value = language
    assert panel.state.batch == "1"
    assert "perplexity" in panel.table.value
    assert panel.errors == []


def test_a_graph_that_is_not_there_is_said(manager):
    panel = edge.panel(manager=manager, poll_s=0.05)
    panel.controls["model"].value = "/no/such/model.onnx"
    panel.job_bar.run.click()
    wait_for(lambda: "wb-message failure" in panel.message.value, 60)
    assert "There is no graph" in panel.message.value
    assert panel.errors == []


@pytest.mark.slow
def test_the_edge_run_is_cancelled_and_nothing_is_lost(manager):
    panel = edge.panel(manager=manager, poll_s=0.05)
    shown = panel.state.run_id
    panel.job_bar.run.click()
    wait_for(lambda: panel.job_id is not None and manager.view(panel.job_id).step, 60)
    panel.job_bar.cancel.click()
    wait_for(lambda: "Cancelled" in panel.message.value, 30)
    assert panel.state.run_id == shown
    assert panel.errors == []
