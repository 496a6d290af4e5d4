"""The panel that says which technique raises the use of this device, with the FAQ's claims beside the measurements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as widgets

from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.catalog.tables import claims
from workbench.core.runs import Run
from workbench.core.techniques import TECHNIQUES, TechniquesSpec
from workbench.core.units import shown_duration, three_digits
from workbench.experiments.technique_verdict import ClaimHere, bound_by, claims_here
from workbench.figures.tables import message_card, table, verdict_card
from workbench.figures.techniques import gains, time_by_category
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import code_block, runs_of_kind

KIND = "techniques"
TITLE = "What makes it busier?"
ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class TechniquesState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    model: str = str(REFERENCE_MODEL)
    only: str = ALL
    batch: int = 8
    context_tokens: int = 128
    rounds: int = 15


class TechniquesPanel(AnswerPanel):
    """Run measures each technique in turns with going without it, then profiles three steps."""

    tab_titles = ("What was published", "Largest operators", "On a command line", "Spec as code")

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-techniques", manager=manager, poll_s=poll_s)
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        self.state = TechniquesState(run_id=self.runs[0].id if self.runs else None)
        later = {"continuous_update": False}
        self.controls = {
            "run_id": labelled(widgets.Dropdown, "Shown", value=self.state.run_id, options=self._options()),
            "model": labelled(widgets.Text, "Model to measure (folder)", value=self.state.model, **later),
            "only": labelled(
                widgets.Dropdown,
                "Techniques",
                value=ALL,
                options=[(ALL, ALL), *((v, k) for k, v in TECHNIQUES.items())],
            ),
            "batch": labelled(widgets.BoundedIntText, "Sequences put together", value=8, min=2, max=4096, **later),
            "context_tokens": labelled(widgets.BoundedIntText, "Tokens of each", value=128, min=1, max=65_536, **later),
            "rounds": labelled(widgets.BoundedIntText, "Rounds", value=15, min=5, max=1000, **later),
        }
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    def _options(self) -> list[tuple[str, str | None]]:
        return [(_label(r), r.id) for r in self.runs] or [("nothing measured yet", None)]

    @property
    def plan(self) -> TechniquesSpec:
        """What Run measures."""
        s = self.state
        chosen = tuple(TECHNIQUES) if s.only == ALL else (s.only,)
        return TechniquesSpec(
            model=s.model.strip(),
            techniques=chosen,
            batch=s.batch,
            context_tokens=s.context_tokens,
            rounds=s.rounds,
        )

    def finished(self, view: JobView) -> None:
        """Show the run."""
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        self.update(run_id=view.id)

    def show_controls(self) -> None:
        """What there is to choose from."""
        if list(self.controls["run_id"].options) != self._options():
            self.controls["run_id"].options = self._options()
        super().show_controls()

    def view(self) -> AnswerView:
        """The answer to the state."""
        run = next((r for r in self.runs if r.id == self.state.run_id), None)
        header = f"<h2>{TITLE}</h2>"
        last = (code_block(_command(self.plan)), code_block(self.plan.as_code()))
        if run is None:
            card = message_card(
                "caution", "Nothing was measured yet.", "Press Run.", "It takes two minutes on two cores."
            )
            return AnswerView(header=header, answer=card, figures=(), table="", tabs=("", "", *last), run=None)
        stand = claims_here(claims(), run.results)
        profiles, roof = run.samples["profiles"], run.samples["roof"]
        return AnswerView(
            header=f"{header}<p class='sub'>● measured on {escape(run.environment.device)}, run {run.id}, {run.day}: "
            f"{escape(_label(run))}</p>",
            answer=_verdict(run, profiles, roof),
            figures=(lambda: gains(run.results, _claimed(stand)), lambda: time_by_category(profiles)),
            table=_techniques(run.results),
            tabs=(lambda: _claims(stand), lambda: _operators(profiles, roof), *last),
            run=run,
        )


def _label(run: Run) -> str:
    name = str(run.spec["model"]).rstrip("/").rpartition("/")[2]
    when = run.finished_at[:16].replace("T", " ")
    return f"{name}, {run.spec['batch']} sequences of {run.spec['context_tokens']} tokens · {run.environment.device} · {when}"


def _claimed(stand: Sequence[ClaimHere]) -> dict[str, tuple[float, float]]:
    """Claimed factors by technique; a time that falls by p percent is 1 / (1 - p)."""
    found = {}
    for c in stand:
        low, high = c.claim.low, c.claim.high
        if low is None or high is None:
            continue
        if c.claim.metric in {"throughput_gain", "speedup"}:
            name = "batching" if c.claim.metric == "throughput_gain" else "precision"
            found[name] = (low, high)
        elif c.claim.metric == "latency_reduction":
            found["overlap"] = (1 / (1 - low / 100), 1 / (1 - high / 100))
    return found


def _verdict(run: Run, profiles: Mapping[str, Any], roof: Mapping[str, float]) -> str:
    measured = [r for r in run.results if r["status"] == "measured" and r["provenance"] == "measured"]
    if not measured:
        return message_card("caution", "No technique could be measured.", run.results[0].get("reason", ""), "")
    best = max(measured, key=lambda r: r["gain"])
    worse = [r["label"] for r in measured if r["gain_high"] < 1]
    name = next(iter(profiles))
    shares = bound_by(profiles[name], roof)
    return verdict_card(
        f"{best['label'].capitalize()} gains most here: {best['gain']:.2f} times as much in the same time.",
        f"95 % interval {best['gain_low']:.2f} to {best['gain_high']:.2f}; {best['what']}. {name.capitalize()} spends {100 * shares['memory']:.0f} % of "
        f"its time on what reading the weights needs at this device's bandwidth, {100 * shares['compute']:.0f} % on what its arithmetic needs, "
        f"and {100 * shares['neither']:.0f} % on neither: that is what can be gained.",
        (f"slower here: {', '.join(worse)}. " if worse else "")
        + "Each was measured alone; together they gain less than the product of their gains.",
        is_stale=False,
    )


def _techniques(rows: Sequence[Mapping[str, Any]]) -> str:
    shown: list[tuple[str, ...]] = []
    for r in rows:
        if r["status"] != "measured":
            shown.append((escape(r["label"]), f"{escape(r['status'])}: {escape(r['reason'])}"))
            continue
        mark = "●" if r["provenance"] == "measured" else "◌"
        if "without_s" in r:
            pair = (shown_duration(r["without_s"]), shown_duration(r["with_s"]))
        else:
            pair = (f"{100 * r['without_fraction']:.0f} % empty", f"{100 * r['with_fraction']:.1f} % empty")
        gain = f"{r['gain']:.2f}×"
        if "gain_low" in r:
            gain += f" <small>{r['gain_low']:.2f} to {r['gain_high']:.2f}</small>"
        shown.append((f"{mark} {escape(r['label'])}", *pair, gain, escape(r["what"])))
    return table(("Technique", "without", "with", "gain", "what is compared"), shown, left=(4,))


def _claims(stand: Sequence[ClaimHere]) -> str:
    rows = []
    for c in stand:
        low, high, unit = c.claim.low, c.claim.high, c.claim.unit
        text = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        rows.append(
            (
                escape(c.claim.technique),
                escape(c.claim.metric.replace("_", " ")),
                f"{text} {escape(unit)}",
                c.shown,
                escape(c.outcome),
                escape(c.claim.source),
            )
        )
    head = ("Technique", "figure", "claimed ▬", "measured ●", "stands", "source")
    return table(head, rows, left=(1, 4, 5)) + (
        "<p>Claims on utilisation are not scored: a device can be 98 % utilised at half of its speed.</p>"
    )


def _operators(profiles: Mapping[str, Any], roof: Mapping[str, float]) -> str:
    parts = [
        f"<p>This device reaches {three_digits(roof['flop_per_s'] / 1e9)} GFLOP/s in a large float32 product and "
        f"{three_digits(roof['bytes_per_s'] / 1e9)} GB/s in a large copy ●.</p>"
    ]
    for name, p in profiles.items():
        shares = bound_by(p, roof)
        rows = [(escape(x["name"]), shown_duration(x["s"]), f"{x['n']:.0f}") for x in p["largest"]]
        kind = "memory" if shares["memory"] >= shares["compute"] else "arithmetic"
        parts.append(
            f"<h4>{escape(name.capitalize())}: {shown_duration(p['wall_s'])}, {p['n_operators']:.0f} operators, bound by {kind} "
            f"({100 * max(shares['memory'], shares['compute']):.0f} % of its time)</h4>{table(('Operator', 'time', 'calls'), rows)}"
        )
    return "".join(parts)


def _command(plan: TechniquesSpec) -> str:
    only = "" if set(plan.techniques) == set(TECHNIQUES) else f" --only {','.join(plan.techniques)}"
    return f"workbench techniques {plan.model} --batch {plan.batch} --context {plan.context_tokens}{only}"


def panel(**options: Any) -> TechniquesPanel:
    """The panel, on the newest run."""
    return TechniquesPanel(**options)
