"""The panel that says what is found in texts, and lets the reader try it; and the threats, with what stands against each."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as widgets

from workbench.catalog.paths import DATA
from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.core.redaction import DETECTORS, RedactionSpec
from workbench.core.runs import Run
from workbench.figures.redaction import found_by_kind
from workbench.figures.tables import message_card, table, verdict_card
from workbench.gateway.redaction import findings
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import StaticPanel, labelled
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import code_block, runs_of_kind

KIND = "redaction"
TITLE = "What of personal data and secrets is found?"
BAR = 0.95
TEXT = "我的卡号4111 1111 1111 1111，邮箱 li.wei@example.com。Order 4111111111111112 shipped. Key: ghp_abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    seed: int = 1001
    n_per_kind: int = 200
    presidio: bool = False
    text: str = TEXT


class SecurityPanel(AnswerPanel):
    """Run draws a corpus and scores detectors on it; the text of the reader is redacted as it is typed."""

    tab_titles = ("Examples that go wrong", "Streams, hostile texts, cost", "On a command line", "Spec as code")

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-security", manager=manager, poll_s=poll_s)
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        self.state = SecurityState(run_id=self.runs[0].id if self.runs else None)
        later = {"continuous_update": False}
        self.controls = {
            "text": labelled(widgets.Textarea, "Try a text", value=TEXT, rows=6),
            "run_id": labelled(widgets.Dropdown, "Shown", value=self.state.run_id, options=self._options()),
            "seed": labelled(widgets.BoundedIntText, "Seed (1 to 999: tuning)", value=1001, min=1, max=10**9, **later),
            "n_per_kind": labelled(
                widgets.BoundedIntText, "Texts of each class and sort", value=200, min=10, max=5000, **later
            ),
            "presidio": labelled(widgets.Checkbox, "Presidio beside, if it is installed", value=False),
        }
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    def _options(self) -> list[tuple[str, str | None]]:
        return [
            (f"seed {r.seed}, {r.samples['n_texts']} texts · {r.finished_at[:16].replace('T', ' ')}", r.id)
            for r in self.runs
        ] or [("nothing measured yet", None)]

    @property
    def plan(self) -> RedactionSpec:
        """What Run draws."""
        names = ("ours", "faq", "presidio") if self.state.presidio else ("ours", "faq")
        return RedactionSpec(seed=self.state.seed, n_per_kind=self.state.n_per_kind, detectors=names)

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
        tried = (
            f"<div><p><b>Your text as it would leave</b></p><pre class='wb-code'>{marked(self.state.text)}</pre></div>"
        )
        tabs = (code_block(command(self.plan)), code_block(self.plan.as_code()))
        if run is None:
            card = message_card("caution", "No corpus was drawn yet.", "Press Run.", "It takes a few seconds.")
            return AnswerView(
                header=f"<h2>{TITLE}</h2>",
                answer=card,
                figures=(),
                beside=tried,
                table="",
                tabs=("", "", *tabs),
                run=None,
            )
        return AnswerView(
            header=f"<h2>{TITLE}</h2><p class='sub'>● measured on {run.samples['n_texts']} generated texts, seed {run.seed}, "
            f"run {run.id}, {run.day}</p>",
            answer=verdict(run),
            figures=(
                lambda: found_by_kind(run.results, "recall", bar=BAR),
                lambda: found_by_kind(run.results, "precision", bar=BAR),
            ),
            beside=tried,
            table=_rows(run.results),
            tabs=(lambda: _wrong(run), _cost(run), *tabs),
            run=run,
        )


def marked(text: str) -> str:
    """The text with what would be replaced, as HTML."""
    parts, at = [], 0
    for f in findings(text):
        parts += [escape(text[at : f.start]), f"<mark>[{f.kind}]</mark>"]
        at = f.end
    return "".join([*parts, escape(text[at:])])


def verdict(run: Run) -> str:
    """Whether every class is found well enough."""
    ours = [r for r in run.results if r["detector"] == "ours"]
    low = [r for r in ours if min(r["recall"] or 0, r["precision"] or 0) < BAR]
    worst = min(ours, key=lambda r: min(r["recall"] or 0, r["precision"] or 0), default=None)
    slowest = max(run.samples["hostile_ms"].values())
    told = "every class" if not low else f"{len(ours) - len(low)} of {len(ours)} classes"
    tuned = "" if run.seed > 999 else " This seed was used for tuning."
    return verdict_card(
        f"Of {told}, at least {100 * BAR:.0f} % are found and at least {100 * BAR:.0f} % of what is found is right.",
        f"The weakest is {worst['kind'].lower()}: recall {_percent(worst['recall'])}, precision {_percent(worst['precision'])}."
        if worst is not None
        else "Ours was not among the detectors.",
        f"{run.samples['split_differences']} of {run.samples['n_splits']} streams came out differently from the whole text; a megabyte "
        f"of hostile text takes at most {slowest:.0f} ms. Half the texts only look like something. Names and addresses have no shape and are "
        f"not looked for.{tuned}",
        is_stale=False,
    )


def _percent(x: float | None) -> str:
    return "–" if x is None else f"{100 * x:.1f} %"


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ("Detector ●", "class", "texts", "recall", "precision", "found wrongly")
    cells = [
        (
            DETECTORS[r["detector"]],
            r["kind"].lower(),
            str(r["n"]),
            _percent(r["recall"]),
            _percent(r["precision"]),
            str(r["false"]),
        )
        for r in rows
        if r["recall"] or r["false"]
    ]
    return table(head, cells, left=(1,))


def _wrong(run: Run) -> str:
    rows = [(DETECTORS[name], escape(t)) for name, texts in run.samples["wrong"].items() for t in texts]
    return table(("Detector", "what", ""), rows) if rows else "<p>Nothing went wrong.</p>"


def _cost(run: Run) -> str:
    s = run.samples
    rows = [(f"{DETECTORS[n]}, 1000 characters", f"{us:.0f} µs") for n, us in s["us_per_1000_characters"].items()]
    rows += [(f"a megabyte of {name}", f"{ms:.1f} ms") for name, ms in s["hostile_ms"].items()]
    rows.append(("streams that differ from the whole text", f"{s['split_differences']} of {s['n_splits']}"))
    left_out = "".join(f"<p>{escape(f['cause'])} {escape(f['remedy'])}</p>" for f in run.failures)
    return table(("What ●", "measured"), rows) + left_out


def command(plan: RedactionSpec) -> str:
    """The same on a command line."""
    return f"workbench redact --score --seed {plan.seed} --texts {plan.n_per_kind} --detectors {','.join(plan.detectors)}\nworkbench redact < text"


def panel(**options: Any) -> SecurityPanel:
    """The panel, on the newest run."""
    return SecurityPanel(**options)


def threats() -> StaticPanel:
    """The FAQ's threats, with the control that stands against each, how that is shown, and what is left."""
    with (DATA / "threats.csv").open(newline="", encoding="utf-8") as file:
        rows = [
            (
                escape(r["threat"]),
                f"{escape(r['faq_control'])}: {r['faq_percent']} %" if r["faq_percent"] else "–",
                escape(r["ours"]),
                escape(r["shown_by"]),
                escape(r["cannot"]),
            )
            for r in csv.DictReader(file)
        ]
    head = ("Threat", "claimed ▬", "control here", "shown by", "what it cannot do")
    return StaticPanel(
        "<h2>What stands against which threat?</h2><p class='sub'>The FAQ's percentages have no source and no method; nothing here is a "
        f"percentage that was not measured.</p>{table(head, rows, left=(1, 2, 3, 4))}"
    )
