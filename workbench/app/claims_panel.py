"""The ledger as it is shown: the score by question on the start page, and the claims of one question in its notebook."""

import os
from collections.abc import Sequence

import ipywidgets as widgets
from markupsafe import Markup

from workbench.app.lab_links import lab_path
from workbench.app.ledger import all_runs, counted, decisions, ledger
from workbench.catalog.ledger import Decision, Entry, Judgement, Outcome, shown_value
from workbench.catalog.tables import Claim, questions
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.interface.export_mode import EXPORT_MODE
from workbench.interface.html import (
    EMPTY,
    block,
    bold,
    code,
    heading,
    joined,
    lines,
    link,
    note,
    paragraph,
    small,
    table,
    wide,
)
from workbench.interface.panel import Panel, html, set_html
from workbench.jobs.manager import JobManager

HEAD = (
    gettext("Claim"),
    gettext("outcome"),
    gettext("value"),
    gettext("claimed {mark}").format(mark=Provenance.PUBLISHED.mark),
    gettext("device and runs"),
    gettext("how it was judged"),
)
SHORT = {
    Outcome.LESS: gettext("less"),
    Outcome.MORE: gettext("more"),
    Outcome.NOT_TESTED: gettext("not tested"),
}
SCORE_HEAD = (gettext("Question"), gettext("judged"), *(SHORT.get(o, o.shown) for o in Outcome))
RULES_TITLE = gettext("The FAQ's decision rules, and the answers of the workbench to the same inputs")
RULE_HEAD = (
    gettext("Rule and case"),
    gettext("the FAQ's rule says"),
    gettext("the workbench says"),
    gettext("comparison"),
)
LEGEND = gettext(
    "“Less” and “more” are about the benefit: a shorter time than claimed is more than claimed. A value whose 95 % interval reaches into the claimed range "
    "confirms the claim; a single claimed number is taken with 10 %. A run outside the conditions of a claim does not judge it."
)
COMPUTING = gettext("Comparing the claims with the stored runs …")


def claim_rows(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """Return the cells of ``HEAD`` for each claim."""
    return [
        (
            lines((_subject(e.claim), *_condition(e))),
            e.judgement.outcome.shown,
            shown_value(e.claim, e.judgement),
            e.claim.shown_range if e.claim.low is not None or e.claim.high is not None else "–",
            lines([e.judgement.device, *(f"{r.id}, {r.day}" for r in e.judgement.runs)]) if e.judgement.runs else "–",
            _how(e.judgement),
        )
        for e in entries
    ]


def _subject(claim: Claim) -> str:
    parts = {"technique": gettext(claim.technique), "metric": gettext(claim.metric.replace("_", " "))}
    return gettext("{technique}, {metric}").format(**parts)


def _condition(entry: Entry) -> tuple[str, ...]:
    return (small(gettext(entry.claim.condition)),) if entry.claim.condition else ()


def _how(judgement: Judgement) -> str:
    how, reason = judgement.how, gettext(judgement.reason)
    if reason:
        how = gettext("{reason}: {how}").format(reason=f"{reason[0].upper()}{reason[1:]}", how=how)
    command = (joined(gettext("Test:"), " ", code(judgement.command)),) if judgement.command else ()
    return wide(lines((how, *command)))


def rule_rows(decided: Sequence[Decision]) -> list[tuple[str, ...]]:
    """Return the cells of ``RULE_HEAD`` for each decision."""
    return [
        (
            lines((d.rule, small(d.case))),
            d.faq,
            f"{d.provenance.mark} {d.ours}",
            gettext("the same") if d.is_same else gettext("different"),
        )
        for d in decided
    ]


def score_rows(entries: Sequence[Entry], *, ending: str) -> list[tuple[str, ...]]:
    """Return the cells of ``SCORE_HEAD`` for each question with claims, and for all together."""
    rows = []
    for question in questions():
        own = [e for e in entries if e.claim.question == question.number]
        if own:
            address = f"{question.notebook}.{ending}"
            title = link(question.shown_title, address, lab_path(address) if ending == "ipynb" else None)
            rows.append((title, *_counts(own)))
    return [*rows, (bold(gettext("all")), *_counts(entries))]


def _counts(entries: Sequence[Entry]) -> tuple[str, ...]:
    counts = counted(entries)
    n = sum(e.judgement.is_judged for e in entries)
    judged = gettext("{n} of {total}").format(n=n, total=len(entries))
    return (judged, *(str(counts[o]) if counts[o] else "–" for o in Outcome))


class LedgerPanel(Panel):
    """Claims beside what was measured; judged in the background, at once in a report."""

    def __init__(self, manager: JobManager | None = None) -> None:
        super().__init__()
        self.manager = manager or JobManager()
        self.entries: Sequence[Entry] = ()
        self.view = html(paragraph(COMPUTING))
        self.build()
        self.judging = None if os.environ.get(EXPORT_MODE) else self.in_background(self.judge)

    def build(self) -> None:
        """Put the widgets into the panel."""
        self.root.children = (*self.root.children, self.view)

    def judge(self) -> None:
        """Compare the claims with the runs, and show them."""
        self.entries = self.judged()
        set_html(self.view, self.content())

    def judged(self) -> Sequence[Entry]:
        """Return the entries that are shown."""
        raise NotImplementedError

    def content(self, *, ending: str = "ipynb") -> Markup:
        """Return what is shown of the entries, with links to files of an ending."""
        raise NotImplementedError

    def static_html(self) -> Markup:
        """Return the panel for a report."""
        self.entries = self.entries or self.judged()
        return block(self.content(ending="html"))


class QuestionClaims(LedgerPanel):
    """The claims about one question."""

    def __init__(self, question: int, manager: JobManager | None = None) -> None:
        self.question = question
        self.decisions: Sequence[Decision] = ()
        super().__init__(manager)

    def judged(self) -> Sequence[Entry]:
        """Return the entries of the question, after its decision rules."""
        runs = all_runs(self.manager)
        self.decisions = decisions(runs, self.question)
        return ledger(runs, self.question)

    def content(self, *, ending: str = "ipynb") -> Markup:  # noqa: ARG002
        """Return the table of the question's claims, and of the FAQ's decision rules where there are any."""
        rules = joined(heading(RULES_TITLE, level=3), table(RULE_HEAD, rule_rows(self.decisions), left=range(1, 4)))
        shown = joined(table(HEAD, claim_rows(self.entries), left=range(1, 6)), note(LEGEND)) if self.entries else EMPTY
        return joined(shown, rules if self.decisions else EMPTY)


class ClaimsScore(LedgerPanel):
    """The score of all claims by question, and the claims of a chosen one."""

    def __init__(self, manager: JobManager | None = None) -> None:
        titles = {q.number: q.shown_title for q in questions()}
        options: list[tuple[str, int]] = [(gettext("all questions"), 0), *((title, n) for n, title in titles.items())]
        self.question = widgets.Dropdown(
            options=options, value=1, description=gettext("Question"), layout={"width": "100%", "max_width": "640px"}
        )
        self.table = html()
        super().__init__(manager)

    def build(self) -> None:
        """Put the score above the choice of a question and its table."""
        self.question.observe(self.guarded(lambda _change: self.draw()), names="value")
        self.root.children = (*self.root.children, self.view, self.question, self.table)

    def judged(self) -> Sequence[Entry]:
        """Return the entries of all questions."""
        return ledger(all_runs(self.manager))

    def judge(self) -> None:
        """Compare the claims with the runs, and show score and table."""
        super().judge()
        self.draw()

    def draw(self) -> None:
        """Show the claims of the chosen question, or all for 0."""
        chosen = [e for e in self.entries if self.question.value in {0, e.claim.question}]
        nothing = paragraph(gettext("The FAQ claims nothing in numbers about this question."))
        shown = table(HEAD, claim_rows(chosen), left=range(1, 6)) if chosen else nothing
        set_html(self.table, joined(shown, note(LEGEND)) if self.entries else "")

    def content(self, *, ending: str = "ipynb") -> Markup:
        """Return the score by question; in a report followed by all claims."""
        score = table(SCORE_HEAD, score_rows(self.entries, ending=ending))
        if ending == "ipynb":
            return score
        return joined(score, table(HEAD, claim_rows(self.entries), left=range(1, 6)), note(LEGEND))


def claims_of_question(number: int, manager: JobManager | None = None) -> QuestionClaims:
    """Return the claims about a question, each beside what was measured."""
    return QuestionClaims(number, manager)


def claims_score(manager: JobManager | None = None) -> ClaimsScore:
    """Return how the FAQ's claims stand against the runs of this machine and those that ship."""
    return ClaimsScore(manager)
