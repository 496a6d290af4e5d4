"""The panel that says how soon a replica in reserve answers, and what it holds while it waits."""

from workbench.core.language import gettext
from workbench.interface.html import code_block, table_of, verdict_card
from workbench.interface.job_panel import BEGINS_ANEW
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView
from workbench.questions.surge.standby import findings
from workbench.questions.surge.standby.figures import first_tokens, memory_held
from workbench.questions.surge.standby.rows import WARM, StandbyState
from workbench.questions.surge.standby.spec import StandbySpec, check_standby


class StandbyPanel(QuestionPanel):
    """Run starts an engine on this machine, lets it wait idle and asleep, and asks it."""

    title = gettext("How soon does a replica in reserve answer?")
    spec_class = StandbySpec
    css_class = "wb-standby"
    first = ("model",)
    cancelled_note = BEGINS_ANEW
    tab_titles = (
        gettext("Parts of the time"),
        gettext("Cold starts"),
        gettext("For the simulation"),
        gettext("Sleep commands"),
    )
    duration = gettext("Press Run; with the reference model it takes about two minutes on two cores.")

    def check(self) -> None:
        """Raise for a model that is none, before an engine is started."""
        check_standby(self.plan)

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run = self.run
        if run is None or "idle" not in findings.times(run):
            return self.nothing_measured()
        states = findings.times(run)
        return AnswerView(
            about=findings.about(run),
            answer=verdict_card(findings.verdict(run), is_stale=self.is_stale(run)),
            figures=(lambda: first_tokens(states), lambda: memory_held([states[s] for s in WARM if s in states])),
            table=table_of(findings.COLUMNS, run.rows(StandbyState), left=(6,)),
            tabs=(
                lambda: table_of(findings.PART_COLUMNS, states.values()),
                lambda: table_of(findings.START_COLUMNS, findings.starts(run)),
                code_block(findings.for_the_simulation(run)),
                code_block(findings.commands(run)),
            ),
            run=run,
        )
