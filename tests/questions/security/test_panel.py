"""The panel of redaction and the threats, by driving their controls."""

from importlib.util import find_spec

import ipywidgets
import pytest
from support.waiting import figure_titles, wait_for

from workbench.jobs.manager import JobManager
from workbench.questions.security.panel import SecurityPanel, threats

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def manager(tmp_path):
    yield JobManager(tmp_path / "home")
    ipywidgets.Widget.close_all()


def titles(panel):
    return [t.split("<br>")[0].removeprefix("<b>").removesuffix("</b>") for t in figure_titles(panel)]


def test_a_text_is_redacted_as_it_is_typed_and_a_corpus_is_scored(manager):
    panel = SecurityPanel(manager, poll_s=0.05)
    assert "<mark>[CARD]</mark>" in panel.beside.value
    panel.text.value = "<script>mail a@example.com</script>"
    assert "<mark>[EMAIL]</mark>" in panel.beside.value
    assert "<script>" not in panel.beside.value
    panel.controls["seed"].value = 31_337
    panel.controls["n_per_kind"].value = 10
    panel.job_bar.run.click()
    wait_for(lambda: "seed 31337" in panel.header.value)
    assert titles(panel) == ["Recall by class", "Precision by class"]
    assert "workbench redact --score --seed 31337 --texts 10" in panel.tabs_html[2].value
    assert "<mark>[EMAIL]</mark>" in panel.static_html()
    assert panel.errors == []


def test_a_detector_that_is_not_installed_says_how_to_get_it(manager):
    panel = SecurityPanel(manager, poll_s=0.05)
    button = panel.controls["detectors"].buttons["presidio"]
    assert button.disabled == (find_spec("presidio_analyzer") is None)
    assert "pip install presidio-analyzer" in button.tooltip or not button.disabled
    panel.controls["detectors"].value = ("workbench",)
    assert "--detectors workbench" in panel.tabs_html[2].value
    panel.controls["detectors"].value = ()
    assert "No detector was chosen" in panel.tabs_html[2].value
    assert panel.errors == []


def test_every_threat_has_a_control_and_what_it_cannot_do():
    shown = threats().content
    for word in ("model extraction", "injection", "tampered model", "prompt injection", "differential privacy"):
        assert word in shown
