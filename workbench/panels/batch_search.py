"""The panel that finds the batch with the highest throughput under a limit on time and on memory."""

from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as widgets

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.core.batch_search import BatchSearchSpec, Work
from workbench.core.errors import WorkbenchError
from workbench.core.runs import Run
from workbench.core.units import shown_bytes, shown_duration, three_digits
from workbench.figures.batch_search import memory_by_batch, throughput_and_step
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import labelled
from workbench.panels.choices import OFFERED_MODELS
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import code_block, run_label, runs_of_kind

KIND = "batch_search"
TITLE = "Which batch fills it?"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    model: str = "data/models/stdlib-9m"
    work: Work = "decode"
    context_tokens: int = 64
    latency_ms: float = 50.0
    memory_gib: float = 0.0
    largest: int = 256


class BatchPanel(AnswerPanel):
    """Run searches on this machine: half a minute for the small model on two cores."""

    tab_titles = ("All trials", "On a command line", "Spec as code")

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-batch", is_tall=True, manager=manager, poll_s=poll_s)
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        self.state = BatchState(run_id=self.runs[0].id if self.runs else None)
        later = {"continuous_update": False}
        self.controls = {
            "run_id": labelled(widgets.Dropdown, "Shown run", value=self.state.run_id, options=self._options()),
            "model": labelled(
                widgets.Combobox, "Model (folder)", value=self.state.model, options=list(OFFERED_MODELS), **later
            ),
            "work": labelled(
                widgets.Dropdown,
                "A step is",
                value="decode",
                options=[("a token for each sequence", "decode"), ("reading a prompt for each", "prefill")],
            ),
            "context_tokens": labelled(widgets.BoundedIntText, "Context, tokens", value=64, min=1, max=10**6, **later),
            "latency_ms": labelled(
                widgets.BoundedFloatText, "A step takes at most, ms (0: no limit)", value=50.0, min=0, max=1e6, **later
            ),
            "memory_gib": labelled(
                widgets.BoundedFloatText,
                "Memory at most, GiB (0: 9/10 of what is free)",
                value=0.0,
                min=0,
                max=1e4,
                **later,
            ),
            "largest": labelled(widgets.BoundedIntText, "Largest batch to try", value=256, min=1, max=65536, **later),
        }
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    def _options(self) -> list[tuple[str, str | None]]:
        return [(run_label(r), r.id) for r in self.runs] or [("no run yet", None)]

    def show_controls(self) -> None:
        """The runs that there are."""
        if list(self.controls["run_id"].options) != self._options():
            self.controls["run_id"].options = self._options()
        super().show_controls()

    @property
    def plan(self) -> BatchSearchSpec:
        """The search that Run starts."""
        s = self.state
        return BatchSearchSpec(
            model=s.model,
            work=s.work,
            context_tokens=s.context_tokens,
            latency_ms=s.latency_ms or None,
            memory_gib=s.memory_gib or None,
            largest=s.largest,
        )

    def check(self) -> None:
        """The model is one, before a job is started."""
        model_spec_from(self.state.model)

    def finished(self, view: JobView) -> None:
        """Show the new run."""
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        self.update(run_id=view.id)

    def view(self) -> AnswerView:
        """The answer to the state."""
        run = next((r for r in self.runs if r.id == self.state.run_id), None)
        tabs: tuple[Any, ...] = ("", code_block(_command(self.plan)), code_block(self.plan.as_code()))
        if run is None:
            card = message_card("caution", "No batch was searched yet.", "Press Run.", "It takes about half a minute.")
            return AnswerView(header=f"<h2>{TITLE}</h2>", answer=card, figures=(), table="", tabs=tabs, run=None)
        spec, best = BatchSearchSpec.from_dict(run.spec), run.samples["best_batch"]
        limit = float(run.samples["memory_limit_bytes"])
        return AnswerView(
            header=f"<h2>{TITLE}</h2><p class='sub'>● measured: {escape(run_label(run))}; {escape(spec.model)}, "
            f"{spec.work}, {spec.context_tokens} tokens of context</p>",
            answer=_verdict(run, spec, best, is_stale=spec != self._asked(run)),
            figures=(
                lambda: throughput_and_step(run.results, best=best, latency_ms=spec.latency_ms),
                lambda: memory_by_batch(run.results, limit_bytes=limit),
            ),
            table=_by_batch(run, best),
            tabs=(_trials(run), *tabs[1:]),
            run=run,
        )

    def _asked(self, run: Run) -> BatchSearchSpec:
        """What the controls ask for, or the run's own spec where they cannot be asked."""
        try:
            wanted = self.plan.to_dict()
        except WorkbenchError:
            return BatchSearchSpec.from_dict(run.spec)
        kept = {
            k: v for k, v in run.spec.items() if k in {"rounds", "device", "random_weights", "is_exhaustive", "seed"}
        }
        return BatchSearchSpec.from_dict(wanted | kept)


def _verdict(run: Run, spec: BatchSearchSpec, best: int | None, *, is_stale: bool) -> str:
    limits = " and ".join(
        text
        for text in (
            f"{spec.latency_ms:g} ms a step" if spec.latency_ms else "",
            f"{shown_bytes(run.samples['memory_limit_bytes'])}",
        )
        if text
    )
    if best is None:
        return message_card(
            "caution",
            "No batch keeps the limits.",
            f"Not even one sequence fits {limits}.",
            "Loosen the limit that binds.",
        )
    per_s = {int(b): v for b, v in run.samples["per_s"].items()}
    rows = [r for r in run.results if r["batch"] == best]
    predicted = next((r["predicted_bytes"] for r in rows if r["predicted_bytes"]), None)
    peak = max(r["peak_bytes"] for r in rows)
    memory = f"peak {shown_bytes(peak)}"
    if predicted:
        memory += f", predicted {shown_bytes(predicted)} ({100 * (predicted / peak - 1):+.0f} %)"
    out = [r for r in run.results if r["status"] != "fits"]
    binds = (
        f"; {out[0]['status']} binds from batch {min(r['batch'] for r in out)} on" if out else "; the grid ends there"
    )
    n_best = len(rows)
    repeats = f"the best was tried {n_best} times in turn with what came close" if n_best > 1 else "no other came close"
    gain = per_s[best] / per_s[min(per_s)]
    return verdict_card(
        f"Batch {best}: {three_digits(per_s[best])} sequences/s, {gain:.1f} times as many as batch {min(per_s)}, within {limits}.",
        f"A step takes {shown_duration(rows[0]['p50_s'])} (p90 {shown_duration(rows[0]['p90_s'])}); {memory}{binds}.",
        f"{len(run.results)} trials of {spec.rounds} steps each on a machine that may be shared; {repeats}.",
        is_stale=is_stale,
    )


def _by_batch(run: Run, best: int | None) -> str:
    batches = sorted({r["batch"] for r in run.results})
    rows: list[tuple[str, ...]] = []
    highlighted = None
    for b in batches:
        mine = [r for r in run.results if r["batch"] == b]
        row = mine[-1]
        if b == best:
            highlighted = len(rows)
        timed = row.get("p50_s")
        rows.append(
            (
                str(b),
                "–" if not timed else three_digits(run.samples["per_s"].get(str(b), row["sequences_per_s"])),
                "–" if not timed else f"{shown_duration(row['p50_s'])} / {shown_duration(row['p90_s'])}",
                shown_bytes(row["peak_bytes"]),
                "–" if not row["predicted_bytes"] else shown_bytes(row["predicted_bytes"]),
                {"fits": "fits", "latency": "above the time limit", "memory": "above the memory limit"}[row["status"]],
            )
        )
    head = ("Batch", "sequences/s ●", "step p50 / p90 ●", "peak memory ●", "predicted ◌", "")
    return table(head, rows, highlighted=highlighted)


def _trials(run: Run) -> str:
    rows = [
        (
            str(i + 1),
            str(r["batch"]),
            "–" if not r.get("p50_s") else three_digits(r["sequences_per_s"]),
            shown_bytes(r["peak_bytes"]),
            r["status"],
        )
        for i, r in enumerate(run.results)
    ]
    return table(("Trial", "batch", "sequences/s", "peak", ""), rows)


def _command(plan: BatchSearchSpec) -> str:
    latency = f" --latency-ms {plan.latency_ms:g}" if plan.latency_ms else ""
    memory = f" --memory-gib {plan.memory_gib:g}" if plan.memory_gib else ""
    return (
        f"workbench batch-size {plan.model} --work {plan.work} --context {plan.context_tokens}{latency}{memory} "
        f"--largest {plan.largest}"
    )


def panel(**options: Any) -> BatchPanel:
    """The panel, attached to a search that is still going."""
    return BatchPanel(**options)
