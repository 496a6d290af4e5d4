"""The panels of image tokens, images in vLLM and fusion, by driving their controls."""

import ipywidgets
import pytest
from support.waiting import figure_titles, wait_for

from workbench.jobs.manager import JobManager
from workbench.questions.multimodal.fusion.panel import FusionPanel
from workbench.questions.multimodal.panel import ImagesPanel
from workbench.questions.multimodal.tokens.panel import ImageCostPanel

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def manager(tmp_path):
    yield JobManager(tmp_path / "home")
    ipywidgets.Widget.close_all()


def titles(panel):
    return [t.split("<br>")[0].removeprefix("<b>").removesuffix("</b>") for t in figure_titles(panel)]


def test_tokens_follow_size_and_model(manager):
    panel = ImageCostPanel(manager, poll_s=0.05)
    assert "One image takes 1,176 tokens" in panel.answer.value
    assert "◌ estimated" in panel.header.value
    assert titles(panel) == ["Tokens of an image"]
    panel.controls["size"].value = "896x896"
    assert "One image takes 784 tokens" in panel.answer.value
    panel.controls["model"].value = "google/gemma-3-12b-it"
    assert "One image takes 256 tokens" in panel.answer.value
    panel.controls["n_images"].value = 10
    assert "the prompt has 2,644" in panel.answer.value
    assert "images cost google/gemma-3-12b-it 896x896 --images 10" in panel.tabs_html[1].value
    assert panel.errors == []


def test_the_price_is_the_listed_one_until_another_is_given(manager):
    panel = ImageCostPanel(manager, poll_s=0.05)
    assert "USD/h (estimated at the median of" in panel.table.value
    assert "3.39 (verda) to 10.60 (gcp)" in panel.table.value
    panel.controls["usd_per_hour"].value = "7"
    assert "7 USD/h (own price)" in panel.table.value
    assert panel.errors == []


def test_an_image_that_a_processor_refuses_is_said(manager):
    panel = ImageCostPanel(manager, poll_s=0.05)
    panel.controls["size"].value = "20x8000"
    assert "Not possible" in panel.answer.value
    assert "200 to 1" in panel.answer.value
    panel.controls["size"].value = "big"
    assert "not a size" in panel.answer.value
    panel.controls["size"].value = "20x400"
    assert "One image takes" in panel.answer.value
    assert panel.errors == []


def test_parts_and_caches_of_the_shipped_run(manager):
    panel = ImagesPanel(manager, poll_s=0.05)
    assert "% of TTFT" in panel.answer.value
    assert titles(panel) == ["TTFT by part", "TTFT by hit rate and cache"]
    assert "break-even hit rate" in panel.tabs_html[0].value
    assert "error" in panel.tabs_html[1].value
    assert "448x448" in panel.tabs_html[2].value
    n_rows = panel.table.value.count("<tr")
    panel.controls["only_held_out"].value = True
    assert panel.table.value.count("<tr") < n_rows
    panel.controls["repeats"].value = 9
    assert "--repeats 9" in panel.tabs_html[3].value
    assert "repeats=9" in panel.tabs_html[4].value
    assert panel.errors == []


def test_without_a_gpu_a_run_of_images_says_why(manager):
    panel = ImagesPanel(manager, poll_s=0.05)
    panel.job_bar.run.click()
    wait_for(lambda: "wb-message failure" in panel.message.value)
    assert "torchvision" in panel.message.value
    panel.controls["hit_size"].value = "big"
    assert "not a size" in panel.tabs_html[3].value
    panel.controls["hit_size"].value = "448x448"
    assert "--hit-size 448x448" in panel.tabs_html[3].value


def test_fusion_shows_what_dropping_saves(manager):
    panel = FusionPanel(manager, poll_s=0.05)
    assert "modality dropout in training" in panel.answer.value
    assert titles(panel)[0] == "Accuracy with missing images"
    panel.controls["batch"].value = "64"
    assert "batch size 64" in figure_titles(panel)[1]
    assert "corrupted images, no captions" in panel.tabs_html[0].value
    assert "guaranteed accuracy loss" in panel.tabs_html[1].value
    panel.controls["routed"].value = "early"
    assert "--routed early" in panel.tabs_html[4].value
    assert panel.errors == []
