"""The panel that says why latency changed between two loads: parts, causes with their evidence, and the experiment that confirms one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.load import LoadSpec
from workbench.core.runs import Run
from workbench.estimate.change_point import LEAST_BASELINE, first_change
from workbench.experiments.cause_list import CAUSES
from workbench.experiments.confirmation import Confirmation, Outcome, confirmation, outcome
from workbench.experiments.diagnosis import Diagnosis, Ranked, diagnose
from workbench.experiments.latency_split import Split, latency_split
from workbench.figures.latency import change_by_part, waits_over_time
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import code_block, runs_of_kind
from workbench.store.runs import runs_in_folder

KIND = "load"
TITLE = "Why did latency jump?"
FALSE_ALARM_RATE = 0.01
EXAMPLES = "diagnosis"  # loads of the fault suite
MOST_TRIED = 12
SHOWN_CAUSES = 5
LATENCIES = {"ttft": "wait for the first token", "e2e": "time of a whole answer"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyState:
    """Everything that the view is drawn from."""

    baseline_id: str | None = None
    current_id: str | None = None
    latency: str = "ttft"
    url: str = ""


class LatencyPanel(AnswerPanel):
    """Run sends the load that would confirm the named cause; both loads are measured ones."""

    tab_titles = ("All the evidence", "Confirm it", "On a command line", "Spec as code")

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-latency", manager=manager, poll_s=poll_s)
        self._asked: dict[str, tuple[Confirmation, str, str]] = {}
        self._outcomes: dict[tuple[str, str], Outcome] = {}
        self._found: dict[tuple[str, str], Diagnosis] = {}
        self._load_runs()
        first = _first_pair(self.runs)
        self.state = LatencyState(baseline_id=first[0], current_id=first[1])
        self.controls = {
            "baseline_id": labelled(
                widgets.Dropdown, "Healthy load", value=self.state.baseline_id, options=self._options()
            ),
            "current_id": labelled(
                widgets.Dropdown, "Load in question", value=self.state.current_id, options=self._options()
            ),
            "latency": labelled(
                widgets.Dropdown,
                "Latency drawn",
                value="ttft",
                options=[(v.capitalize(), k) for k, v in LATENCIES.items()],
            ),
            "url": labelled(
                widgets.Text, "Server for Run (URL, empty: that of the load)", value="", continuous_update=False
            ),
        }
        self.build(list(self.controls.values()))
        self.job_bar.run.description = "Confirm"
        self.job_bar.run.tooltip = "Send the load that would confirm the named cause"
        self.draw()

    def _load_runs(self) -> None:
        own = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        found = [*own, *runs_in_folder(SHIPPED / EXAMPLES)]
        self.runs = [r for r in found if r.samples.get("requests")]

    def _options(self) -> list[tuple[str, str | None]]:
        return [(_label(r), r.id) for r in self.runs] or [("no load was measured yet", None)]

    def _pair(self) -> tuple[Run, Run] | None:
        by_id = {r.id: r for r in self.runs}
        a, b = by_id.get(self.state.baseline_id or ""), by_id.get(self.state.current_id or "")
        return (a, b) if a is not None and b is not None else None

    def _diagnosis(self, a: Run, b: Run) -> Diagnosis:
        key = (a.id, b.id)
        if key not in self._found:
            self._found[key] = diagnose(a, b)
        return self._found[key]

    @property
    def plan(self) -> LoadSpec:
        """The confirming load; raises ``NotAvailable`` when there is nothing to confirm."""
        return self._confirmation().spec

    def _confirmation(self) -> Confirmation:
        pair = self._pair()
        if pair is None:
            raise NotAvailable("There are no two loads.", remedy="Measure them with `workbench load`.")
        asked = confirmation(self._diagnosis(*pair), *pair)
        url = self.state.url.strip()
        return replace(asked, spec=replace(asked.spec, url=url, server_pid=None)) if url else asked

    def _start(self) -> None:
        pair = self._pair()
        try:
            asked = self._confirmation()
            self.job_id = self.manager.submit(self.kind, asked.spec.to_dict())
        except WorkbenchError:
            self.job_bar.idle()
            raise
        assert pair is not None
        self._asked[self.job_id] = (asked, pair[0].id, pair[1].id)
        self._watch(self.job_id)

    def finished(self, view: JobView) -> None:
        """Say what the confirming load says."""
        self._load_runs()
        known = {r.id: r for r in self.runs}
        asked = self._asked.get(view.id)
        made = known.get(view.id) or self.manager.store.get(view.id)
        if asked is None:
            self.update()
            return
        question, a, b = asked
        if not made.samples.get("requests"):
            cause = made.failures[0]["cause"] if made.failures else "No request was sent."
            said = Outcome(is_confirmed=None, text=f"The confirming load did not run: {cause}")
        else:
            said = outcome(question, known[a], known[b], made)
        self._outcomes[a, b] = said
        self.update(baseline_id=a, current_id=b)

    def show_controls(self) -> None:
        """What there is to choose from, and whether there is something to confirm."""
        options = self._options()
        for name in ("baseline_id", "current_id"):
            if list(self.controls[name].options) != options:
                self.controls[name].options = options
        super().show_controls()
        pair = self._pair()
        self.job_bar.allow_run(pair is not None and self._diagnosis(*pair).alarm)

    def view(self) -> AnswerView:
        """The answer to the state."""
        pair = self._pair()
        header = f"<h2>{TITLE}</h2>"
        if pair is None:
            card = message_card(
                "caution",
                "There are no two loads to compare.",
                "",
                "Measure them: workbench load URL --telemetry-hz 5 --probe",
            )
            empty = ("",) * len(self.tab_titles)
            return AnswerView(header=header, answer=card, figures=(), table="", tabs=empty, run=None)
        a, b = pair
        found = self._diagnosis(a, b)
        figures = []
        split = _split(a, b)
        if split is not None:
            figures.append(lambda: change_by_part(split.baseline.e2e_s, split.current.e2e_s, split.by_part_s))
        figures.append(lambda: self._over_time(a, b))
        return AnswerView(
            header=f"{header}<p class='sub'>● {escape(_label(a))} → {escape(_label(b))}</p>",
            answer=self._verdict(found, a, b),
            figures=tuple(figures),
            table=_causes(found),
            tabs=(
                lambda: _evidence(found),
                lambda: self._confirm(found, a, b),
                code_block(_commands(a, b)),
                lambda: code_block(self.plan.as_code()) if found.alarm else "<p>There is nothing to confirm.</p>",
            ),
            run=b,
        )

    def _over_time(self, a: Run, b: Run) -> go.Figure:
        before, now = (_points(r, self.state.latency) for r in (a, b))
        changed = None
        if len(before) >= LEAST_BASELINE:
            change = first_change([v for _, v in before], [v for _, v in now], false_alarm_rate=FALSE_ALARM_RATE)
            changed = now[change.at][0] if change is not None else None
        return waits_over_time(
            before, now, what=LATENCIES[self.state.latency], changed_at_s=changed, false_alarm_rate=FALSE_ALARM_RATE
        )

    def _verdict(self, found: Diagnosis, a: Run, b: Run) -> str:
        if not found.alarm:
            return verdict_card(
                "Users notice no change.",
                "Waits grew by less than half, no more requests fail, and answers are the same.",
                "A change that is smaller than the noise of these loads is not seen.",
                is_stale=False,
            )
        top = found.causes[0]
        said = self._outcomes.get((a.id, b.id))
        tested = "" if said is None else f" {said.verdict}: {said.text}"
        symptoms = "; ".join(found.symptoms)
        if found.abstains is not None:
            headline = f"The cause is not clear: {found.abstains}."
            return verdict_card(headline, f"Users notice: {symptoms}.{tested}", _against(top), is_stale=False)
        speaks = "; ".join(e.text for e in top.evidence if e.speaks > 0.3)
        return verdict_card(
            f"{top.title} ({100 * top.share:.0f} % of the belief).",
            f"{speaks}. Users notice: {symptoms}. {top.remedy}{tested}",
            _against(top),
            is_stale=False,
        )

    def _confirm(self, found: Diagnosis, a: Run, b: Run) -> str:
        if not found.alarm:
            return "<p>There is nothing to confirm.</p>"
        asked = self._confirmation()
        said = self._outcomes.get((a.id, b.id))
        result = (
            "<p>Press Confirm to send it.</p>"
            if said is None
            else (f"<p><b>{said.verdict}.</b> {escape(said.text)}</p>")
        )
        return f"<p>{escape(asked.expects)}</p>{result}{code_block(asked.spec.as_code())}"


def _first_pair(runs: Sequence[Run]) -> tuple[str | None, str | None]:
    """A pair that shows something: a load and an earlier one of the same model and device, probed alike, with a cause that is named."""
    probed = [r for r in runs if r.samples.get("probe")][:MOST_TRIED]
    for current in probed:
        for other in reversed(probed):
            is_before = other.finished_at < current.finished_at
            is_alike = all(other.spec[f] == current.spec[f] for f in ("model", "endpoint"))
            same_place = other.environment.device == current.environment.device
            if is_before and is_alike and same_place and diagnose(other, current).named:
                return other.id, current.id
    ids = [r.id for r in runs[:2]]
    return (ids[-1], ids[0]) if ids else (None, None)


def _label(run: Run) -> str:
    when = run.finished_at[:16].replace("T", " ")
    rate = (run.results[0].get("rates") or {}).get("offered_per_s") if run.results else None
    told = f", {rate:.1f} requests/s" if rate else ""
    return f"{run.spec['model']}{told} · {run.spec['input_tokens']}+{run.spec['output_tokens']} tokens · {run.environment.device} · {when}"


def _points(run: Run, latency: str) -> list[tuple[float, float]]:
    end = "first_content_s" if latency == "ttft" else "end_s"
    asked = [q for q in run.samples["requests"] if not q.get("error") and q.get(end) is not None]
    return [(q["due_s"], q[end] - q["due_s"]) for q in sorted(asked, key=lambda q: float(q["due_s"]))]


def _split(a: Run, b: Run) -> Split | None:
    try:
        return latency_split(a, b)
    except WorkbenchError:
        return None


def _against(cause: Ranked) -> str:
    against = [e.text for e in cause.evidence if e.speaks < -0.1]
    return "; ".join(against) + "." if against else "nothing that was read speaks against it."


def _causes(found: Diagnosis) -> str:
    rows = []
    for c in found.causes[:SHOWN_CAUSES]:
        best = [e for e in c.evidence if e.speaks > 0.1][:2]
        worst = [e for e in c.evidence if e.speaks < -0.1][:2]
        rows.append(
            (
                escape(c.title),
                f"{100 * c.share:.0f} %",
                "<br>".join(escape(e.text) for e in best) or "–",
                "<br>".join(escape(e.text) for e in worst) or "–",
            )
        )
    return table(
        ("Cause ●", "belief", "speaks for it", "speaks against it"),
        rows,
        highlighted=0 if found.named else None,
        left=(2, 3),
    )


def _evidence(found: Diagnosis) -> str:
    rows = [
        (escape(c.title) if i == 0 else "", escape(e.text), f"{e.speaks:+.2f}", f"{e.weight:g}")
        for c in found.causes
        for i, e in enumerate(c.evidence)
    ]
    unread = len(CAUSES) - sum(bool(c.evidence) for c in found.causes)
    note = f"<p>{unread} causes had nothing to read.</p>" if unread else ""
    return table(("Cause", "what was read", "speaks (−1 … 1)", "weight"), rows, left=(1,)) + note


def _commands(a: Run, b: Run) -> str:
    return (
        "workbench load URL --rate 5 --telemetry-hz 5 --probe    # once when healthy, once when not\n"
        f"workbench diagnose --baseline {a.id} --current {b.id}\n"
        f"workbench diagnose --baseline {a.id} --current {b.id} --confirm    # sends the load that confirms the cause\n"
        "workbench faults    # who finds causes, on this machine"
    )


def panel(**options: Any) -> LatencyPanel:
    """The panel, on a pair of loads that shows something."""
    return LatencyPanel(**options)
