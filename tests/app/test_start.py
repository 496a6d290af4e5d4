import json
import re
import threading
from dataclasses import replace
from pathlib import Path

import ipywidgets
import pytest
from markupsafe import escape

from workbench.app import lab_links, start
from workbench.app.start import doctor_table
from workbench.catalog.paths import MEASURED
from workbench.questions.cost.panel import CostPanel
from workbench.questions.multimodal.panel import ImagesPanel
from workbench.questions.rollout.panel import RolloutPanel
from workbench.questions.security.panel import SecurityPanel
from workbench.questions.surge.panel import SurgePanel
from workbench.store.runs import read_run_file
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


def test_the_map_has_fourteen_cards_and_links_only_what_exists(manager):
    panel = start.question_map(manager)
    content = panel.content()
    assert content.count("<b>") == 14
    linked = re.findall(r"href='(\d\d_[a-z_]+)\.ipynb'", content)
    assert content.count("<a ") == len(linked) == len(set(linked))
    assert set(linked) == {p.stem for p in NOTEBOOKS.glob("*.ipynb")} - {"00_start"}
    panel.reading.join()
    assert panel.errors == []


def test_cards_stand_before_their_answers_are_known(manager, monkeypatch):
    read = threading.Event()
    monkeypatch.setattr(start, "_answer", lambda *_: read.wait() and ("The answer.", "", ""))
    panel = start.question_map(manager)
    assert panel.view.value.count("<b>") == 14
    assert "The answer." not in panel.view.value
    read.set()
    panel.reading.join()
    assert panel.view.value.count("The answer.") == 14


def test_each_card_shows_the_verdict_that_its_notebook_opens_with(manager):
    panel = start.question_map(manager)
    panel.reading.join()
    assert panel.errors == []
    assert {text for text, _, _ in panel.answers.values()}.isdisjoint({start.UNKNOWN, start.COMPUTING})
    shown = {
        "security": SecurityPanel,
        "surge": SurgePanel,
        "rollout": RolloutPanel,
        "multimodal": ImagesPanel,
        "cost": CostPanel,
    }
    for slug, kind in shown.items():
        headline, note, mark = panel.answers[slug]
        assert escape(headline) in kind(manager).answer.value, slug
        assert note
        assert mark == ""
    ipywidgets.Widget.close_all()


def test_an_answer_of_this_machine_is_marked(manager):
    stored = read_run_file(MEASURED / "redaction_epyc-2-cores.json")
    manager.store.add(replace(stored, id="own", finished_at="2027-01-01T00:00:00+00:00"))
    panel = start.question_map(manager)
    panel.reading.join()
    assert panel.answers["security"][1:] == ("● AMD EPYC, 2027-01-01, run own", start.HERE)
    assert panel.answers["surge"][2] == ""


def test_a_click_opens_a_tab_where_the_server_is_known(manager, monkeypatch, tmp_path):
    about, here = tmp_path / "jpserver-7.json", tmp_path / "root" / "notebooks"
    here.mkdir(parents=True)
    about.write_text(json.dumps({"root_dir": str(tmp_path / "root")}))
    monkeypatch.setenv("JPY_PARENT_PID", "7")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(here)
    lab_links.server_root.cache_clear()
    content = start.question_map(manager).content()
    lab_links.server_root.cache_clear()
    assert "data-commandlinker-command='docmanager:open'" in content
    assert "notebooks/01_engines.ipynb" in content
    assert "target=" not in content
    monkeypatch.delenv("JPY_PARENT_PID")
    assert "target='_blank'" in start.question_map(manager).content()


def test_a_report_links_to_the_reports_beside_it(report_of):
    page = report_of("00_start").read_text()
    linked = re.findall(r"href='(\d\d_[a-z_]+)\.html'", page)
    assert set(linked) == {p.stem for p in NOTEBOOKS.glob("*.ipynb")} - {"00_start"}
    assert ".ipynb'" not in page
    assert '.ipynb"' not in page


def test_choosing_a_question_changes_the_claims(manager):
    panel = start.claims_score(manager)
    panel.judging.join()
    assert "LMDeploy" in panel.table.value
    panel.question.value = 8
    assert "spot instances" in panel.table.value
    assert "LMDeploy" not in panel.table.value
    panel.question.value = 10
    assert "claims nothing" in panel.table.value
    assert panel.errors == []
    ipywidgets.Widget.close_all()
