"""The panel that shows what each precision buys in vLLM on a GPU."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.core.runs import Run
from workbench.core.serving_speed import SERVED, Served, ServingSpeedSpec
from workbench.core.units import shown_duration, three_digits
from workbench.experiments.serving_speed import with_roofline
from workbench.experiments.speed_verdict import gains, sequences_that_fit, shown_share, speed_verdict
from workbench.figures.serving_speed import gain_over_plain, styles_of, time_per_token
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import html, labelled
from workbench.panels.choices import OFFERED_MODELS
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import code_block, run_label, runs_of_kind

KIND = "serving_speed"
TITLE = "What does each precision buy in vLLM?"
DEFAULT_PLAN = {"qkv": "fp8", "o_proj": "fp8", "gate_up": "w4a16", "down_proj": "fp8"}
"""The fastest format of each product at small batches on an H200 (``gemm`` run that ships)."""
FLAGS = {
    "bf16": "--dtype bfloat16",
    "fp8": "--quantization fp8",
    "bf16+fp8-kv": "--dtype bfloat16 --kv-cache-dtype fp8",
    "fp8+fp8-kv": "--quantization fp8 --kv-cache-dtype fp8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    served: tuple[str, ...] = SERVED
    batch: int = 1
    context_tokens: int = 1024
    model: str = "data/models/llama-3.1-8b-shape"


class ServingSpeedPanel(AnswerPanel):
    """Steps of vLLM by precision, batch and context; the runs of a GPU ship with the workbench."""

    tab_titles = ("Launch command", "Spec as code", "All cells")

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-speed", manager=manager, poll_s=poll_s)
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        first = self.runs[0] if self.runs else None
        self.state = SpeedState(
            run_id=first.id if first else None, served=tuple(first.spec["served"]) if first else SERVED
        )
        self._build()
        self.draw()
        self.attach_to_live_job()

    def _build(self) -> None:
        later = {"continuous_update": False}
        self.controls = {
            "run_id": labelled(widgets.Dropdown, "Shown run", value=self.state.run_id, options=self._run_options()),
            "context_tokens": labelled(widgets.Dropdown, "Context, tokens", options=[1024], value=1024),
            "batch": labelled(widgets.Dropdown, "Sequences decoded together", options=[1], value=1),
            "model": labelled(
                widgets.Combobox,
                "Model to measure (folder)",
                value=self.state.model,
                options=list(OFFERED_MODELS),
                **later,
            ),
        }
        names = dict.fromkeys((*SERVED, "fp8+fp8-kv", *self.state.served))
        self.served_buttons = {s: widgets.ToggleButton(description=Served.read(s).label) for s in names}
        for button in self.served_buttons.values():
            button.observe(self.guarded(self._served_changed), names="value")
        buttons = widgets.Box(list(self.served_buttons.values()))
        buttons.add_class("wb-methods")
        c = self.controls
        self.build([c["run_id"], html("Precisions"), buttons, c["context_tokens"], c["batch"], c["model"]])

    def _run_options(self) -> list[tuple[str, str | None]]:
        return [(run_label(r), r.id) for r in self.runs] or [("no run yet", None)]

    def _served_changed(self, _change: Any) -> None:
        if not self._quiet:
            self.update(served=tuple(s for s, b in self.served_buttons.items() if b.value))

    def settled(self, state: SpeedState, changes: dict[str, Any]) -> SpeedState:
        """Another run brings its own precisions and cells."""
        run = self._shown(state)
        if run is None:
            return state
        if "run_id" in changes:
            state = replace(state, served=tuple(run.spec["served"]))
        contexts = sorted({int(r["context_tokens"]) for r in run.results if "context_tokens" in r})
        batches = self._batches(run, state.context_tokens)
        if state.context_tokens not in contexts and contexts:
            state = replace(state, context_tokens=contexts[0])
            batches = self._batches(run, state.context_tokens)
        return state if state.batch in batches or not batches else replace(state, batch=batches[0])

    def _batches(self, run: Run, context_tokens: int) -> list[int]:
        return sorted({int(r["batch"]) for r in run.results if r.get("context_tokens") == context_tokens})

    def _shown(self, state: SpeedState) -> Run | None:
        return next((r for r in self.runs if r.id == state.run_id), None)

    def show_controls(self) -> None:
        """What the shown run offers."""
        run = self._shown(self.state)
        offers: dict[str, list[Any]] = {"run_id": self._run_options()}
        if run is not None:
            offers["context_tokens"] = sorted({int(r["context_tokens"]) for r in run.results if "context_tokens" in r})
            offers["batch"] = self._batches(run, self.state.context_tokens)
        for name, options in offers.items():
            if list(self.controls[name].options) != options:
                self.controls[name].options = options
        for name, button in self.served_buttons.items():
            button.value = name in self.state.served
        super().show_controls()

    @property
    def plan(self) -> ServingSpeedSpec:
        """The measurement that Run starts."""
        mixed = any(Served.read(s).format == "mixed" for s in self.state.served)
        return ServingSpeedSpec(
            model=self.state.model, served=self.state.served or ("bf16",), plan=DEFAULT_PLAN if mixed else None
        )

    def check(self) -> None:
        """The model is one and vLLM is there, before a job is started."""
        from workbench.engines.environments import require
        from workbench.telemetry.devices import chosen_device

        model_spec_from(self.state.model)
        require("vllm", device=chosen_device("auto").kind)

    def finished(self, view: JobView) -> None:
        """Show the new run."""
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        self.update(run_id=view.id)

    def view(self) -> AnswerView:
        """The answer to the state."""
        run, state = self._shown(self.state), self.state
        if run is None:
            answer = message_card(
                "info", "No run yet.", "vLLM's steps were not measured.", "Press Run on a machine with vLLM."
            )
            code = code_block(self.plan.as_code())
            header = f"<h2>{TITLE}</h2>"
            return AnswerView(header=header, answer=answer, figures=(), table="", tabs=("", code, ""), run=None)
        rows = [r for r in with_roofline(run) if r["served"] in state.served]
        shown = replace(run, results=list[Mapping[str, Any]](rows))
        verdict = speed_verdict(shown, batch=state.batch, context_tokens=state.context_tokens)
        at_context = [r for r in rows if r["status"] == "measured" and r["context_tokens"] == state.context_tokens]
        styles = styles_of(run.spec["served"])
        labels = {s: Served.read(s).label for s in run.spec["served"]}
        return AnswerView(
            header=f"<h2>{TITLE}</h2><p class='sub'>{_stands_on(run)}</p>",
            answer=verdict_card(verdict.headline, verdict.evidence, verdict.objection, is_stale=False),
            figures=(
                lambda: time_per_token(
                    at_context, context_tokens=state.context_tokens, styles=styles, best=verdict.best
                ),
                lambda: gain_over_plain(
                    gains(shown, context_tokens=state.context_tokens), labels=labels, styles=styles
                ),
            ),
            table=_table(rows, state, best=verdict.best),
            tabs=(_launch(run, verdict.best), code_block(self.plan.as_code()), _all_cells(rows)),
            run=run,
        )


def _stands_on(run: Run) -> str:
    env = run.environment
    return (
        f"● measured · {escape(Path(run.spec['model']).name)}, random weights · vLLM {env.packages.get('vllm', '–')} on "
        f"{escape(env.device)} · inside the engine, without HTTP · {run.spec['decode_steps']} steps a cell · run {run.id}, "
        f"{run.day} · ◌ roofline: published bandwidth and peak rates"
    )


def _table(rows: list[dict[str, Any]], state: SpeedState, *, best: str | None) -> str:
    here = [r for r in rows if r.get("batch") == state.batch and r.get("context_tokens") == state.context_tokens]
    plain = next((r["tpot_p50_s"] for r in here if r["served"] == "bf16" and r["status"] == "measured"), None)
    cells: list[tuple[str, ...]] = []
    highlighted = None
    for r in here:
        if r["status"] != "measured":
            cells.append((escape(r["label"]), f"{r['status']}: more cache than the card holds"))
            continue
        if r["served"] == best:
            highlighted = len(cells)
        cells.append(
            (
                escape(r["label"]),
                f"{shown_duration(r['tpot_p50_s'])} / {shown_duration(r['tpot_p99_s'])}",
                f"{plain / r['tpot_p50_s']:.2f}×" if plain else "–",
                shown_share(r.get("step_roofline_fraction")),
                three_digits(r["prefill_tokens_per_s"]),
                shown_share(r.get("prefill_roofline_fraction")),
                f"{r['kv_capacity_tokens']:,}".replace(",", "\u202f"),
                str(sequences_that_fit(r) or "–"),
            )
        )
    cells += [(escape(r["label"]), f"failed: {escape(r['reason'])}") for r in rows if r["status"] == "failed"]
    head = (
        "Precision ●",
        "time per token, p50 / p99",
        "over BF16",
        "of roofline ◌",
        "prefill, tok/s",
        "of roofline ◌",
        "cache, tokens",
        f"sequences of {state.context_tokens}",
    )
    return table(head, cells, highlighted=highlighted)


def _launch(run: Run, best: str | None) -> str:
    if best is None:
        return "<p>Nothing was measured in this cell.</p>"
    model, served = run.spec["model"], Served.read(best)
    if best in FLAGS:
        return code_block(f"vllm serve {model} {FLAGS[best]}")
    scheme = {"w8a8": "smoothquant-w8a8", "w4a16": "gptq-w4a16", "w4a16-asym": "awq-w4a16", "mixed": "mixed"}
    plan = " --plan plan.json" if served.format == "mixed" else ""
    return code_block(
        f"workbench checkpoints {model} --schemes {scheme.get(str(served.format), 'gptq-w4a16')}{plan} --out checkpoints\n"
        f"vllm serve checkpoints/*" + (f"\n# plan.json: {dict(run.spec['plan'])}" if plan else "")
    )


def _all_cells(rows: list[dict[str, Any]]) -> str:
    measured = [r for r in rows if r["status"] == "measured"]
    names = list(dict.fromkeys((r["served"], r["label"]) for r in measured))
    by_cell = {(r["served"], r["batch"], r["context_tokens"]): r for r in measured}
    lines = []
    for batch, context in dict.fromkeys((r["batch"], r["context_tokens"]) for r in measured):
        cells = [by_cell.get((served, batch, context)) for served, _ in names]
        shown = [
            f"{r['tpot_p50_s'] * 1e3:.2f} <small>{shown_share(r.get('step_roofline_fraction'))}</small>" if r else "–"
            for r in cells
        ]
        lines.append((f"{batch} × {context}", *shown))
    intro = "<p>● Time per output token in ms (median) and ◌ the share of it that the roofline accounts for.</p>"
    return intro + table(("sequences × tokens", *(escape(label) for _, label in names)), lines)


def panel(**options: Any) -> ServingSpeedPanel:
    """The panel, attached to a run that is still going."""
    return ServingSpeedPanel(**options)
