"""The panel that simulates autoscaling rules on real traffic."""

from functools import lru_cache

from workbench.core.provenance import Provenance
from workbench.interface.html import joined, paragraph, small, table, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView
from workbench.questions.surge.figures import minutes_and_hours, replicas_over_time
from workbench.questions.surge.scaling.findings import (
    RULE_HEAD,
    compared,
    rule_rows,
    traffic_of,
    verdict,
)
from workbench.questions.surge.scaling.spec import TRACES, ScalingSpec
from workbench.simulate.autoscaling import pareto

compared_once = lru_cache(maxsize=32)(compared)


class ScalingPanel(QuestionPanel):
    """Controls of the simulation, and its results; nothing is measured."""

    title = "Would scaling have helped?"
    spec_class = ScalingSpec
    css_class = "wb-scaling"

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        spec = self.plan
        played = compared_once(spec)
        best, work = pareto(played), traffic_of(spec).work_s
        names = list(played)
        drawn = {n: played[n].replicas for n in (names[2], names[3], names[5])}
        return AnswerView(
            about=f"on {TRACES.get(spec.trace, spec.trace)} (CC BY 4.0); each replica is one {spec.device} with {spec.model}",
            provenance=Provenance.SIMULATED,
            answer=verdict_card(verdict(played, best, spec)),
            figures=(lambda: minutes_and_hours(played, best), lambda: replicas_over_time(drawn, work)),
            table=joined(
                table(RULE_HEAD, rule_rows(played, best)),
                paragraph(small("★ No other rule is better in both minutes and GPU hours.")),
            ),
        )
