"""The panel of a decision, and the page that it makes for the person who signs."""

from functools import lru_cache

from workbench.core.errors import DoesNotFit, NotAvailable
from workbench.core.provenance import Provenance
from workbench.interface.html import (
    block,
    code_block,
    heading,
    joined,
    lines,
    message_card,
    note,
    paragraph,
    subtitle,
    table,
    verdict_card,
)
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.report.page import figure_div, page
from workbench.interface.view import AnswerView
from workbench.questions.tuning.decision import findings
from workbench.questions.tuning.decision.figures import bills_by_utilization
from workbench.questions.tuning.decision.findings import Decision
from workbench.questions.tuning.decision.spec import DecisionSpec

decided_once = lru_cache(maxsize=32)(findings.decision)
TITLE = "Serve it ourselves or buy an API?"


class DecisionPanel(QuestionPanel):
    """Controls of the estimate, and both bills."""

    title = TITLE
    spec_class = DecisionSpec
    css_class = "wb-decision"
    n_plots = 1
    tab_titles = ("Risks", "Launch command")

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        spec = self.plan
        try:
            answer = decided_once(spec)
        except (NotAvailable, DoesNotFit) as error:
            return AnswerView(answer=message_card("caution", "There is nothing to decide.", error.cause, error.remedy))
        return AnswerView(
            about=findings.load_sentence(spec),
            provenance=Provenance.ESTIMATED,
            answer=verdict_card(findings.verdict(answer)),
            figures=(lambda: bills_by_utilization(answer, mean_fraction=spec.mean_fraction),),
            table=joined(
                table(findings.BILL_HEAD, findings.bill_rows(answer)),
                table(findings.ENERGY_HEAD, findings.energy_rows(answer)),
                note(findings.price_sentence(spec, answer)),
            ),
            tabs=(lines(answer.risks), code_block(answer.launch_command)),
        )


def decision_page(spec: DecisionSpec, answer: Decision) -> str:
    """Return the page: two screens, or two sheets of paper, that need no network."""
    said = findings.verdict(answer)
    first = (
        heading(TITLE),
        subtitle(f"{answer.model} on {answer.plan.device_name}. {findings.load_sentence(spec)}"),
        verdict_card(said),
        table(findings.BILL_HEAD, findings.bill_rows(answer)),
        figure_div(bills_by_utilization(answer, mean_fraction=spec.mean_fraction)),
        note(findings.price_sentence(spec, answer)),
    )
    second = (
        heading("What is ordered", level=3),
        paragraph(f"{answer.plan_label}, {answer.plan.usd_per_hour:,.2f} USD an hour. Each replica is started with:"),
        code_block(answer.launch_command),
        paragraph(answer.tuned or "Its flags were not tuned on this load."),
        heading("Energy and CO2", level=3),
        table(findings.ENERGY_HEAD, findings.energy_rows(answer)),
        heading("What may go wrong", level=3),
        lines(answer.risks),
        table(("Decision", "Name", "Date"), [("", "", "")]),
    )
    footer = note(f"◌ estimated. Electricity: {answer.grid.name} {answer.grid.year}, {answer.grid.source}.")
    return page(f"Decision: {answer.model}", joined(block(*first), block(*second)), footer=footer)
