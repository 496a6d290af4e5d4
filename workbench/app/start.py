"""The first page: the fourteen questions with their newest answers, what this machine has, and how the published claims stand."""

import os
from collections.abc import Collection, Sequence

from markupsafe import Markup

from workbench.app.claims_panel import claims_of_question, claims_score
from workbench.app.lab_links import lab_path
from workbench.catalog.tables import Question, questions
from workbench.core.language import gettext, gettext_noop
from workbench.core.runs import Run
from workbench.interface.export_mode import EXPORT_MODE
from workbench.interface.html import Card, block, cards, folded, joined, table
from workbench.interface.panel import Panel, StaticPanel, html, set_html
from workbench.jobs.manager import JobManager
from workbench.telemetry.doctor import Finding

__all__ = ["claims_of_question", "claims_score", "doctor", "doctor_table", "question_map"]
HERE = gettext("measured here")
UNKNOWN = gettext("Nothing was measured yet.")
COMPUTING = "…"
HARDWARE = ("GPU", gettext_noop("processor"))
FOLDED_TOPICS = (
    "transformers",
    "numpy",
    "jupyterlab",
    "ipywidgets",
    "plotly",
    "Python",
    gettext_noop("language"),
    gettext_noop("runs and jobs"),
    gettext_noop("reference model"),
)
"""Findings that are folded while they have no problem."""
DOCTOR_HEAD = (gettext("What"), gettext("found"), gettext("remedy"))


def doctor(manager: JobManager | None = None) -> StaticPanel:
    """Return what this machine has, and every problem with its remedy."""
    from workbench.app.examination import examine_all  # looks at engines and GPUs; the cards above must not wait

    return StaticPanel(doctor_table(examine_all((manager or JobManager()).home)))


def doctor_table(findings: Sequence[Finding]) -> Markup:
    """Return findings as a table, problems first, then GPUs, the processor and engines; packages without a problem are folded."""
    order = ("problem", "ok", "missing")
    in_order = sorted(
        findings, key=lambda f: (f.state != "problem", not f.topic.startswith(HARDWARE), order.index(f.state))
    )
    shown = [f for f in in_order if f.state == "problem" or f.topic not in FOLDED_TOPICS]
    rest = [f for f in in_order if f not in shown]
    head = table(DOCTOR_HEAD, _rows(shown), left=(1, 2))
    if not rest:
        return head
    summary = gettext("Packages and folders ({n})").format(n=len(rest))
    return joined(head, folded(summary, table(DOCTOR_HEAD, _rows(rest), left=(1, 2))))


def _rows(findings: Collection[Finding]) -> list[tuple[str, ...]]:
    from workbench.app.examination import MARKS

    return [(f"{MARKS[f.state]} {gettext(f.topic)}", f.value, f.remedy) for f in findings]


class QuestionMap(Panel):
    """The fourteen questions with their newest verdicts; a click opens the notebook, in a report the report beside it."""

    def __init__(self, manager: JobManager | None = None) -> None:
        super().__init__()
        self.manager = manager or JobManager()
        self.answers: dict[str, tuple[str, str, str]] = {}
        self.view = html(self.content())
        self.root.children = (*self.root.children, self.view)
        self.reading = None if os.environ.get(EXPORT_MODE) else self.in_background(self.read)

    def content(self, *, ending: str = "ipynb") -> Markup:
        """Return the cards, with links to files of an ending."""
        return cards(self._card(q, ending) for q in questions())

    def _card(self, question: Question, ending: str) -> Card:
        title, name = question.shown_title, f"{question.notebook}.{ending}"
        if not question.is_ready:
            return Card(title=title, text=gettext("planned: {notebook}").format(notebook=question.notebook))
        text, note, mark = self.answers.get(question.slug, (COMPUTING, "", ""))
        path = lab_path(name) if ending == "ipynb" else None
        return Card(title=title, text=text, note=note, mark=mark, address=name, lab_path=path)

    def read(self) -> None:
        """Find the newest answer to each question, and show each as soon as it is known."""
        from workbench.app.ledger import all_runs

        runs = all_runs(self.manager)
        own = {r.id for r in self.manager.store.newest()}
        for question in questions():
            self.answers[question.slug] = _answer(question.slug, runs, own)
            set_html(self.view, self.content())

    def static_html(self) -> Markup:
        """Return the cards with links to the reports that lie beside this one."""
        if not self.answers:
            self.read()
        return block(self.content(ending="html"))


def _answer(slug: str, runs: Sequence[Run], own: Collection[str]) -> tuple[str, str, str]:
    """Return the newest verdict of a question, where and when it was measured, and the mark of an answer of this machine."""
    from workbench.app.verdicts import newest_answer

    found = newest_answer(slug, runs)
    if found is None:
        return UNKNOWN, "", ""
    if found.run is None:
        computed = gettext("{mark} {obtained} for {place}")
        parts = {"mark": found.provenance.mark, "obtained": found.provenance.shown, "place": found.place}
        return found.headline, computed.format(**parts), ""
    measured = gettext("{mark} {place}, {day}, run {id}")
    about = {"mark": found.provenance.mark, "place": found.place, "day": found.run.day, "id": found.run.id}
    return found.headline, measured.format(**about), HERE if found.run.id in own else ""


def question_map(manager: JobManager | None = None) -> QuestionMap:
    """Return the panel of the fourteen questions."""
    return QuestionMap(manager)
