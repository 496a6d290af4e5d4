"""The panel of what pictures cost in vLLM, by part and with caches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as widgets

from workbench.catalog.paths import MEASURED
from workbench.core.images import CACHES, ImagesSpec
from workbench.core.runs import Run
from workbench.core.units import shown_duration
from workbench.figures.images import time_by_hit_rate, ttft_parts
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import BEGINS_ANEW, POLL_S
from workbench.panels.run_list import RunListPanel
from workbench.panels.shared_view import code_block, runs_of_kind

KIND = "images"
HELD = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    only_held_out: bool = False
    text_tokens: int = 64
    repeats: int = 15
    hit_size: str = "896x896"


class ImagesPanel(RunListPanel):
    """Run measures vLLM with pictures on this machine's GPU."""

    cancelled_note = BEGINS_ANEW
    tab_titles = ("Caches", "Errors of the prediction", "On a server, under load", "As code")

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-images", manager=manager, poll_s=poll_s)
        self.state = ImagesState(run_id=self.first_id)
        later = {"continuous_update": False}
        self.controls = {
            "run_id": labelled(widgets.Dropdown, "Shown", value=self.first_id, options=self.options()),
            "only_held_out": labelled(widgets.Checkbox, "Only sizes that were predicted", value=False),
            "text_tokens": labelled(
                widgets.BoundedIntText, "Words beside them, tokens", value=64, min=1, max=4096, **later
            ),
            "repeats": labelled(widgets.BoundedIntText, "Requests of each cell", value=15, min=3, max=101, **later),
            "hit_size": labelled(widgets.Text, "Picture of the caches, height x width", value="896x896", **later),
        }
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    def label(self, run: Run) -> str:
        """Shape, device and time."""
        return f"{run.spec['model'].split('/')[-1]} · {super().label(run)}"

    @property
    def plan(self) -> ImagesSpec:
        """What Run measures."""
        s = self.state
        return ImagesSpec(text_tokens=s.text_tokens, repeats=s.repeats, hit_size=s.hit_size)

    def view(self) -> AnswerView:
        """The answer to the state."""
        run = self.run
        code = code_block(command() + "\n\n" + self.plan.as_code())
        header = "<h2>Where does the time go, and when does a cache pay?</h2>"
        if run is None or not cells_of(run):
            card = message_card(
                "caution",
                "Nothing was measured yet.",
                "Press Run.",
                "It needs a GPU and vLLM, and takes eight minutes.",
            )
            return AnswerView(header=header, answer=card, figures=(), table="", tabs=("", "", "", code), run=None)
        cells = [c for c in cells_of(run) if c["held_out"] or not self.state.only_held_out]
        streams = [r for r in run.results if r["part"] == "stream"]
        evens = [r for r in run.results if r["part"] == "break-even"]
        drawn = [c for c in cells if c["n_images"] == 1]
        return AnswerView(
            header=f"{header}<p class='sub'>● measured on {escape(run.environment.device)}, vLLM {run.environment.packages.get('vllm', '')}, "
            f"random weights of the shape {escape(run.spec['model'].split('/')[-1])}: times are real, answers mean nothing; run {run.id}, {run.day}</p>",
            answer=images_verdict(cells_of(run), evens),
            figures=(
                lambda: ttft_parts(drawn),
                lambda: time_by_hit_rate(streams, evens, CACHES),
            ),
            table=cells_table(cells),
            tabs=(
                caches_table(streams, evens),
                lambda: errors_table(cells_of(run)),
                lambda: served_table(self.manager),
                code,
            ),
            run=run,
        )


def cells_of(run: Run) -> list[dict[str, Any]]:
    """Measured cells by tokens, with a label."""
    found = [dict(r) for r in run.results if r["part"] == "cell"]
    for r in found:
        r["label"] = f"{r['n_images']} × {r['height_px']}×{r['width_px']}"
    return sorted(found, key=lambda r: r["ttft_p50_s"])


def images_verdict(cells: Sequence[Mapping[str, Any]], evens: Sequence[Mapping[str, Any]]) -> str:
    """Shares of the parts, how good the prediction is, and where caches break even."""
    middle = cells[len(cells) // 2]
    total = middle["ttft_p50_s"]
    held = [abs(c["error_fraction"]) for c in cells if c["held_out"]]
    within = sum(e <= HELD for e in held)
    even = ", ".join(
        f"{CACHES[e['cache']]} from {100 * e['hit_rate']:.0f} %" for e in evens if e["hit_rate"] is not None
    )
    return verdict_card(
        f"With {middle['label']} pixels the host takes {100 * middle['accept_s'] / total:.0f} %, the encoder {100 * middle['encoder_s'] / total:.0f} %, "
        f"the language model {100 * middle['prompt_s'] / total:.0f} % of the time to the first token.",
        f"Of {len(held)} sizes and numbers that nothing was learnt from, {within} are predicted within {100 * HELD:.0f} % (worst {100 * max(held, default=0):.0f} %). "
        f"Caches pay from these shares of pictures seen before: {even or 'not measured'}.",
        "A picture that a cache does not know costs more than without the cache: the host looks for it, takes words and picture apart and keeps what it made.",
        is_stale=False,
    )


def cells_table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Parts by cell."""
    head = (
        "Pictures ●",
        "prompt tokens",
        "host",
        "encoder, projector",
        "language model",
        "TTFT p50",
        "predicted ◌",
        "error",
    )
    rows = [
        (
            c["label"] + (" (held out)" if c["held_out"] else ""),
            f"{c['prompt_tokens']:,}",
            shown_duration(c["accept_s"]),
            f"{shown_duration(c['encoder_s'])}, {shown_duration(c['projector_s'])}",
            *(shown_duration(c[k]) for k in ("prompt_s", "ttft_p50_s", "predicted_ttft_s")),
            f"{100 * c['error_fraction']:+.1f} %",
        )
        for c in cells
    ]
    return table(head, rows)


def caches_table(streams: Sequence[Mapping[str, Any]], evens: Sequence[Mapping[str, Any]]) -> str:
    """Break-even, predicted and measured, and every point of the curve."""
    head = (
        "Cache ●",
        "new picture",
        "seen before",
        "without",
        "pays from, predicted ◌",
        "pays from, measured",
        "by parts alone ◌",
    )
    rows = []
    for e in evens:
        low, high = e["hit_rate_interval"]
        rows.append(
            (
                escape(CACHES[e["cache"]]),
                *(shown_duration(e[k]) for k in ("missed_s", "hit_s", "without_s")),
                _percent(e["predicted_hit_rate"]),
                f"{_percent(e['hit_rate'])} ({100 * low:.0f} to {100 * high:.0f})",
                _percent(e["by_parts_hit_rate"]),
            )
        )
    points = [
        (escape(CACHES[s["cache"]]), f"{100 * s['hit_rate']:.0f} %", shown_duration(s["ttft_mean_s"]), str(s["n"]))
        for s in streams
    ]
    return (
        "<p><i>Predicted</i> from requests that all miss or all hit; <i>measured</i> on streams of both. <i>By parts alone</i>: if a cache cost "
        f"no more than the time of a hash.</p>{table(head, rows)}{table(('Cache ●', 'seen before', 'mean TTFT', 'requests'), points)}"
    )


def _percent(x: float | None) -> str:
    return "never" if x is None else f"{100 * x:.0f} %"


def errors_table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Predicted against measured, where nothing was learnt."""
    rows = [
        (
            c["label"],
            shown_duration(c["ttft_p50_s"]),
            shown_duration(c["predicted_ttft_s"]),
            f"{100 * c['error_fraction']:+.1f} %",
            *(
                f"{1e3 * c['predicted_parts_s'][k]:.1f} / {1e3 * c[k]:.1f}"
                for k in ("accept_s", "encoder_s", "prompt_s")
            ),
            shown_duration(c["computed_ttft_s"]) if c["computed_ttft_s"] else "–",
        )
        for c in cells
        if c["held_out"]
    ]
    head = (
        "Held out ●",
        "measured",
        "predicted ◌",
        "error",
        "host, ms",
        "encoder, ms",
        "language model, ms",
        "from the calibration alone ◌",
    )
    return table(head, rows)


def served_table(manager: JobManager) -> str:
    """Loads with pictures on a server, the shipped ones and own ones."""
    rows = []
    found = runs_of_kind("load", store=manager.store, shipped=MEASURED / "images")
    for run in found:
        if not run.spec.get("n_images"):
            continue
        answers = run.results[0] if run.results else {}
        ttft = (answers.get("ttft_s") or {}).get("from_due", {})
        rows.append(
            (
                f"{run.spec['n_images']} × {escape(run.spec['image_sizes'])}",
                f"{run.spec['rate_per_s']:g}/s {run.spec['arrivals']}",
                f"{100 * run.spec['image_hit_fraction']:.0f} %",
                *(shown_duration(ttft[k]) if ttft.get(k) else "–" for k in ("p50", "p99")),
                run.day,
            )
        )
    if not rows:
        return "<p>No load with pictures was sent yet: <code>workbench load URL --endpoint chat --images 1</code>.</p>"
    return table(("Pictures ●", "arrivals", "sent before", "TTFT p50", "p99", "day"), rows)


def command() -> str:
    """The same on a command line."""
    return "workbench images tokens MODEL 896x1344\nworkbench images measure\nworkbench load URL --endpoint chat --images 1 --image-sizes 448x448:3,896x1344:1"


def panel(**options: Any) -> ImagesPanel:
    """The panel, on the newest run."""
    return ImagesPanel(**options)
