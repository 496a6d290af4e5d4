"""The first page: what is here, the fourteen questions, and how the published claims stand."""

from collections import Counter
from collections.abc import Sequence

import ipywidgets as widgets
from markupsafe import Markup

from workbench.app.examination import MARKS, examine_all
from workbench.catalog.paths import MEASURED
from workbench.catalog.tables import claims, questions
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.interface.html import block, bold, cards, joined, paragraph, table
from workbench.interface.panel import Panel, StaticPanel, html, set_html
from workbench.interface.shared_view import runs_of_kind
from workbench.jobs.manager import JobManager
from workbench.questions.quantization.claims.findings import score
from workbench.telemetry.doctor import Finding

OUTCOMES = ("confirmed", "partly", "refuted", "not yet tested")
CLAIM_HEAD = ("Technique", "metric", "claimed", "condition", "outcome", "measured", "on")
FIRST_QUESTION = 2


def doctor(manager: JobManager | None = None) -> StaticPanel:
    """Return what this machine has, and every problem with its remedy."""
    return StaticPanel(doctor_table(examine_all((manager or JobManager()).home)))


def doctor_table(findings: Sequence[Finding]) -> Markup:
    """Return findings as a table, problems first."""
    order = ("problem", "missing", "ok")
    in_order = sorted(findings, key=lambda f: order.index(f.state))
    rows = ((f"{MARKS[f.state]} {f.topic}", f.value, f.remedy) for f in in_order)
    return table(("What", "found", "remedy"), rows, left=(1, 2))


class QuestionMap(StaticPanel):
    """The fourteen questions: those that are answered link to their notebook, and in a report to the report beside it."""

    def __init__(self) -> None:
        super().__init__(self._cards("ipynb"))

    @staticmethod
    def _cards(ending: str) -> Markup:
        return cards(
            (f"{q.number}. {q.title}", f"open {q.notebook}", f"{q.notebook}.{ending}")
            if q.is_ready
            else (f"{q.number}. {q.title}", f"planned: {q.notebook}", None)
            for q in questions()
        )

    def static_html(self) -> Markup:
        """Return the questions with links to the reports that lie beside this one."""
        return block(self._cards("html"))


def question_map() -> QuestionMap:
    """Return the panel of the fourteen questions."""
    return QuestionMap()


class ClaimsPanel(Panel):
    """The score of the published claims, by question."""

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__()
        self.scored = [score(c, runs) for c in claims()]
        titles = {q.number: q.title for q in questions()}
        numbers = sorted({c.question for c in claims()})
        options: list[tuple[str, int]] = [("all questions", 0), *((f"{n}. {titles[n]}", n) for n in numbers)]
        self.question = widgets.Dropdown(
            options=options, value=FIRST_QUESTION, description="Question", layout={"max_width": "480px"}
        )
        self.view = html()
        self.question.observe(self.guarded(lambda change: self.draw(change["new"])), names="value")
        self.root.children = (*self.root.children, self.question, self.view)
        self.draw(FIRST_QUESTION)

    def draw(self, question: int) -> None:
        """Show the claims of one question, or all for 0."""
        set_html(self.view, self.content(question))

    def content(self, question: int) -> Markup:
        """Return the summary of all claims and the table of one question's, or of all for 0."""
        counts = Counter(s.outcome for s in self.scored)
        rows = [
            (
                s.claim.technique,
                s.claim.metric.replace("_", " "),
                f"{Provenance.PUBLISHED.mark} {s.claim.shown_range}",
                s.claim.condition,
                s.outcome,
                s.measured if s.measured == "–" else f"{Provenance.MEASURED.mark} {s.measured}",
                s.device,
            )
            for s in self.scored
            if question in {0, s.claim.question}
        ]
        summary = " · ".join(f"{counts[o]} {o}" for o in OUTCOMES)
        total = paragraph(bold(f"All {len(self.scored)} claims:"), f" {summary}")
        return joined(total, table(CLAIM_HEAD, rows, left=range(1, 7)))

    def static_html(self) -> Markup:
        """Return the table of all claims for a report."""
        return block(self.content(0))


def claims_score(manager: JobManager | None = None) -> ClaimsPanel:
    """Return how the FAQ's claims stand against the stored runs."""
    store = (manager or JobManager()).store
    kinds = ("quantization", "serving_speed")
    return ClaimsPanel([run for kind in kinds for run in runs_of_kind(kind, store=store, shipped=MEASURED)])
