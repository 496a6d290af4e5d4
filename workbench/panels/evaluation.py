"""The panel that compares checkpoints and cache formats with the model they stand for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.catalog.paths import REFERENCE_MODEL_PLACE, located
from workbench.core.errors import NotAModel, WorkbenchError
from workbench.core.evaluation import KV, KV_FORMATS, EvaluationSpec, kl_band
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.experiments.evaluation_verdict import candidate_label, candidates_of, evaluation_verdict
from workbench.figures.evaluation import divergence, found_by_depth
from workbench.figures.tables import message_card, table, verdict_card, with_interval
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import code_block, run_label, runs_of_kind

KIND = "evaluation"
TITLE = "Does it still answer like the original?"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    model: str = REFERENCE_MODEL_PLACE
    candidates: str = ", ".join(KV + f for f in KV_FORMATS)
    text: str = ""
    in_vllm: bool = False


class EvaluationPanel(AnswerPanel):
    """Divergence, pass keys and completed lines of checkpoints and cache formats."""

    tab_titles = ("Commands", "Spec as code")

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S, n_passkeys: int = 100) -> None:
        super().__init__(KIND, css_class="wb-evaluation", manager=manager, poll_s=poll_s)
        self.n_passkeys = n_passkeys
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        self.state = EvaluationState(run_id=self.runs[0].id if self.runs else None)
        later = {"continuous_update": False}
        self.controls = {
            "run_id": labelled(widgets.Dropdown, "Shown run", value=self.state.run_id, options=self._run_options()),
            "model": labelled(widgets.Text, "Original (folder)", value=self.state.model, **later),
            "candidates": labelled(
                widgets.Textarea, "To compare: folders, or cache formats", value=self.state.candidates, **later
            ),
            "text": labelled(
                widgets.Text, "Text (UTF-8 file)", placeholder="held-out text of the reference model", **later
            ),
            "in_vllm": widgets.Checkbox(
                description="ask vLLM for its tokens too", value=False, indent=False, layout={"width": "auto"}
            ),
        }
        self.controls["candidates"].layout.height = "110px"
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    def _run_options(self) -> list[tuple[str, str | None]]:
        return [(_shown_as(r), r.id) for r in self.runs] or [("no run yet", None)]

    def show_controls(self) -> None:
        """Runs that can be shown."""
        if list(self.controls["run_id"].options) != self._run_options():
            self.controls["run_id"].options = self._run_options()
        super().show_controls()

    @property
    def plan(self) -> EvaluationSpec:
        """The measurement that Run starts."""
        names = [c.strip() for c in self.state.candidates.replace("\n", ",").split(",") if c.strip()]
        return EvaluationSpec(
            model=self.state.model,
            candidates=tuple(names),
            text=self.state.text or None,
            in_vllm=self.state.in_vllm,
            n_passkeys=self.n_passkeys,
        )

    def check(self) -> None:
        """The original is a model and the candidates are there, before a job is started."""
        model_spec_from(self.state.model)
        missing = [c for c in self.plan.candidates if not c.startswith(KV) and not Path(located(c)).is_dir()]
        if missing:
            raise NotAModel(f"{', '.join(missing)}: no such folder.", remedy="Name folders of checkpoints.")

    def finished(self, view: JobView) -> None:
        """Show the new run."""
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        self.state = replace(self.state, run_id=view.id)
        self.draw()

    def view(self) -> AnswerView:
        """The answer to the state."""
        run = next((r for r in self.runs if r.id == self.state.run_id), None)
        named = " ".join(self.state.candidates.replace(",", " ").split())
        command = code_block(f"workbench evaluate {self.state.model} {named}")
        try:
            code = code_block(self.plan.as_code())
        except WorkbenchError as error:
            code = f"<p>{escape(str(error))}</p>"
        if run is None:
            answer = message_card("info", "No run yet.", "Nothing was compared.", "Name folders and press Run.")
            header = f"<h2>{TITLE}</h2>"
            return AnswerView(header=header, answer=answer, figures=(), table="", tabs=(command, code), run=None)
        rows = candidates_of(run)
        labels = {r["folder"]: candidate_label(r["folder"]) for r in rows}
        verdict = evaluation_verdict(run)
        with_keys = [r for r in rows if r.get("passkey_right_fraction_by_depth")]
        figures = [lambda: divergence(rows, labels=labels)]
        if with_keys:
            figures.append(lambda: found_by_depth(with_keys, labels=labels, context_tokens=run.spec["passkey_tokens"]))
        return AnswerView(
            header=f"<h2>{TITLE}</h2><p class='sub'>{_stands_on(run)}</p>",
            answer=verdict_card(verdict.headline, verdict.evidence, verdict.objection, is_stale=False),
            figures=tuple(figures),
            table=_table(run, rows, labels, best=verdict.best),
            tabs=(command, code),
            run=run,
        )


def _shown_as(run: Run) -> str:
    kinds = {"cache formats" if c.startswith(KV) else "checkpoints" for c in run.spec["candidates"]}
    return f"{' and '.join(sorted(kinds))} · {run_label(run)}"


def _stands_on(run: Run) -> str:
    env, spec = run.environment, run.spec
    packages = " · ".join(f"{p} {env.packages[p]}" for p in ("transformers", "vllm") if p in env.packages)
    return (
        f"● measured · {escape(Path(spec['model']).name)} on {escape(env.device)} · {packages} · "
        f"{spec['n_windows']} × {spec['window_tokens']} tokens, {spec['n_passkeys']} pass keys, "
        f"{spec['n_completions']} lines to complete · run {run.id}, {run.day}"
    )


def _table(run: Run, rows: list[Mapping[str, Any]], labels: Mapping[str, str], *, best: str | None) -> str:
    head: tuple[str, ...] = (
        "Candidate ●",
        "KL, nat/token",
        "as published for",
        "same top-1",
        "Δ perplexity",
        "pass keys found",
        "lines completed",
        "p (McNemar)",
        "detectable",
        "same token in vLLM",
    )
    original = next(r for r in run.results if r["part"] == "reference")
    lines: list[tuple[str, ...]] = [
        (
            "the original",
            "0",
            "–",
            "100 %",
            "0 %",
            _share(original, "passkey"),
            _share(original, "completion"),
            "–",
            "–",
            "–",
        )
    ]
    for r in rows:
        agreement = r.get("vllm_top1_agreement_fraction")
        detectable = r.get("completion_minimum_detectable_fraction")
        lines.append(
            (
                escape(labels[r["folder"]]),
                with_interval(_interval(r, "mean_kl_nat_per_token")),
                kl_band(r["mean_kl_nat_per_token"]),
                with_interval(_interval(r, "top1_agreement_fraction"), 100, " %"),
                with_interval(_interval(r, "perplexity_change_fraction"), 100, " %", sign=True),
                _share(r, "passkey"),
                _share(r, "completion"),
                f"{r['completion_mcnemar_p']:.2f}" if "completion_mcnemar_p" in r else "–",
                f"{100 * detectable:.0f} points" if detectable else "–",
                f"{100 * agreement:.1f} %" if agreement is not None else "–",
            )
        )
    tasks = list(dict.fromkeys(t for r in (original, *rows) for t in r.get("tasks", {})))
    if tasks:
        head = (*head, *(f"{escape(t)} (lm-eval)" for t in tasks))
        lines = [
            (*line, *(_score(r.get("tasks", {}).get(t)) for t in tasks))
            for line, r in zip(lines, (original, *rows), strict=True)
        ]
    lines += [(escape(candidate_label(f["method"])), f"failed: {escape(f['cause'])}") for f in run.failures]
    highlighted = next((i + 1 for i, r in enumerate(rows) if r["folder"] == best), None)
    return table(head, lines, highlighted=highlighted, left=(2,))


def _interval(row: Mapping[str, Any], name: str) -> Interval:
    return Interval(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _share(row: Mapping[str, Any], task: str) -> str:
    if f"{task}_right_fraction" not in row:
        return "–"
    return f"{100 * row[f'{task}_right_fraction']:.1f} % <small>of {row[f'{task}_n']}</small>"


def _score(metrics: Mapping[str, float] | None) -> str:
    """The first metric of a task with its standard error."""
    if not metrics:
        return "–"
    name = next(n for n in ("acc", "exact_match", *metrics) if n in metrics)
    error = metrics.get(f"{name}_stderr")
    return f"{name} {metrics[name]:.3f}" + (f" <small>± {error:.3f} (1 SE)</small>" if error is not None else "")


def panel(**options: Any) -> EvaluationPanel:
    """The panel, attached to a run that is still going."""
    return EvaluationPanel(**options)
