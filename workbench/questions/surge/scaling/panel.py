"""The panel that simulates autoscaling rules on real traffic."""

from functools import lru_cache

from workbench.catalog.paths import MEASURED
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.interface.html import joined, paragraph, small, table, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.shared_view import runs_of_kind
from workbench.interface.view import AnswerView
from workbench.questions.surge.figures import minutes_and_hours, replicas_over_time
from workbench.questions.surge.scaling.findings import (
    RULE_HEAD,
    compared,
    rule_rows,
    shown_rule,
    traffic_of,
    verdict,
)
from workbench.questions.surge.scaling.spec import TRACES, ScalingSpec
from workbench.questions.surge.standby.findings import measured_starts
from workbench.questions.surge.standby.spec import StandbySpec
from workbench.simulate.autoscaling import pareto

compared_once = lru_cache(maxsize=32)(compared)


class ScalingPanel(QuestionPanel):
    """Controls of the simulation, and its results; nothing is measured."""

    title = gettext("Would scaling have helped?")
    spec_class = ScalingSpec
    css_class = "wb-scaling"

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        spec = self.plan
        played = compared_once(spec)
        best, work = pareto(played), traffic_of(spec).work_s
        names = list(played)
        drawn = {shown_rule(n): played[n].replicas for n in (names[2], names[3], names[5])}
        labelled = {shown_rule(n): p for n, p in played.items()}
        return AnswerView(
            about=gettext("on {traffic} (CC BY 4.0); each replica is one {device} with {model}").format(
                traffic=gettext(TRACES.get(spec.trace, spec.trace)), device=spec.device, model=spec.model
            ),
            provenance=Provenance.SIMULATED,
            answer=verdict_card(verdict(played, best, spec)),
            figures=(
                lambda: minutes_and_hours(labelled, [shown_rule(n) for n in best]),
                lambda: replicas_over_time(drawn, work),
            ),
            table=joined(
                table(RULE_HEAD, rule_rows(played, best)),
                paragraph(small(gettext("★ No other rule is better in both minutes and GPU hours."))),
                paragraph(measured_starts(runs_of_kind(StandbySpec.kind, store=self.manager.store, shipped=MEASURED))),
            ),
        )
