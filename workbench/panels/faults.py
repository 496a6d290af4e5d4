"""The panel that says how far a diagnosis can be trusted: faults with known causes on a real engine, and who found them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any, Literal

import ipywidgets as widgets

from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.faults import FaultsSpec
from workbench.core.runs import Run
from workbench.experiments.fault_list import FAULTS
from workbench.experiments.fault_scores import OURS
from workbench.figures.latency import who_finds_causes
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import BEGINS_ANEW, POLL_S
from workbench.panels.shared_view import code_block, runs_of_kind

KIND = "faults"
TITLE = "How far can that be trusted?"
ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultsState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    episode: int = 0
    engine: Literal["torch", "vllm"] = "torch"
    only: str = ALL
    seed: int = 101
    duration_s: float = 12.0


class FaultsPanel(AnswerPanel):
    """Run injects faults into a server of this machine; what was measured elsewhere is shown as such."""

    cancelled_note = BEGINS_ANEW
    tab_titles = ("Every load", "By fault and dose", "On a command line", "Spec as code")
    n_plots = 1

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-faults", manager=manager, poll_s=poll_s)
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        self.state = FaultsState(run_id=self.runs[0].id if self.runs else None)
        later = {"continuous_update": False}
        self.controls = {
            "run_id": labelled(widgets.Dropdown, "Shown", value=self.state.run_id, options=self._options()),
            "episode": labelled(widgets.Dropdown, "One load in detail", value=0, options=[("–", 0)]),
            "engine": labelled(widgets.Dropdown, "Engine", value="torch", options=["torch", "vllm"]),
            "only": labelled(widgets.Dropdown, "Faults", value=ALL, options=[ALL, *(f.name for f in FAULTS)]),
            "seed": labelled(widgets.BoundedIntText, "Seed (1 to 99: tuning)", value=101, min=1, max=10**6, **later),
            "duration_s": labelled(widgets.BoundedFloatText, "Each load, s", value=12.0, min=4, max=600, **later),
        }
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    def _options(self) -> list[tuple[str, str | None]]:
        return [(_label(r), r.id) for r in self.runs] or [("nothing measured yet", None)]

    def _shown(self) -> Run | None:
        return next((r for r in self.runs if r.id == self.state.run_id), None)

    @property
    def plan(self) -> FaultsSpec:
        """What Run injects."""
        s = self.state
        return FaultsSpec(
            model=str(REFERENCE_MODEL),
            engine=s.engine,
            faults=() if s.only == ALL else (s.only,),
            seeds=(s.seed,),
            duration_s=s.duration_s,
        )

    def finished(self, view: JobView) -> None:
        """Show the run."""
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        self.update(run_id=view.id)

    def settled(self, state: FaultsState, changes: dict[str, Any]) -> FaultsState:
        """Another run has other loads."""
        return replace(state, episode=0) if "run_id" in changes else state

    def show_controls(self) -> None:
        """What there is to choose from."""
        run = self._shown()
        episodes = run.samples["episodes"] if run is not None else []
        offers: dict[str, list[Any]] = {
            "run_id": self._options(),
            "episode": [(f"{e['fault']}, {e['dose']}, seed {e['seed']}", i) for i, e in enumerate(episodes)]
            or [("–", 0)],
        }
        for name, options in offers.items():
            if list(self.controls[name].options) != options:
                self.controls[name].options = options
        super().show_controls()

    def view(self) -> AnswerView:
        """The answer to the state."""
        run = self._shown()
        header = f"<h2>{TITLE}</h2>"
        tabs = (code_block(_command(self.plan)), code_block(self.plan.as_code()))
        if run is None or not run.samples["episodes"]:
            card = message_card(
                "caution", "Nothing was injected yet.", "Press Run.", "One seed takes about twelve minutes."
            )
            return AnswerView(header=header, answer=card, figures=(), table="", tabs=("", "", *tabs), run=run)
        episodes = run.samples["episodes"]
        version = run.samples.get("engine_version") or "torch engine"
        return AnswerView(
            header=f"{header}<p class='sub'>● measured on {escape(run.environment.device)}, {escape(version)}, run {run.id}, {run.day}</p>",
            answer=_verdict(run),
            figures=(lambda: who_finds_causes(run.results),),
            beside=_detail(episodes[self.state.episode]) if self.state.episode < len(episodes) else "",
            table=_scores(run.results),
            tabs=(lambda: _episodes(episodes), lambda: _by_fault(run.samples["by_fault"]), *tabs),
            run=run,
        )


def _label(run: Run) -> str:
    seeds = ", ".join(map(str, run.spec["seeds"]))
    when = run.finished_at[:16].replace("T", " ")
    return f"{run.spec['engine']}, seeds {seeds} · {run.environment.device} · {when}"


def _percent(x: float | None) -> str:
    return "–" if x is None else f"{100 * x:.0f} %"


def _verdict(run: Run) -> str:
    ours, *others = run.results
    best = max(others, key=lambda r: r["top1"] or 0.0)
    low, high = ours["top1_interval"] or (0.0, 1.0)
    unseen = all(s > 99 for s in run.spec["seeds"])
    missed = [f"{e['fault']} ({e['dose']})" for e in run.samples["episodes"] if _is_missed(e)]
    return verdict_card(
        f"The true cause was named in {_percent(ours['top1'])} of {ours['n_faults']} faults, and was among the first three in "
        f"{_percent(ours['top3'])}; {_percent(ours['false_alarms'])} of {ours['n_controls']} healthy loads raised an alarm.",
        f"95 % interval of the first: {_percent(low)} to {_percent(high)}. The best simple way, {best['method']}, names "
        f"{_percent(best['top1'])} and alarms on {_percent(best['false_alarms'])} of healthy loads.",
        (f"not named: {', '.join(missed)}. " if missed else "")
        + (
            "Seeds and loads were not used for tuning, but the kinds of faults were."
            if unseen
            else "These seeds were used for tuning."
        ),
        is_stale=False,
    )


def _is_missed(e: Mapping[str, Any]) -> bool:
    said = e["said"][OURS]
    named = said["causes"][0] if said["alarm"] and not said["abstains"] else None
    return e["cause"] is not None and e["took_effect"] and named != e["cause"]


def _scores(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ("Who ●", "named it", "in first three", "false alarms", "macro-F1", "abstained", "Brier", "time to name it")
    shown = []
    for r in rows:
        f1, brier, time = r["macro_f1"], r["brier"], r["time_to_detect_s"]
        shown.append(
            (
                escape(r["method"]),
                _percent(r["top1"]),
                _percent(r["top3"]),
                _percent(r["false_alarms"]),
                "–" if f1 is None else f"{f1:.2f}",
                _percent(r["abstained"]),
                "–" if brier is None else f"{brier:.2f}",
                "–" if time is None else f"{time:.0f} s",
            )
        )
    return table(head, shown, highlighted=0)


def _detail(e: Mapping[str, Any]) -> str:
    said = e["said"][OURS]
    head = (f"Evidence for: {escape(said['causes'][0])}", "speaks")
    rows = [(escape(text), f"{speaks:+.2f}") for text, speaks, _ in said["evidence"]]
    symptoms = "; ".join(said["symptoms"]) or "users notice nothing"
    truth = e["cause"] or "healthy"
    return (
        f"<div><p><b>{escape(e['fault'])}, {escape(e['dose'])}</b>: {escape(e['proof'])}. True cause: {escape(truth)}.</p>"
        f"<p>Noticed: {escape(symptoms)}.</p>{table(head, rows)}</div>"
    )


def _episodes(episodes: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for e in episodes:
        said = e["said"]
        ours = said[OURS]
        cells = ["abstains" if ours["abstains"] else ours["causes"][0] if ours["alarm"] else "no alarm"]
        cells += [s["causes"][0] if s["alarm"] else "no alarm" for name, s in said.items() if name != OURS]
        rows.append(
            (f"{escape(e['fault'])}, {escape(e['dose'])}", escape(e["cause"] or "healthy"), *(escape(c) for c in cells))
        )
    others = [name for name in episodes[0]["said"] if name != OURS]
    head = ("Load", "true cause", OURS, *others)
    return table(head, rows, left=tuple(range(1, len(head))))


def _by_fault(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ("Fault", "dose", "loads", "took effect", "alarmed", "named")
    shown = [
        (
            escape(r["fault"]),
            escape(r["dose"]),
            str(r["n"]),
            str(r["took_effect"]),
            str(r["alarmed"]),
            str(r["named"]) if r["cause"] else "–",
        )
        for r in rows
    ]
    return table(head, shown, left=(1,))


def _command(plan: FaultsSpec) -> str:
    only = f' --only "{",".join(plan.faults)}"' if plan.faults else ""
    seeds = ",".join(map(str, plan.seeds))
    return f"workbench faults --engine {plan.engine} --seeds {seeds} --seconds {plan.duration_s:g}{only}\nworkbench faults --list"


def panel(**options: Any) -> FaultsPanel:
    """The panel, on the newest run."""
    return FaultsPanel(**options)
