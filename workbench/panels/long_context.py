"""The panel that answers how long a context fits and how fast it is: planned for any device, measured on this one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from workbench.catalog.models import catalog_models, model_spec_from
from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.catalog.paths import located
from workbench.catalog.tables import devices
from workbench.core.errors import NotAModel, WorkbenchError
from workbench.core.long_context import LongContextSpec
from workbench.core.models import ModelSpec
from workbench.core.runs import Run
from workbench.core.units import shown_bytes, shown_duration
from workbench.estimate.kv_cache import ContextPlan, context_plan
from workbench.experiments.context_verdict import long_context_verdict, reading_series, rows_of
from workbench.figures.long_context import memory_by_context, waiting_times
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import labelled
from workbench.panels.choices import OFFERED_MODELS
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import code_block, run_label, runs_of_kind

KIND = "long_context"
TITLE = "How long a context can I serve?"
PRECISIONS = {
    "BF16 weights, BF16 cache": (16.0, 16.0),
    "BF16 weights, FP8 cache": (16.0, 8.0),
    "FP8 weights, BF16 cache": (8.0, 16.0),
    "FP8 weights, FP8 cache": (8.0, 8.0),
    "INT4 weights, BF16 cache": (4.25, 16.0),
    "INT4 weights, FP8 cache": (4.25, 8.0),
}
"""Bits of weights (INT4 with a scale for each 64) and of the cache."""
CONTEXTS = tuple(2**n for n in range(10, 21))


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    model: str = "data/models/llama-3.1-8b-shape"
    device: str = "h200-sxm"
    n_devices: int = 1
    precision: str = "BF16 weights, BF16 cache"
    context_tokens: int = 131072
    batch: int = 1


class LongContextPanel(AnswerPanel):
    """A plan for any model and device of the catalogue beside what was measured."""

    tab_titles = ("Launch command", "Spec as code", "Caches compared", "Measured")

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-context", is_tall=True, manager=manager, poll_s=poll_s)
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        first = next((r for r in self.runs if r.environment.device_id != "cpu"), next(iter(self.runs), None))
        self.state = ContextState(run_id=first.id if first else None)
        later = {"continuous_update": False}
        names = [*OFFERED_MODELS, *(n for n, m in catalog_models().items() if m.kv_layers)]
        self.controls = {
            "run_id": labelled(widgets.Dropdown, "Shown run", value=self.state.run_id, options=self._run_options()),
            "model": labelled(
                widgets.Combobox, "Model (folder or catalogue)", value=self.state.model, options=names, **later
            ),
            "device": labelled(
                widgets.Dropdown,
                "Device",
                value=self.state.device,
                options=[(d.name, d.id) for d in devices().values() if d.memory_bytes],
            ),
            "n_devices": labelled(widgets.Dropdown, "Devices (tensor parallel)", value=1, options=[1, 2, 4, 8]),
            "precision": labelled(widgets.Dropdown, "Precision", value=self.state.precision, options=list(PRECISIONS)),
            "context_tokens": labelled(
                widgets.BoundedIntText, "Context, tokens", value=131072, min=1, max=100_000_000, step=1024, **later
            ),
            "batch": labelled(widgets.BoundedIntText, "Sequences at once", value=1, min=1, max=100_000, **later),
        }
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    def _run_options(self) -> list[tuple[str, str | None]]:
        return [(run_label(r), r.id) for r in self.runs] or [("no run yet", None)]

    def show_controls(self) -> None:
        """Runs that can be shown."""
        if list(self.controls["run_id"].options) != self._run_options():
            self.controls["run_id"].options = self._run_options()
        super().show_controls()

    @property
    def plan(self) -> LongContextSpec:
        """The measurement that Run starts: up to the chosen context, or to the model's own limit."""
        model = model_spec_from(self.state.model)
        longest = min(self.state.context_tokens, (model.max_context_tokens or self.state.context_tokens) - 64)
        lengths = [n for n in (512, 2048, 8192, 32768) if n < longest]
        return LongContextSpec(model=self.state.model, lengths=(*lengths, max(1, longest)), chunks=(512, 2048))

    def check(self) -> None:
        """The model is a folder and its weights fit, before a job is started."""
        from workbench.experiments.context_limits import check_fits
        from workbench.telemetry.devices import chosen_device

        model = model_spec_from(self.state.model)
        if not Path(located(self.state.model)).is_dir():
            raise NotAModel(
                f"{self.state.model} is in the catalogue only, so it can be planned and not measured.",
                remedy="Name a folder to measure.",
            )
        check_fits(self.plan, model, chosen_device("auto"))

    def finished(self, view: JobView) -> None:
        """Show the new run."""
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        self.state = replace(self.state, run_id=view.id)
        self.draw()

    def planned(self, model: ModelSpec, *, context_tokens: int, precision: str | None = None) -> ContextPlan:
        """The plan for the chosen device at some context."""
        weight_bits, kv_bits = PRECISIONS[precision or self.state.precision]
        return context_plan(
            model,
            memory_bytes=float(devices()[self.state.device].memory_bytes or 0),
            n_devices=self.state.n_devices,
            weight_bits=weight_bits,
            kv_bits=kv_bits,
            context_tokens=context_tokens,
            batch=self.state.batch,
        )

    def view(self) -> AnswerView:
        """The answer to the state."""
        state, run = self.state, next((r for r in self.runs if r.id == self.state.run_id), None)
        try:
            model = model_spec_from(state.model)
            plan = self.planned(model, context_tokens=state.context_tokens)
            code = code_block(self.plan.as_code())
        except WorkbenchError as error:
            answer = message_card("failure", "No plan.", error.cause, error.remedy)
            tabs = ("", "", "", "")
            return AnswerView(header=f"<h2>{TITLE}</h2>", answer=answer, figures=(), table="", tabs=tabs, run=run)
        figures: list[Any] = [lambda: self._memory(model, plan, run)]
        series = reading_series(run) if run else {}
        if series:
            figures.append(lambda: waiting_times(series, context_tokens=state.context_tokens))
        measured = ""
        if run:
            verdict = long_context_verdict(run)
            measured = verdict_card(verdict.headline, verdict.evidence, verdict.objection, is_stale=False)
        return AnswerView(
            header=f"<h2>{TITLE}</h2><p class='sub'>{_stands_on(run)}</p>",
            answer=_planned_card(plan, state, model) + measured,
            figures=tuple(figures),
            table=self._table(model),
            tabs=(code_block(self.launch_command()), code, _caches(run), _all_rows(series)),
            run=run,
        )

    def _memory(self, model: ModelSpec, plan: ContextPlan, run: Run | None) -> Any:
        contexts = sorted({*CONTEXTS, self.state.context_tokens})
        caches = [self.planned(model, context_tokens=n).cache_bytes for n in contexts]
        return memory_by_context(
            contexts=contexts,
            cache_bytes=caches,
            weight_bytes=plan.weight_bytes + plan.workspace_bytes,
            memory_bytes=plan.usable_bytes,
            context_tokens=self.state.context_tokens,
            measured=_allocated(run, model) if self.state.batch == 1 and self.state.n_devices == 1 else (),
        )

    def launch_command(self) -> str:
        """How vLLM is started with the plan's settings."""
        state, model = self.state, model_spec_from(self.state.model)
        weight_bits, kv_bits = PRECISIONS[state.precision]
        parts = [
            f"vllm serve {state.model}",
            f"--max-model-len {state.context_tokens}",
            f"--max-num-seqs {state.batch}",
            "--max-num-batched-tokens 8192",
            "--enable-prefix-caching",
            "--gpu-memory-utilization 0.9",
        ]
        if weight_bits == 8:
            parts.append("--quantization fp8")
        if kv_bits == 8:
            parts.append("--kv-cache-dtype fp8")
        if state.n_devices > 1:
            parts.append(f"--tensor-parallel-size {state.n_devices}")
        lines = " \\\n  ".join(parts)
        if weight_bits < 8:
            lines = "# INT4 needs a quantized checkpoint: workbench checkpoints\n" + lines
        if model.max_context_tokens and state.context_tokens > model.max_context_tokens:
            lines = f"# beyond the {model.max_context_tokens} tokens the model was made for\n" + lines
        return lines

    def _table(self, model: ModelSpec) -> str:
        head = ("Precision ◌", "weights", f"cache at {self.state.context_tokens}", "of usable", "longest context")
        rows = []
        for name in PRECISIONS:
            plan = self.planned(model, context_tokens=self.state.context_tokens, precision=name)
            rows.append(
                (
                    escape(name),
                    shown_bytes(plan.weight_bytes),
                    shown_bytes(plan.cache_bytes),
                    f"{100 * plan.needed_bytes / plan.usable_bytes:.0f} %",
                    f"{plan.longest_tokens} tokens" if plan.longest_tokens else "does not fit",
                )
            )
        return table(head, rows, highlighted=list(PRECISIONS).index(self.state.precision))


def _planned_card(plan: ContextPlan, state: ContextState, model: ModelSpec) -> str:
    device = devices()[state.device].name
    devices_text = f"{state.n_devices} × {device}" if state.n_devices > 1 else device
    sequences = f"{state.batch} sequences of {state.context_tokens}" if state.batch > 1 else str(state.context_tokens)
    parts = (
        f"weights {shown_bytes(plan.weight_bytes)}, cache {shown_bytes(plan.cache_bytes)}, workspace "
        f"{shown_bytes(plan.workspace_bytes)} of {shown_bytes(plan.usable_bytes)} usable"
    )
    beyond = ""
    if model.max_context_tokens and state.context_tokens > model.max_context_tokens:
        beyond = (
            f" {model.name} was made for {model.max_context_tokens} tokens; what it answers beyond is not promised."
        )
    if plan.does_fit:
        cause = (
            f"◌ {sequences} tokens fit on {devices_text}: {parts}; memory ends at {plan.longest_tokens} tokens.{beyond}"
        )
        return message_card("caution" if beyond else "info", "It fits.", cause, "")
    remedy = (
        f"Up to {plan.longest_tokens} tokens fit; or use fewer bits, fewer sequences or more devices."
        if plan.longest_tokens
        else "Use fewer bits for the weights, a larger device or more devices."
    )
    return message_card(
        "failure", "It does not fit.", f"◌ {sequences} tokens on {devices_text}: {parts}.{beyond}", remedy
    )


def _allocated(run: Run | None, model: ModelSpec) -> list[tuple[str, int, float]]:
    """Memory that was really taken, with the weights, where the run is of this model."""
    if run is None or Path(run.spec["model"]).name != model.name:
        return []
    points = {
        r["length_tokens"]: ("PyTorch", int(r["length_tokens"]), float(r["peak_bytes"]))
        for r in rows_of(run, "reading")
        if r.get("peak_bytes")
    }
    return list(points.values())


def _stands_on(run: Run | None) -> str:
    if run is None:
        return "◌ planned only; no run yet"
    env = run.environment
    packages = " · ".join(f"{p} {env.packages[p]}" for p in ("torch", "transformers", "vllm") if p in env.packages)
    return (
        f"◌ plan: catalogue · ● measured: {escape(Path(run.spec['model']).name)} on {escape(env.device)}, {packages} · "
        f"run {run.id}, {run.day}"
    )


def _caches(run: Run | None) -> str:
    rows = rows_of(run, "cache") if run else []
    if not rows:
        return "<p>No caches were compared.</p>"
    head = (
        "Cache of transformers ●",
        "held",
        "on the device",
        "prompt read in",
        "per token",
        "largest logit difference",
    )
    cells: list[tuple[str, ...]] = []
    for r in rows:
        if r["status"] != "measured":
            cells.append((escape(r["cache"]), f"{r['status']}: {escape(r['reason'])}"))
            continue
        name = r["cache"] + (f", window {r['window_tokens']}" if "window_tokens" in r else "")
        cells.append(
            (
                escape(name),
                shown_bytes(r["kv_held_bytes"]),
                shown_bytes(max(0, r["device_bytes"])),
                shown_duration(r["read_s"]),
                shown_duration(r["step_p50_s"]) if r["step_p50_s"] else "–",
                f"{r['max_logit_difference']:.1e}",
            )
        )
    return table(head, cells) + f"<p>{rows[0]['length_tokens']} tokens; times are of single, unwarmed runs.</p>"


def _all_rows(series: Mapping[str, Any]) -> str:
    head = ("How ●", "context", "first token", "prefix cached", "per token, p50", "cache")
    cells = [
        (
            escape(name),
            str(r["length_tokens"]),
            shown_duration(r["ttft_s"]),
            shown_duration(r["ttft_prefix_s"]) if "ttft_prefix_s" in r else "–",
            shown_duration(r["step_p50_s"]),
            f"{r['kv_capacity_tokens']} tokens"
            if r.get("kv_capacity_tokens")
            else shown_bytes(r.get("kv_held_bytes") or 0),
        )
        for name, rows in series.items()
        for r in rows
    ]
    return table(head, cells) if cells else "<p>Nothing was read yet.</p>"


def panel(**options: Any) -> LongContextPanel:
    """The panel, attached to a run that is still going."""
    return LongContextPanel(**options)
