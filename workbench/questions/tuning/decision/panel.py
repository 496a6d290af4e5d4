"""The panel of a decision, and the page that it makes for the person who signs."""

from functools import lru_cache

from workbench.core.errors import DoesNotFit, InvalidSpec, NotAvailable
from workbench.core.language import gettext
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
    prose,
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
from workbench.questions.tuning.decision.findings.apis import API_HEAD, api_rows
from workbench.questions.tuning.decision.spec import DecisionSpec

decided_once = lru_cache(maxsize=32)(findings.decision)
TITLE = gettext("Serve it ourselves or buy an API?")


class DecisionPanel(QuestionPanel):
    """Controls of the estimate, and both bills."""

    title = TITLE
    spec_class = DecisionSpec
    css_class = "wb-decision"
    n_plots = 1
    tab_titles = (gettext("Risks"), gettext("Listed APIs"), gettext("Launch command"))

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        spec = self.plan
        try:
            answer = decided_once(spec)
        except (NotAvailable, DoesNotFit, InvalidSpec) as error:
            return AnswerView(
                answer=message_card("caution", gettext("There is nothing to decide."), error.cause, error.remedy)
            )
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
            tabs=(
                lines(map(prose, answer.risks)),
                table(API_HEAD, api_rows(answer.api_offers, own_usd=answer.own.usd_per_month)),
                code_block(answer.launch_command),
            ),
        )


def decision_page(spec: DecisionSpec, answer: Decision) -> str:
    """Return the page: two screens, or two sheets of paper, that need no network."""
    said = findings.verdict(answer)
    first = (
        heading(TITLE),
        subtitle(
            gettext("{model} on {device}. {load}").format(
                model=answer.model, device=answer.plan.device_name, load=findings.load_sentence(spec)
            )
        ),
        verdict_card(said),
        table(findings.BILL_HEAD, findings.bill_rows(answer)),
        figure_div(bills_by_utilization(answer, mean_fraction=spec.mean_fraction)),
        note(findings.price_sentence(spec, answer)),
    )
    second = (
        heading(gettext("What is ordered"), level=3),
        paragraph(
            gettext("{plan}, {usd_per_hour:,.2f} USD an hour. Each replica is started with:").format(
                plan=answer.plan_label, usd_per_hour=answer.plan.usd_per_hour
            )
        ),
        code_block(answer.launch_command),
        paragraph(answer.tuned or gettext("Its flags were not tuned on this load.")),
        heading(gettext("Energy and CO2"), level=3),
        table(findings.ENERGY_HEAD, findings.energy_rows(answer)),
        heading(gettext("What the APIs bill"), level=3),
        table(API_HEAD, api_rows(answer.api_offers, own_usd=answer.own.usd_per_month)),
        heading(gettext("What may go wrong"), level=3),
        lines(map(prose, answer.risks)),
        table((gettext("Decision"), gettext("Name"), gettext("Date")), [("", "", "")]),
    )
    footer = note(
        gettext("◌ estimated. Electricity: {name} {year}, {source}.").format(
            name=gettext(answer.grid.name), year=answer.grid.year, source=answer.grid.source
        )
    )
    return page(
        gettext("Decision: {model}").format(model=answer.model), joined(block(*first), block(*second)), footer=footer
    )
