"""The panel of pictures with captions: fusion, missing modalities, routing, precision by tower, and two threads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as widgets

from workbench.catalog.tables import claims
from workbench.core.fusion import FUSIONS, FusionSpec
from workbench.core.units import shown_duration
from workbench.figures.fusion import accuracy_by_missing, ratios
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import BEGINS_ANEW, POLL_S
from workbench.panels.run_list import RunListPanel
from workbench.panels.shared_view import code_block

KIND = "fusion"
TITLE = "What do two modalities cost, and what when one is missing?"
QUESTION = 12
WORDS = {"faster": "faster", "slower": "<b>slower</b>", "no difference shown": "none shown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    batch: str = "1"
    routed: str = "mid"
    lost_percent: float = 2.0
    retrain: bool = False


class FusionPanel(RunListPanel):
    """Run measures the networks that ship, or trains them anew."""

    cancelled_note = BEGINS_ANEW
    tab_titles = (
        "Worn pictures and missing captions",
        "Routing",
        "Precision by tower",
        "Side by side",
        "Claims beside",
        "On a command line, as code",
    )

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-fusion", manager=manager, poll_s=poll_s)
        self.state = FusionState(run_id=self.first_id)
        self.controls = {
            "run_id": labelled(widgets.Dropdown, "Shown", value=self.first_id, options=self.options()),
            "batch": labelled(widgets.Dropdown, "Batch that is drawn", value="1", options=["1", "64"]),
            "routed": labelled(
                widgets.Dropdown, "Routed and quantized", value="mid", options=[(v, k) for k, v in FUSIONS.items()]
            ),
            "lost_percent": labelled(
                widgets.BoundedFloatText, "Routing may lose, %", value=2.0, min=0.1, max=50, continuous_update=False
            ),
            "retrain": labelled(widgets.Checkbox, "Train anew (a minute)", value=False),
        }
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    @property
    def plan(self) -> FusionSpec:
        """What Run measures."""
        s = self.state
        return FusionSpec(routed=s.routed, most_lost=s.lost_percent / 100, retrain=s.retrain)

    def view(self) -> AnswerView:
        """The answer to the state."""
        run, batch = self.run, self.state.batch
        last = code_block(command(self.plan) + "\n\n" + self.plan.as_code())
        if run is None:
            card = message_card("caution", "Nothing was measured yet.", "Press Run.", "It takes half a minute.")
            return AnswerView(
                header=f"<h2>{TITLE}</h2>", answer=card, figures=(), table="", tabs=("", "", "", "", "", last), run=None
            )
        parts: dict[str, list[Mapping[str, Any]]] = {}
        for r in run.results:
            parts.setdefault(r["part"], []).append(r)
        return AnswerView(
            header=f"<h2>{TITLE}</h2><p class='sub'>● measured with trained networks on digits with generated captions, {escape(run.environment.cpu)}, "
            f"run {run.id}, {run.day}</p>",
            answer=verdict(parts),
            figures=(
                lambda: accuracy_by_missing(parts["missing"]),
                lambda: ratios(
                    [*parts["precision"], *parts["parallel"], _routing_as_row(parts["routing"][0])],
                    batch=batch,
                    title="Precision, side by side, routing: really faster?",
                ),
            ),
            table=drops_table(parts["drop"]),
            tabs=(
                lambda: worn_table(parts["worn"]),
                lambda: routing_table(parts["routing"][0]),
                lambda: precision_table(parts["precision"]),
                lambda: parallel_table(parts["parallel"]),
                lambda: claims_table(parts),
                last,
            ),
            run=run,
        )


def _routing_as_row(r: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"what": "skipping the picture", "times": r["times"]}


def verdict(parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """What dropping modalities in training saves, and what routing skips."""
    best = min(parts["drop"], key=lambda r: r["ratio"])
    r = parts["routing"][0]
    low, high = best["ratio_interval"]
    same = [x["fusion"] for x in parts["drop"] if x["ratio_interval"][1] >= 1]
    return verdict_card(
        f"With half of the pictures missing, {best['fusion']} fusion loses {100 * best['drop_without']:.0f} points, and {100 * best['drop_with']:.0f} when "
        "modalities were dropped in training.",
        f"That is {best['ratio']:.2f} times as much ({low:.2f} to {high:.2f}). "
        + (
            f"For {', '.join(same)} fusion it makes no difference: a missing picture leaves its weighed logits alone. "
            if same
            else ""
        )
        + f"Where the caption decides, {100 * r['held_out_skipped_fraction']:.0f} % of the pictures are skipped and {100 * r['held_out_lost_fraction']:.1f} % of the "
        f"answers lost (guaranteed: {100 * r['limit_fraction']:.1f} %).",
        "Digits of 8 by 8 pixels and generated captions: the shares are of this data, the method is for yours.",
        is_stale=False,
    )


def _with_interval(r: Mapping[str, Any]) -> str:
    low, high = r["accuracy_interval"]
    return f"{100 * r['accuracy']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def drops_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Loss of accuracy with half of the pictures missing."""
    head = ("Fusion ●", "loses without dropped modalities", "with", "ratio")
    cells = [
        (
            escape(FUSIONS[r["fusion"]]),
            f"{100 * r['drop_without']:.1f} points",
            f"{100 * r['drop_with']:.1f} points",
            f"{r['ratio']:.2f} ({r['ratio_interval'][0]:.2f} to {r['ratio_interval'][1]:.2f})",
        )
        for r in rows
    ]
    return table(head, cells)


def worn_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy with noise and hidden parts, and without captions."""
    head = ("Fusion ●", "dropped in training", "input", "accuracy")
    return table(
        head,
        [(r["fusion"], "yes" if r["has_dropout"] else "no", escape(r["what"]), _with_interval(r)) for r in rows],
        left=(1, 2),
    )


def routing_table(r: Mapping[str, Any]) -> str:
    """Threshold, guarantee and what came of it."""
    rows = [
        ("confidence of the caption from which on the picture is skipped", f"{r['confidence']:.3f}"),
        (
            "guaranteed loss",
            f"at most {100 * r['limit_fraction']:.1f} %, {100 * r['level']:.0f} % sure, from {r['n']} inputs",
        ),
        ("skipped on held-out data", f"{100 * r['held_out_skipped_fraction']:.1f} % of {r['n_held_out']}"),
        ("lost on held-out data", f"{100 * r['held_out_lost_fraction']:.2f} %"),
        ("accuracy, always looking / routed", f"{100 * r['accuracy_always']:.2f} / {100 * r['accuracy']:.2f} %"),
        *((f"times as fast, batch {b}", _ratio(t)) for b, t in r["times"].items()),
    ]
    return table(("What ●", "measured"), rows)


def _ratio(t: Mapping[str, Any]) -> str:
    if "ratio" not in t:
        return "1"
    low, high = t["ratio_interval"]
    return f"{t['ratio']:.2f} ({low:.2f} to {high:.2f}), {WORDS[t['verdict']]}"


def precision_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Each tower in INT8."""
    batches = list(rows[0]["times"])
    head = ("Towers ●", "accuracy", "flips", "McNemar p", "kB", *(f"times as fast, batch {b}" for b in batches))
    cells = [
        (
            escape(r["what"]),
            _with_interval(r),
            f"{r['flips']} of {r['n']}",
            f"{r['mcnemar_p']:.2g}",
            f"{r['n_bytes'] / 1e3:.0f}",
            *(_ratio(r["times"][b]) for b in batches),
        )
        for r in rows
    ]
    return table(head, cells)


def parallel_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Two threads against one after the other."""
    batches = list(rows[0]["times"])
    head = (
        "Two threads against one ●",
        *(f"p50, batch {b}" for b in batches),
        *(f"times as fast, batch {b}" for b in batches),
    )
    cells = [
        (
            escape(r["what"]),
            *(shown_duration(r["times"][b]["p50_s"]) for b in batches),
            *(_ratio(r["times"][b]) for b in batches),
        )
        for r in rows
    ]
    return (
        "<p>Handing work to another thread costs tens of microseconds: small towers lose by it. The FAQ's code promises to run modalities in "
        f"parallel and loops over them.</p>{table(head, cells)}"
    )


def claims_table(parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The FAQ's gains beside what was measured."""
    head = ("Technique", "claimed ▬", "measured here ●")
    own = {
        "modality fusion": "accuracy differs, time does not by a fixed share: see the fusions above",
        "parallel modalities": _range([r["times"] for r in parts["parallel"]]),
        "feature cache": "pays from a share of repeated pictures on: see the panel of pictures in vLLM",
        "per-modality quantization": _range([r["times"] for r in parts["precision"]]),
        "dynamic routing": _range([parts["routing"][0]["times"]]),
    }
    cells = [
        (escape(c.technique), f"{c.low:g} to {c.high:g} %", own.get(c.technique, "not measured"))
        for c in claims()
        if c.question == QUESTION
    ]
    return table(head, cells, left=(2,))


def _range(times: Sequence[Mapping[str, Any]]) -> str:
    found = [t["ratio"] for by in times for t in by.values() if "ratio" in t]
    return f"{min(found):.2f} to {max(found):.2f} times as fast" if found else "not measured"


def command(plan: FusionSpec) -> str:
    """The same on a command line."""
    return f"workbench fusion --routed {plan.routed} --lost {plan.most_lost:g}" + (" --retrain" if plan.retrain else "")


def panel(**options: Any) -> FusionPanel:
    """The panel, on the newest run."""
    return FusionPanel(**options)
