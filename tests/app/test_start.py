import re
from pathlib import Path

import ipywidgets
import pytest

from workbench.app import start
from workbench.app.start import doctor_table
from workbench.telemetry.doctor import Finding, examine

pytestmark = pytest.mark.usefixtures("strict")

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def test_the_doctor_names_a_remedy_for_everything_that_is_missing(tmp_path):
    findings = examine(tmp_path)
    assert {"processor", "Python", "reference model"} <= {f.topic for f in findings}
    assert all(f.remedy for f in findings if f.state != "ok")
    assert [f for f in findings if f.topic.startswith("GPU")]


def test_problems_come_first():
    findings = [
        Finding(topic="a", state="ok", value="1"),
        Finding(topic="b", state="problem", value="2", remedy="do <it>"),
    ]
    shown = doctor_table(findings)
    assert shown.index("✗ b") < shown.index("✓ a")
    assert "do &lt;it&gt;" in shown


def test_the_map_has_fourteen_cards_and_links_only_what_exists():
    content = start.question_map().content
    assert content.count("<b>") == 14
    linked = re.findall(r"(\d\d_[a-z_]+)\.ipynb", content)
    assert content.count("<a ") == len(linked) == len(set(linked))
    assert set(linked) == {p.stem for p in NOTEBOOKS.glob("*.ipynb")} - {"00_start"}


def test_a_report_links_to_the_reports_beside_it(report_of):
    page = report_of("00_start").read_text()
    linked = re.findall(r"href='(\d\d_[a-z_]+)\.html'", page)
    assert set(linked) == {p.stem for p in NOTEBOOKS.glob("*.ipynb")} - {"00_start"}
    assert ".ipynb'" not in page
    assert '.ipynb"' not in page


def test_choosing_a_question_changes_the_claims(manager):
    panel = start.claims_score(manager)
    assert "INT4 AWQ" in panel.view.value
    panel.question.value = 8
    assert "spot instances" in panel.view.value
    assert "INT4 AWQ" not in panel.view.value
    assert panel.errors == []
    ipywidgets.Widget.close_all()
