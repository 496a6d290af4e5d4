"""The panel that shows which attention is fastest at which length, and what it costs in memory and quality."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.catalog.paths import REFERENCE_MODEL_PLACE
from workbench.core.attention import TECHNIQUES, AttentionSpec
from workbench.core.runs import Run
from workbench.core.units import shown_bytes, shown_duration, three_digits
from workbench.experiments.attention_verdict import (
    attention_verdict,
    combined_cells,
    crossover_tokens,
    is_exact,
    measured_at,
    same_place,
)
from workbench.figures.attention import ceiling_share, found_by_length, time_and_memory
from workbench.figures.serving_speed import styles_of
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import html, labelled
from workbench.panels.choices import OFFERED_MODELS
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import code_block, run_label, runs_of_kind

KIND = "attention"
TITLE = "Which attention for which length?"
SHORT = (512, 1024, 2048, 4096, 8192)
"""Lengths of a run that is started here; a GPU goes further with ``workbench attention``."""
FIRST = ("flash", "cudnn", "fa3", "math", "query-chunked", "window", "window-flex", "block-sparse-flex")
"""Shown at first, where they were measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    phase: str = "prefill"
    length_tokens: int = 131072
    shown: tuple[str, ...] = FIRST
    model: str = REFERENCE_MODEL_PLACE
    window: int = 1024
    beside: str = "ceiling"
    """The second plot: "ceiling" or "found"."""


class AttentionPanel(AnswerPanel):
    """Techniques over length on one device; all its runs together, the newest measurement of each cell."""

    tab_titles = ("Commands", "Spec as code", "Quality", "All cells")

    def __init__(
        self, manager: JobManager | None = None, *, poll_s: float = POLL_S, lengths: tuple[int, ...] = SHORT
    ) -> None:
        super().__init__(KIND, css_class="wb-attention", is_tall=True, manager=manager, poll_s=poll_s)
        self.lengths = lengths
        self._load()
        first = next((r for r in self.runs if r.environment.device_id != "cpu"), next(iter(self.runs), None))
        self.state = AttentionState(run_id=self._place(first).id if first else None)
        later = {"continuous_update": False}
        self.controls = {
            "run_id": labelled(
                widgets.Dropdown, "Model and device", value=self.state.run_id, options=self._run_options()
            ),
            "phase": labelled(
                widgets.Dropdown,
                "Phase",
                value="prefill",
                options=[("reading a prompt", "prefill"), ("decoding", "decode")],
            ),
            "length_tokens": labelled(widgets.Dropdown, "Context, tokens", options=[131072], value=131072),
            "beside": labelled(
                widgets.Dropdown,
                "Second plot",
                value="ceiling",
                options=[("share of the ceiling", "ceiling"), ("what is still found", "found")],
            ),
            "model": labelled(
                widgets.Combobox,
                "Model to measure (folder)",
                value=self.state.model,
                options=list(OFFERED_MODELS),
                **later,
            ),
            "window": labelled(widgets.IntText, "Window to measure, tokens", value=1024, **later),
        }
        self.buttons = {t: widgets.ToggleButton(description=TECHNIQUES[t].label) for t in TECHNIQUES}
        for button in self.buttons.values():
            button.observe(self.guarded(self._shown_changed), names="value")
        buttons = widgets.Box(list(self.buttons.values()))
        buttons.add_class("wb-methods")
        c = self.controls
        first_rows = [c["run_id"], c["phase"], c["length_tokens"], html("Techniques"), buttons]
        self.build([*first_rows, c["beside"], c["model"], c["window"]])
        self.state = self.settled(self.state, {"run_id": self.state.run_id})
        self.draw()
        self.attach_to_live_job()

    def _load(self) -> None:
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        quality = runs_of_kind("context_quality", store=self.manager.store, shipped=SHIPPED)
        self.quality = max(quality, key=lambda r: len(r.results), default=None)

    def _place(self, run: Run) -> Run:
        """The newest run of the same model and device, which stands for all of them."""
        return same_place(self.runs, run)[0]

    def _run_options(self) -> list[tuple[str, str | None]]:
        places = list(dict.fromkeys(self._place(r).id for r in self.runs))
        return [(run_label(r), r.id) for r in self.runs if r.id in places] or [("no run yet", None)]

    def _shown_changed(self, _change: Any) -> None:
        if not self._quiet:
            self.update(shown=tuple(t for t, b in self.buttons.items() if b.value))

    def _cells(self, state: AttentionState) -> tuple[Run | None, list[Mapping[str, Any]]]:
        run = next((r for r in self.runs if r.id == state.run_id), None)
        return run, combined_cells(same_place(self.runs, run)) if run else []

    def settled(self, state: AttentionState, changes: dict[str, Any]) -> AttentionState:
        """Another place has other lengths and techniques."""
        _, cells = self._cells(state)
        if not cells:
            return state
        measured = {r["technique"] for r in cells if r["status"] == "measured"}
        if "run_id" in changes:
            state = replace(state, shown=tuple(t for t in FIRST if t in measured) or tuple(sorted(measured)))
        lengths = self._lengths(cells, state.phase)
        if state.length_tokens not in lengths and lengths:
            state = replace(state, length_tokens=min(lengths, key=lambda n: abs(n - state.length_tokens)))
        return state

    def _lengths(self, cells: Sequence[Mapping[str, Any]], phase: str) -> list[int]:
        return sorted({int(r["length_tokens"]) for r in cells if r["phase"] == phase and r["status"] == "measured"})

    def show_controls(self) -> None:
        """What the shown place offers; what it lacks is dashed."""
        _, cells = self._cells(self.state)
        offers: dict[str, list[Any]] = {"run_id": self._run_options()}
        if cells:
            offers["length_tokens"] = self._lengths(cells, self.state.phase)
        for name, options in offers.items():
            if list(self.controls[name].options) != options:
                self.controls[name].options = options
        reasons = {r["technique"]: r.get("reason", "") for r in cells}
        measured = {r["technique"] for r in cells if r["status"] == "measured"}
        for name, button in self.buttons.items():
            button.value = name in self.state.shown
            button.disabled = bool(cells) and name not in measured
            button.tooltip = TECHNIQUES[name].note if name in measured else reasons.get(name, "not measured here")
        super().show_controls()

    @property
    def plan(self) -> AttentionSpec:
        """The measurement that Run starts: what is shown, on this machine."""
        chosen = tuple(t for t in self.state.shown if not t.endswith("-flex")) or ("flash",)
        return AttentionSpec(
            model=self.state.model,
            techniques=chosen,
            lengths=self.lengths,
            window=self.state.window,
            chunk=2048,
            rounds=5,
        )

    def check(self) -> None:
        """The model and the settings are sound, before a job is started."""
        model_spec_from(self.state.model)
        self.plan.to_dict()

    def finished(self, view: JobView) -> None:
        """Show the new run."""
        self._load()
        self.update(run_id=view.id)

    def view(self) -> AnswerView:
        """The answer to the state."""
        state = self.state
        run, cells = self._cells(state)
        try:
            code = code_block(self.plan.as_code())
        except Exception as error:  # noqa: BLE001 - the reason is shown
            code = f"<p>{escape(str(error))}</p>"
        command = code_block(f"workbench attention {state.model} --techniques {','.join(state.shown)} --json")
        if run is None:
            answer = message_card("info", "No run yet.", "No attention was measured.", "Press Run.")
            tabs = (command, code, self._quality_tab(), "")
            return AnswerView(header=f"<h2>{TITLE}</h2>", answer=answer, figures=(), table="", tabs=tabs, run=None)
        shown = [r for r in cells if r["technique"] in state.shown and r["phase"] == state.phase]
        measured = [r for r in shown if r["status"] == "measured"]
        styles = styles_of([t for t in TECHNIQUES if t in {r["technique"] for r in measured}])
        verdict = attention_verdict(
            [r for r in cells if r["technique"] in state.shown], phase=state.phase, length_tokens=state.length_tokens
        )
        at = state.length_tokens
        return AnswerView(
            header=f"<h2>{TITLE}</h2><p class='sub'>{_stands_on(run, same_place(self.runs, run))}</p>",
            answer=verdict_card(verdict.headline, verdict.evidence, verdict.objection, is_stale=False),
            figures=(
                lambda: time_and_memory(measured, phase=state.phase, length_tokens=at, styles=styles),
                self._found
                if state.beside == "found" and self.quality
                else lambda: ceiling_share(measured, phase=state.phase, length_tokens=at, styles=styles),
            ),
            table=_table(shown, state, best=verdict.best),
            tabs=(command, code, self._quality_tab(), _all_cells(cells)),
            run=run,
        )

    def _found(self) -> Any:
        """Retrieval of the reference model over the same axis, by pattern."""
        assert self.quality is not None
        rows = [r for r in self.quality.results if r["part"] == "retrieval"]
        labels = {r["variant"]: r["label"] for r in self.quality.results if r["part"] == "variant"}
        return found_by_length(
            rows, labels=labels, styles=styles_of(list(labels)), length_tokens=self.state.length_tokens
        )

    def _quality_tab(self) -> str:
        if self.quality is None:
            return "<p>No quality was measured.</p>"
        rows = [r for r in self.quality.results if r["part"] == "variant"]
        head = ("Variant ● (reference model)", "answers found", "KL to full, nat/token")
        cells = [
            (
                escape(r["label"]),
                f"{100 * r['right_fraction']:.1f} % <small>of {r['n']}</small>",
                three_digits(r["mean_kl_nat_per_token"]) if "mean_kl_nat_per_token" in r else "–",
            )
            for r in rows
        ]
        return table(head, cells) + "<p>What patterns cost is measured below, by depth and length.</p>"


def _stands_on(run: Run, runs: Sequence[Run]) -> str:
    env = run.environment
    model = model_spec_from(run.spec["model"])
    ids = ", ".join(f"{r.id} ({r.day})" for r in runs)
    return (
        f"● measured · heads of {escape(Path(run.spec['model']).name)} ({model.n_heads} heads, {model.n_kv_heads} KV heads, "
        f"head_dim {model.head_dim}), random numbers · PyTorch {env.packages.get('torch', '–')} on {escape(env.device)} · "
        f"runs {ids}"
    )


def _table(shown: list[Mapping[str, Any]], state: AttentionState, *, best: str | None) -> str:
    at = state.length_tokens
    here = [r for r in shown if r["length_tokens"] == at]
    ordered = measured_at(here, phase=state.phase, length_tokens=at)
    full = next((r for r in ordered if is_exact(r)), None)
    head = (
        f"At {at} tokens ●",
        "one layer, p50",
        "of the ceiling",
        "TFLOP/s",
        "peak memory",
        "energy",
        "max error",
        "off from full",
        "pays from",
    )
    rows: list[tuple[str, ...]] = []
    for r in ordered:
        start = None if is_exact(r) else crossover_tokens(shown, r["technique"], phase=state.phase)
        times = f" <small>{full['p50_s'] / r['p50_s']:.2g}×</small>" if full else ""
        rows.append(
            (
                f"<span title='{escape(TECHNIQUES[r['technique']].note)}'>{escape(r['label'])}</span>",
                shown_duration(r["p50_s"]) + times,
                f"{100 * r['ceiling_fraction']:.0f} %" if "ceiling_fraction" in r else "–",
                three_digits(r["flop_per_s"] / 1e12) if "flop_per_s" in r else "–",
                shown_bytes(r["peak_bytes"]) if r.get("peak_bytes") else "–",
                f"{three_digits(r['energy_j'])} J" if r.get("energy_j") else "–",
                f"{r['max_error']:.1e}" if r.get("max_error") is not None else "–",
                f"{100 * r['distance_from_full']:.2g} %",
                "exact" if is_exact(r) else f"{start} tokens" if start else "not here",
            )
        )
    rows += [
        (escape(r["label"]), f"{r['status']}: {escape(r.get('reason', ''))}") for r in here if r["status"] != "measured"
    ]
    highlighted = next((i for i, r in enumerate(ordered) if r["technique"] == best), None)
    return table(head, rows, highlighted=highlighted)


def _all_cells(cells: Sequence[Mapping[str, Any]]) -> str:
    head = ("Technique", "phase", "context", "p50", "of the ceiling", "status")
    rows = [
        (
            escape(r["label"]),
            r["phase"],
            str(r["length_tokens"]),
            shown_duration(r["p50_s"]) if "p50_s" in r else "–",
            f"{100 * r['ceiling_fraction']:.0f} %" if "ceiling_fraction" in r else "–",
            escape(r["status"]),
        )
        for r in cells
    ]
    return table(head, rows, left=(1, 5))


def panel(**options: Any) -> AttentionPanel:
    """The panel, attached to a run that is still going."""
    return AttentionPanel(**options)
