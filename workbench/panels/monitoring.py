"""The panel that says whether a service is healthy: rules over a live server, and over loads that were measured."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from html import escape
from typing import Any

import ipywidgets as widgets

from workbench.alerts.dashboard import dashboard
from workbench.alerts.defaults import TTFT_BOUNDS
from workbench.alerts.rules import Rule, rules_yaml
from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.core.monitoring import LONGEST_S, MonitoringSpec
from workbench.core.runs import Run
from workbench.core.units import shown_duration, three_digits
from workbench.experiments.alert_replay import can_replay, replayed, spans
from workbench.experiments.monitoring import look_row, rules_of
from workbench.figures.monitoring import alerts_over_time, value_and_threshold
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import code_block, runs_of_kind

KIND = "monitoring"
TITLE = "Is my service healthy?"
LIVE = "live"
REPLAY_S = 2.0  # between looks at a measured load

Looks = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    rule: str = "FirstTokensLate"
    url: str = "http://localhost:8000"
    ttft: str = "0.5"
    objective_percent: float = 99.0
    patience_s: float = 20.0
    duration_s: float = 600.0
    interval_s: float = 5.0
    gold_every_s: float = 0.0


class MonitoringPanel(AnswerPanel):
    """Run watches a server; a load that was measured with its server's counters is watched in retrospect."""

    tab_titles = ("Events", "Prometheus rules", "Grafana dashboard", "On a command line", "Spec as code")

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-watch", manager=manager, poll_s=poll_s)
        self._load_runs()
        self._live: list[Mapping[str, Any]] = []
        self.state = WatchState(run_id=self.runs[0].id if self.runs else None)
        later = {"continuous_update": False}
        names = [r.name for r in rules_of(self.plan)]
        self.controls = {
            "run_id": labelled(widgets.Dropdown, "Shown", value=self.state.run_id, options=self._options()),
            "rule": labelled(widgets.Dropdown, "Rule drawn", value=self.state.rule, options=names),
            "url": labelled(widgets.Text, "Server to watch (URL)", value=self.state.url, **later),
            "ttft": labelled(
                widgets.Dropdown,
                "Promise: first token within",
                value="0.5",
                options=[(f"{b} s", b) for b in TTFT_BOUNDS if float(b) >= 0.1],
            ),
            "objective_percent": labelled(
                widgets.BoundedFloatText, "… for so many requests, %", value=99.0, min=50, max=99.99, **later
            ),
            "patience_s": labelled(
                widgets.BoundedFloatText, "A condition lasts at least, s", value=20.0, min=0, max=86400, **later
            ),
            "duration_s": labelled(
                widgets.BoundedFloatText, "Watch for, s", value=600.0, min=1, max=LONGEST_S, **later
            ),
            "interval_s": labelled(widgets.BoundedFloatText, "Look every, s", value=5.0, min=0.5, max=300, **later),
            "gold_every_s": labelled(
                widgets.BoundedFloatText, "Ask the gold set every, s (0: never)", value=0.0, min=0, max=86400, **later
            ),
        }
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    def _load_runs(self) -> None:
        own = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        loads = [r for r in runs_of_kind("load", store=self.manager.store, shipped=SHIPPED) if can_replay(r)]
        self.runs = [*own, *loads]

    def _options(self) -> list[tuple[str, str | None]]:
        live = [("● now", LIVE)] if self._live else []
        return [*live, *((_label(r), r.id) for r in self.runs)] or [("nothing watched yet", None)]

    @property
    def plan(self) -> MonitoringSpec:
        """The watch that Run starts."""
        s = self.state
        return MonitoringSpec(
            url=s.url.strip(),
            duration_s=s.duration_s,
            interval_s=s.interval_s,
            ttft=s.ttft,
            objective=s.objective_percent / 100,
            patience_s=s.patience_s,
            gold_every_s=s.gold_every_s,
        )

    def attached(self, view: JobView) -> None:  # noqa: ARG002
        """A watch goes on."""
        self._live = []

    def progressed(self, view: JobView) -> None:
        """Take over the newest look."""
        new = [x for x in view.result.get("looks", []) if not self._live or x["at_s"] > self._live[-1]["at_s"]]
        if new:
            with self._turn:
                self._live = [*self._live, *new]
                self.state = replace(self.state, run_id=LIVE)
                self.draw()

    def finished(self, view: JobView) -> None:
        """Show the whole watch."""
        self._live = []
        self._load_runs()
        self.update(run_id=view.id)

    def show_controls(self) -> None:
        """What there is to choose from."""
        if list(self.controls["run_id"].options) != self._options():
            self.controls["run_id"].options = self._options()
        super().show_controls()

    def _watched(self, rules: Sequence[Rule]) -> tuple[Run | None, Looks, Sequence[Rule]]:
        """The shown run, its looks, and the rules that made them."""
        if self.state.run_id == LIVE:
            return None, self._live, rules
        run = next((r for r in self.runs if r.id == self.state.run_id), None)
        if run is None:
            return None, (), rules
        if run.kind == KIND:
            return run, run.samples["looks"], rules_of(MonitoringSpec.from_dict(run.spec))
        s = self.state
        return run, _replay(run.id, s.ttft, s.objective_percent, s.patience_s, self._run_of), rules

    def _run_of(self, run_id: str) -> Run:
        return next(r for r in self.runs if r.id == run_id)

    def view(self) -> AnswerView:
        """The answer to the state."""
        rules = rules_of(self.plan)
        run, looks, made_by = self._watched(rules)
        tabs: tuple[Any, ...] = (
            _events(looks, made_by),
            code_block(rules_yaml(rules, interval_s=self.state.interval_s)),
            code_block(json.dumps(dashboard(rules), indent=1)),
            code_block(_commands(self.plan)),
            code_block(self.plan.as_code()),
        )
        if not looks:
            card = message_card("caution", "Nothing was watched yet.", "Name a server and press Run.", "")
            return AnswerView(header=f"<h2>{TITLE}</h2>", answer=card, figures=(), table="", tabs=tabs, run=None)
        rule = next((r for r in made_by if r.name == self.state.rule), made_by[0])
        at = [x["at_s"] for x in looks]
        values = [x["values"].get(rule.name) for x in looks]
        return AnswerView(
            header=f"<h2>{TITLE}</h2><p class='sub'>{_stands_on(run)}</p>",
            answer=_verdict(looks, made_by),
            figures=(
                lambda: alerts_over_time(
                    [r.name for r in made_by],
                    pending=spans(looks, "pending"),
                    firing=spans(looks, "firing"),
                    ends_s=(at[0], at[-1]),
                ),
                lambda: value_and_threshold(
                    rule.name,
                    at_s=at,
                    values=values,
                    threshold=rule.threshold,
                    compare=rule.compare,
                    promql=rule.promql(),
                ),
            ),
            table=_rules(looks, made_by),
            tabs=tabs,
            run=run,
        )


@lru_cache(maxsize=16)
def _replay(run_id: str, ttft: str, objective_percent: float, patience_s: float, run_of: Any) -> Looks:
    spec = MonitoringSpec(url="http://measured", ttft=ttft, objective=objective_percent / 100, patience_s=patience_s)
    return [look_row(x, origin_s=0.0) for x in replayed(run_of(run_id), rules_of(spec), interval_s=REPLAY_S)]


def _label(run: Run) -> str:
    when = run.finished_at[:16].replace("T", " ")
    if run.kind == KIND:
        return f"{run.spec['url']} · {when} · {run.id}"
    rate = (run.results[0].get("rates") or {}).get("offered_per_s") if run.results else None
    shown = f", {rate:.1f} requests/s" if rate else ""
    return f"load on {run.spec['model']}{shown} · {run.environment.device} · {when}"


def _stands_on(run: Run | None) -> str:
    if run is None:
        return "● measured, now"
    if run.kind == KIND:
        return f"● measured: {escape(run.spec['url'])}, run {run.id}, {run.day}"
    return (
        f"● measured on {escape(run.environment.device)}, run {run.id}, {run.day}; the rules were laid over it afterwards: "
        "first tokens as the client saw them, gauges as the server said"
    )


def _verdict(looks: Looks, rules: Sequence[Rule]) -> str:
    by_name = {r.name: r for r in rules}
    last = looks[-1]
    fired = [n for n in by_name if any(n in x["firing"] for x in looks)]
    span = looks[-1]["at_s"] - looks[0]["at_s"]
    silent = [r.name for r in rules if not any(r.name in x["values"] for x in looks)]
    if last["problem"]:
        headline = f"The server cannot be read: {last['problem']}."
    elif last["firing"]:
        headline = f"No: {', '.join(last['firing'])}."
    elif fired:
        headline = f"Now it is; {', '.join(fired)} fired and {'is' if len(fired) == 1 else 'are'} over."
    else:
        headline = f"Yes: none of {len(rules)} rules fired in {shown_duration(span)}."
    told = " ".join(by_name[n].summary for n in fired[:3])
    n_events = sum(len(found) for found in spans(looks, "firing").values())
    return verdict_card(
        headline,
        f"{told} {len(looks)} looks, {n_events} alert(s), each told once.",
        f"{len(silent)} rules had nothing to say: {', '.join(silent) or 'none'} (no data, too few events, or no outage).",
        is_stale=False,
    )


def _rules(looks: Looks, rules: Sequence[Rule]) -> str:
    firing, rows = spans(looks, "firing"), list[tuple[str, ...]]()
    for rule in rules:
        values = [x["values"][rule.name] for x in looks if rule.name in x["values"]]
        now = looks[-1]
        state = "firing" if rule.name in now["firing"] else "holds" if rule.name in now["pending"] else "quiet"
        if not values:
            state = "nothing to say"
        rows.append(
            (
                f"<span title='{escape(rule.summary, quote=True)}'>{escape(rule.name)}</span>",
                state,
                "–" if not values else three_digits(values[-1]),
                "–" if not values else three_digits(max(values)),
                f"{rule.compare} {rule.threshold:g}",
                shown_duration(rule.for_s) if rule.for_s else "at once",
                str(len(firing.get(rule.name, ()))),
            )
        )
    head = ("Rule", "state", "now ●", "highest ●", "told when", "after", "times")
    return table(head, rows, left=(1,))


def _events(looks: Looks, rules: Sequence[Rule]) -> str:
    by_name = {r.name: r for r in rules}
    found = sorted((begin, end, name) for name, mine in spans(looks, "firing").items() for begin, end in mine)
    rows = [
        (escape(name), f"{begin:.0f} s", f"{end:.0f} s" if end < looks[-1]["at_s"] else "still", by_name[name].severity)
        for begin, end, name in found
    ]
    return table(("Alert", "from", "to", "severity"), rows) if rows else "<p>No alert.</p>"


def _commands(plan: MonitoringSpec) -> str:
    options = f"--ttft {plan.ttft} --objective {plan.objective:g}"
    gold = f" --gold-every {plan.gold_every_s:g}" if plan.gold_every_s else ""
    return (
        f"workbench monitor {plan.url} --interval {plan.interval_s:g} {options}{gold} --webhook https://…\n"
        f"workbench rules --for prometheus {options} > rules.yml\n"
        f"workbench rules --for grafana {options} > dashboard.json\n"
        f"workbench lint-metrics dashboard.json {plan.url}"
    )


def panel(**options: Any) -> MonitoringPanel:
    """The panel, attached to a watch that is still going."""
    return MonitoringPanel(**options)
