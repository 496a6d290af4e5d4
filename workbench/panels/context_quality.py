"""The panel that shows where in a long text things are still found."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.catalog.paths import REFERENCE_MODEL_PLACE
from workbench.core.context_quality import FULL, SERVED, ContextQualitySpec, Variant
from workbench.core.errors import InvalidSpec, WorkbenchError
from workbench.core.retrieval import TASKS
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.experiments.context_limits import check_lengths
from workbench.experiments.context_verdict import quality_verdict, rows_of, variant_rows
from workbench.figures.long_context import divergence_by_position, heat_map
from workbench.figures.tables import message_card, table, verdict_card, with_interval
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import code_block, run_label, runs_of_kind

KIND = "context_quality"
TITLE = "Does the model still find things in it?"


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    task: str = "single"
    variant: str = "window:1024"
    model: str = REFERENCE_MODEL_PLACE
    variants: str = "full, window:256, kv:int4-head"
    lengths: str = "512, 1024"
    url: str = ""


class ContextQualityPanel(AnswerPanel):
    """Heat maps of retrieval by depth and length, and divergence by position."""

    tab_titles = ("Commands", "Spec as code")

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S, n_per_cell: int = 5) -> None:
        super().__init__(KIND, css_class="wb-quality", is_tall=True, manager=manager, poll_s=poll_s)
        self.n_per_cell = n_per_cell
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        largest = max(self.runs, key=lambda r: len(r.results), default=None)
        self.state = QualityState(run_id=largest.id if largest else None)
        later = {"continuous_update": False}
        self.controls = {
            "run_id": labelled(widgets.Dropdown, "Shown run", value=self.state.run_id, options=self._run_options()),
            "task": labelled(widgets.Dropdown, "Task", value="single", options=["single"]),
            "variant": labelled(widgets.Dropdown, "Shown variant", value="window:1024", options=["window:1024"]),
            "model": labelled(
                widgets.Text, "Model, or tokenizer of the server (folder)", value=self.state.model, **later
            ),
            "variants": labelled(
                widgets.Textarea, "To measure: attention and caches", value=self.state.variants, **later
            ),
            "lengths": labelled(widgets.Text, "Lengths to measure, tokens", value=self.state.lengths, **later),
            "url": labelled(widgets.Text, "Or ask a server (URL)", placeholder="http://localhost:8000", **later),
        }
        self.build(list(self.controls.values()))
        self.state = self.settled(self.state, {})
        self.draw()
        self.attach_to_live_job()

    def _run_options(self) -> list[tuple[str, str | None]]:
        return [(run_label(r), r.id) for r in self.runs] or [("no run yet", None)]

    def _shown(self, state: QualityState) -> Run | None:
        return next((r for r in self.runs if r.id == state.run_id), None)

    def settled(self, state: QualityState, changes: dict[str, Any]) -> QualityState:  # noqa: ARG002
        """Another run has other tasks and variants."""
        run = self._shown(state)
        if run is None:
            return state
        tasks, names = list(run.spec["tasks"]), [r["variant"] for r in variant_rows(run)]
        if state.task not in tasks:
            state = replace(state, task=tasks[0])
        if state.variant not in names:
            state = replace(state, variant=next((n for n in names if n != FULL), names[0]))
        return state

    def show_controls(self) -> None:
        """What the shown run offers."""
        run = self._shown(self.state)
        offers: dict[str, list[Any]] = {"run_id": self._run_options()}
        if run is not None:
            offers["task"] = list(run.spec["tasks"])
            offers["variant"] = [(r["label"], r["variant"]) for r in variant_rows(run)]
        for name, options in offers.items():
            if list(self.controls[name].options) != options:
                self.controls[name].options = options
        super().show_controls()

    @property
    def plan(self) -> ContextQualitySpec:
        """The measurement that Run starts."""
        names = tuple(v.strip() for v in self.state.variants.replace("\n", ",").split(",") if v.strip())
        try:
            lengths = tuple(int(n) for n in self.state.lengths.replace(",", " ").split())
        except ValueError as error:
            raise InvalidSpec(f"Lengths {self.state.lengths!r}.", remedy="Give numbers, such as 512, 1024.") from error
        return ContextQualitySpec(
            model=self.state.model,
            variants=names or (FULL,),
            tasks=TASKS[:2],
            lengths=lengths,
            n_depths=3,
            n_per_cell=self.n_per_cell,
            n_windows=2,
            window_tokens=1024,
            url=self.state.url or None,
        )

    def check(self) -> None:
        """The model is one and can read so much, before a job is started."""
        model_spec_from(self.state.model)
        check_lengths(self.plan)

    def finished(self, view: JobView) -> None:
        """Show the new run."""
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        self.update(run_id=view.id)

    def view(self) -> AnswerView:
        """The answer to the state."""
        run, state = self._shown(self.state), self.state
        try:
            code = code_block(self.plan.as_code())
        except WorkbenchError as error:
            code = f"<p>{escape(str(error))}</p>"
        names = ",".join(state.variants.replace(",", " ").split())
        lengths = ",".join(state.lengths.replace(",", " ").split())
        command = code_block(f"workbench context-quality {state.model} --variants {names} --lengths {lengths} --json")
        if run is None:
            answer = message_card("info", "No run yet.", "Nothing was hidden and asked for.", "Press Run.")
            header = f"<h2>{TITLE}</h2>"
            return AnswerView(header=header, answer=answer, figures=(), table="", tabs=(command, code), run=None)
        verdict = quality_verdict(run)
        labels = {r["variant"]: r["label"] for r in variant_rows(run)}
        rows = [r for r in rows_of(run, "retrieval") if r["variant"] == state.variant and r["task"] == state.task]
        positions = rows_of(run, "position")
        window = _window(state.variant)
        figures: list[Any] = [lambda: heat_map(rows, title=f"Found with {labels[state.variant]}", window_tokens=window)]
        if positions:
            figures.append(lambda: divergence_by_position(positions, labels=labels, chosen=state.variant, base=FULL))
        return AnswerView(
            header=f"<h2>{TITLE}</h2><p class='sub'>{_stands_on(run)}</p>",
            answer=verdict_card(verdict.headline, verdict.evidence, verdict.objection, is_stale=False),
            figures=tuple(figures),
            table=_table(run, best=verdict.best),
            tabs=(command, code),
            run=run,
        )


def _window(variant: str) -> int | None:
    if variant == SERVED:
        return None
    read = Variant.read(variant)
    return read.options.window if read.technique in {"window", "sink-window"} else None


def _stands_on(run: Run) -> str:
    env, spec = run.environment, run.spec
    asked = f"server {spec['url']}" if spec.get("url") else f"{Path(spec['model']).name} on {env.device}"
    return (
        f"● measured · {escape(asked)} · {', '.join(spec['tasks'])} at {spec['n_depths']} depths, "
        f"{spec['n_per_cell']} questions each · run {run.id}, {run.day}"
    )


def _table(run: Run, *, best: str | None) -> str:
    head = ("Variant ●", "right", "lost / won", "p (McNemar)", "Δ surprise of answers", "KL, nat/token", "perplexity")
    rows = [
        (
            escape(r["label"]),
            f"{with_interval(_interval(r, 'right_fraction'), 100, ' %')} <small>of {r['n']}</small>",
            f"{r['lost']} / {r['won']}" if "lost" in r else "–",
            f"{r['mcnemar_p']:.2g}" if "mcnemar_p" in r else "–",
            with_interval(_interval(r, "answer_nll_change_nat_per_token"), sign=True),
            with_interval(_interval(r, "mean_kl_nat_per_token")),
            f"{r['perplexity']:.3f}" if "perplexity" in r else "–",
        )
        for r in variant_rows(run)
    ]
    highlighted = next((i for i, r in enumerate(variant_rows(run)) if r["variant"] == best), None)
    return table(head, rows, highlighted=highlighted)


def _interval(row: Mapping[str, Any], name: str) -> Interval | None:
    return Interval(row[name], row[f"{name}_low"], row[f"{name}_high"]) if name in row else None


def panel(**options: Any) -> ContextQualityPanel:
    """The panel, attached to a run that is still going."""
    return ContextQualityPanel(**options)
