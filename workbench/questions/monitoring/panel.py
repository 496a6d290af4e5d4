"""The panel that says whether a service is healthy: alert rules over a live server, and over measured loads."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from workbench.alerts.dashboard import dashboard
from workbench.alerts.rules import Rule, rules_yaml
from workbench.catalog.paths import MEASURED
from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.interface.html import code_block, hint, joined, paragraph, table, verdict_card
from workbench.interface.knobs import command_line
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.shared_view import runs_of_kind
from workbench.interface.view import AnswerView, PanelState
from workbench.jobs.directory import JobView
from workbench.load.spec import LoadSpec
from workbench.questions.monitoring import findings
from workbench.questions.monitoring.figures import alerts_over_time, value_and_threshold
from workbench.questions.monitoring.findings.alert_replay import can_replay, replay
from workbench.questions.monitoring.measure import prefix_of, rules_of
from workbench.questions.monitoring.rows import Evaluation, MonitoringSamples
from workbench.questions.monitoring.spec import AUTO, MonitoringSpec, RulesSpec

REPLAY_S = 2.0  # between evaluations over a measured load


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchState(PanelState):
    """Choices of the monitoring panel; without a run it shows the watch that is running."""

    rule: str = knob(
        "TtftHigh", "Rule drawn", "Rule whose value the second plot shows over time, beside its threshold."
    )


class MonitoringPanel(QuestionPanel):
    """Run watches a server; the rules are evaluated in retrospect over loads that were measured with their server's counters."""

    title = gettext("Is my service healthy?")
    spec_class, state_class = MonitoringSpec, WatchState
    css_class = "wb-watch"
    tab_titles = (gettext("Alerts"), gettext("Prometheus rules"), gettext("Grafana dashboard"))
    duration = gettext("Name a server and press Run.")
    _live: Sequence[Evaluation] = ()
    _replay: tuple[tuple[str, MonitoringSpec] | None, Sequence[Evaluation]] = (None, ())

    def find_runs(self) -> list[Run]:
        """Return the watches, and then the loads over which the rules can be evaluated in retrospect."""
        loads = runs_of_kind(LoadSpec.kind, store=self.manager.store, shipped=MEASURED)
        return [*super().find_runs(), *filter(can_replay, loads)]

    def run_label(self, run: Run) -> str:
        """Return the name of a watch or a load in the list of runs."""
        return findings.label(run)

    def run_options(self) -> list[tuple[str, str | None]]:
        """Return the runs, after the watch that is running."""
        if not self._live:
            return super().run_options()
        return [(gettext("● now"), None), *((findings.label(r), r.id) for r in self.runs)]

    def attached(self, view: JobView) -> None:  # noqa: ARG002
        """Show a watch from its newest evaluation on."""
        self._live = ()

    def progressed(self, view: JobView) -> None:
        """Add the newest evaluation of the watch, and show the watch with the first of them."""
        evaluation = view.partial(Evaluation)
        if evaluation and (not self._live or evaluation.at_s > self._live[-1].at_s):
            with self._turn:
                run_id = self.state.run_id if self._live else None
                self._live, self.state = [*self._live, evaluation], replace(self.state, run_id=run_id)
                self.draw()

    def finished(self, view: JobView) -> None:
        """Show the watch that has ended, as a whole."""
        self._live = ()
        super().finished(view)

    def choices(self) -> Mapping[str, list[tuple[str, str]]]:
        """Return the rules of the shown run."""
        return {"rule": [(r.name, r.name) for r in self._evaluations()[1]]}

    def settled(self, state: WatchState, changes: Mapping[str, object]) -> WatchState:  # noqa: ARG002
        """Return the state with a rule that exists."""
        names = [r.name for r in rules_of(MonitoringSpec(**state.asked))]
        return state if state.rule in names else replace(state, rule=names[1])

    def _evaluations(self) -> tuple[Sequence[Evaluation], Sequence[Rule]]:
        """Return the evaluations that are shown, and their rules."""
        run, spec = self.run, self.plan
        if run is not None and run.kind == LoadSpec.kind:
            spec = replace(spec, url="http://measured", prefix=AUTO)
            return self._replay_of(run, spec), rules_of(spec)
        evaluations = self._live if run is None else run.sampled(MonitoringSamples).evaluations
        if run is not None:
            spec = run.asked(MonitoringSpec)
        return evaluations, rules_of(spec, prefix=prefix_of(spec, evaluations))

    def _replay_of(self, run: Run, spec: MonitoringSpec) -> Sequence[Evaluation]:
        if self._replay[0] != (run.id, spec):
            evaluations = replay(run, rules_of(spec), interval_s=REPLAY_S)
            self._replay = ((run.id, spec), [e.kept(origin_s=0.0) for e in evaluations])
        return self._replay[1]

    def view(self) -> AnswerView:
        """Return whether the service is healthy, with the figures and tables of the rules."""
        evaluations, rules = self._evaluations()
        tabs = self._rule_files(evaluations)
        if not evaluations:
            return replace(self.nothing_measured(), tabs=(paragraph(gettext("No alert fired.")), *tabs))
        rule = next((r for r in rules if r.name == self.state.rule), rules[0])
        at = [e.at_s for e in evaluations]
        summaries = [hint(r.name, title=r.summary) for r in rules]
        cells = [(name, *row[1:]) for name, row in zip(summaries, findings.rule_rows(evaluations, rules), strict=True)]
        alerts, run = findings.alert_rows(evaluations, rules), self.run
        is_stale = run is not None and run.kind == self.kind and self.is_stale(run)
        return AnswerView(
            about=findings.about(run),
            answer=verdict_card(findings.verdict(evaluations, rules), is_stale=is_stale),
            figures=(
                lambda: alerts_over_time([r.name for r in rules], evaluations),
                lambda: value_and_threshold(rule, at_s=at, values=[x.values.get(rule.name) for x in evaluations]),
            ),
            table=table(findings.RULE_HEAD, cells, left=(1,)),
            tabs=(table(findings.ALERT_HEAD, alerts) if alerts else paragraph(gettext("No alert fired.")), *tabs),
            run=run,
        )

    def _rule_files(self, evaluations: Sequence[Evaluation]) -> tuple[Markup, Markup]:
        """Return the rules for Prometheus and Grafana, with the commands that write them."""
        plan = self.plan
        prefix = prefix_of(plan, evaluations)
        rules = rules_of(plan, prefix=prefix)
        spec = RulesSpec(ttft=plan.ttft, objective=plan.objective, patience_s=plan.patience_s, prefix=prefix)
        file, board = (command_line(s.command, s) for s in (spec, replace(spec, target="grafana")))
        lint = f"workbench lint-metrics dashboard.json {plan.url}"
        return (
            joined(code_block(f"{file} > rules.yml"), code_block(rules_yaml(rules, interval_s=plan.interval_s))),
            joined(
                code_block(f"{board} > dashboard.json\n{lint}"),
                code_block(json.dumps(dashboard(rules), indent=1, ensure_ascii=False)),
            ),
        )
