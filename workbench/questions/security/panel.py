"""The panel that scores detectors of personal data and redacts the reader's own text, and the table of threats and controls."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec

import ipywidgets as widgets
from markupsafe import Markup

from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.interface.html import (
    block,
    bold,
    code_block,
    heading,
    joined,
    marked,
    paragraph,
    prose,
    subtitle,
    table,
    verdict_card,
)
from workbench.interface.panel import StaticPanel
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView, PanelState
from workbench.questions.security.figures import precision_by_class, recall_by_class
from workbench.questions.security.findings import (
    BAR,
    COST_HEAD,
    MISTAKE_HEAD,
    SCORE_HEAD,
    THREAT_HEAD,
    cost_rows,
    mistake_rows,
    redacted_parts,
    score_rows,
    threat_rows,
    verdict,
)
from workbench.questions.security.rows import DetectorScore, RedactionSamples
from workbench.questions.security.spec import INSTALL_PRESIDIO, RedactionSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityState(PanelState):
    """State of the redaction panel."""

    text: str = (
        "我的卡号4111 1111 1111 1111，邮箱 li.wei@example.com。Order 4111111111111112 shipped. "
        "Key: ghp_abcdefghijklmnopqrstuvwxyz0123456789"
    )
    """Text of the reader, which is redacted while it is typed."""


class SecurityPanel(QuestionPanel):
    """Panel that scores detectors on a generated corpus, and redacts the reader's text while it is typed."""

    title = gettext("How reliably are personal data and secrets redacted?")
    spec_class, state_class = RedactionSpec, SecurityState
    css_class = "wb-security"
    tab_titles = (gettext("Mistakes"), gettext("Streams and cost"))
    duration = gettext("Press Run to measure; it takes a few seconds.")

    def run_label(self, run: Run) -> str:
        """Return the label of a run in the list."""
        return gettext("seed {seed}, {n} texts · {when}").format(
            seed=run.seed,
            n=run.sampled(RedactionSamples).n_texts,
            when=run.finished_at[:16].replace("T", " "),
        )

    def unavailable(self) -> Mapping[str, Mapping[str, str]]:
        """Return the detectors that are not installed."""
        is_missing = find_spec("presidio_analyzer") is None
        missing = gettext("not installed: {command}").format(command=gettext(INSTALL_PRESIDIO))
        return {"detectors": {"presidio": missing}} if is_missing else {}

    def beside_controls(self) -> Mapping[str, widgets.Widget]:
        """Return the input field for the reader's own text."""
        self.text = widgets.Textarea(
            description=gettext("Your own text"),
            value=self.state.text,
            rows=6,
            style={"description_width": "auto"},
            layout={"width": "auto"},
        )
        self.text.observe(self.guarded(lambda change: self.update(text=change["new"])), names="value")
        return {"": self.text}

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run = self.run
        shown = (marked(part) if is_replaced else part for part, is_replaced in redacted_parts(self.state.text))
        preview = block(paragraph(bold(gettext("Your text after redaction"))), code_block(joined(*shown)))
        if run is None:
            return replace(self.nothing_measured(), beside=preview)
        return AnswerView(
            about=gettext("on {n} generated texts, seed {seed}, run {run}, {day}").format(
                n=run.sampled(RedactionSamples).n_texts, seed=run.seed, run=run.id, day=run.day
            ),
            answer=verdict_card(verdict(run)),
            figures=(
                lambda: recall_by_class(run.rows(DetectorScore), bar=BAR),
                lambda: precision_by_class(run.rows(DetectorScore), bar=BAR),
            ),
            beside=preview,
            table=table(SCORE_HEAD, score_rows(run), left=(1,)),
            tabs=(lambda: _mistakes(run), lambda: _cost(run)),
            run=run,
        )


def _mistakes(run: Run) -> Markup:
    rows = mistake_rows(run)
    return table(MISTAKE_HEAD, rows, left=(1,)) if rows else paragraph(gettext("The detectors made no mistakes."))


def _cost(run: Run) -> Markup:
    failures = (paragraph(f"{f.cause} {f.remedy}") for f in run.failures)
    return joined(table(COST_HEAD, cost_rows(run)), *failures)


def threats() -> StaticPanel:
    """Return the FAQ's threats with the control against each, its evidence and its limits."""
    return StaticPanel(
        joined(
            heading(gettext("Threats and controls")),
            subtitle(
                gettext(
                    "The FAQ gives no source and no method for its percentages; every percentage of the workbench is measured."
                )
            ),
            table(THREAT_HEAD, [tuple(map(prose, row)) for row in threat_rows()], left=(1, 2, 3, 4)),
        )
    )
