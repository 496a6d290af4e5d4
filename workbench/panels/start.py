"""The first page: what is here, the thirteen questions, and how the published claims stand."""

from collections import Counter
from html import escape

import ipywidgets as widgets

from workbench.catalog.paths import MEASURED
from workbench.catalog.tables import claims, questions
from workbench.core.runs import Run
from workbench.experiments.examination import examine_all
from workbench.experiments.precision_claims import score
from workbench.figures.tables import table
from workbench.jobs.manager import JobManager
from workbench.panels.base import Panel, StaticPanel, html, set_html
from workbench.panels.quantization_state import known_runs
from workbench.panels.shared_view import runs_of_kind
from workbench.telemetry.doctor import Finding

MARKS = {"ok": "✓", "missing": "–", "problem": "✗"}
OUTCOMES = ("confirmed", "partly", "refuted", "not yet tested")


def doctor(manager: JobManager | None = None) -> StaticPanel:
    """What this machine has and every problem with its remedy."""
    return StaticPanel(doctor_table(examine_all((manager or JobManager()).home)))


def doctor_table(findings: list[Finding]) -> str:
    """Findings as a table, problems first."""
    order = {"problem": 0, "missing": 1, "ok": 2}
    rows = [
        (
            f"{MARKS[f.state]} {escape(f.topic)}",
            escape(f.value),
            escape(f.remedy),
        )
        for f in sorted(findings, key=lambda f: order[f.state])
    ]
    return table(("What", "found", "remedy"), rows, left=(1, 2))


def question_map() -> StaticPanel:
    """The thirteen questions; those that are answered already link to their notebook."""
    cards = []
    for q in questions():
        text = f"<b>{q.number}. {escape(q.title)}</b>"
        if q.is_ready:
            cards.append(f"<a href='{q.notebook}.ipynb'>{text}open {q.notebook}</a>")
        else:
            cards.append(f"<span class='card'>{text}planned: {q.notebook}</span>")
    return StaticPanel(f"<div class='wb-map'>{''.join(cards)}</div>")


class ClaimsPanel(Panel):
    """The score of the published claims, by question."""

    def __init__(self, runs: list[Run]) -> None:
        super().__init__()
        self.scored = [score(c, runs) for c in claims()]
        numbers = sorted({c.question for c in claims()})
        titles = {q.number: q.title for q in questions()}
        options: list[tuple[str, int]] = [("all questions", 0), *((f"{n}. {titles[n]}", n) for n in numbers)]
        self.question = widgets.Dropdown(
            options=options, value=2, description="Question", layout=widgets.Layout(max_width="480px")
        )
        self.view = html()
        self.question.observe(self.guarded(lambda change: self.draw(change["new"])), names="value")
        self.root.children = (*self.root.children, self.question, self.view)
        self.draw(2)

    def draw(self, question: int) -> None:
        """Show the claims of one question, or all."""
        set_html(self.view, self.content(question))

    def content(self, question: int) -> str:
        """Summary and table."""
        chosen = [s for s in self.scored if question in {0, s.claim.question}]
        counts = Counter(s.outcome for s in self.scored)
        summary = " · ".join(f"{counts[o]} {o}" for o in OUTCOMES)
        rows = [
            (
                escape(s.claim.technique),
                s.claim.metric.replace("_", " "),
                f"▬ {escape(s.claim.shown_range)}",
                escape(s.claim.condition),
                s.outcome,
                ("● " if s.measured != "–" else "") + escape(s.measured),
                escape(s.device),
            )
            for s in chosen
        ]
        head = ("Technique", "metric", "claimed", "condition", "outcome", "measured", "on")
        return f"<p><b>All {len(self.scored)} claims:</b> {summary}</p>{table(head, rows, left=(1, 2, 3, 4, 5, 6))}"

    def static_html(self) -> str:
        """All claims."""
        return f"<div class='wb'>{self.content(0)}</div>"


def claims_score(manager: JobManager | None = None) -> ClaimsPanel:
    """How the FAQ's claims stand against the stored runs."""
    store = (manager or JobManager()).store
    return ClaimsPanel([*known_runs(store), *runs_of_kind("serving_speed", store=store, shipped=MEASURED)])
