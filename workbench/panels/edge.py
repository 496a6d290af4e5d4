"""The panel that says which compression of a model helps on a small device, and how to run it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from workbench.catalog.tables import claims
from workbench.core.edge import OWN_MODEL, TECHNIQUES, EdgeSpec
from workbench.core.runs import Run
from workbench.core.units import MIB, shown_duration
from workbench.figures.edge import accuracy_by_time, sizes
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import BEGINS_ANEW, POLL_S
from workbench.panels.run_list import RunListPanel
from workbench.panels.shared_view import code_block

KIND = "edge"
TITLE = "What helps on a small device?"
QUESTION = 13
CLAIMED = {
    "quantization": "int8-static",
    "pruning": "structured-half",
    "distillation": "student",
    "dynamic inference": "cascade",
}
"""The FAQ's strategies, and which technique here stands for each."""
WORDS = {"faster": "faster", "slower": "<b>slower</b>", "no difference shown": "none shown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    batch: str = "1"
    model: str = OWN_MODEL
    data: str = ""
    threads: int = 1
    latency_ms: float = 0.0
    memory_mib: float = 0.0
    power_w: float = 0.0


class EdgePanel(RunListPanel):
    """Run trains, compresses and measures; limits decide what is chosen."""

    cancelled_note = BEGINS_ANEW
    tab_titles = (
        "Settings under limits",
        "Guarantees and few labels",
        "Runtimes",
        "Claims beside",
        "On a command line",
        "Spec as code",
    )

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-edge", manager=manager, poll_s=poll_s)
        self.state = EdgeState(run_id=self.first_id)
        later = {"continuous_update": False}
        self.controls = {
            "run_id": labelled(widgets.Dropdown, "Shown", value=self.first_id, options=self.options()),
            "batch": labelled(widgets.Dropdown, "Batch that is drawn", value="1", options=["1", "256"]),
            "model": labelled(widgets.Text, 'Model: "digits", an .onnx file, or a folder', value=OWN_MODEL, **later),
            "data": labelled(widgets.Text, "Inputs for a graph (.npz), if any", value="", **later),
            "threads": labelled(widgets.BoundedIntText, "Threads", value=1, min=1, max=256, **later),
            "latency_ms": labelled(
                widgets.BoundedFloatText, "Most p99, ms (0: any)", value=0.0, min=0, max=1e6, **later
            ),
            "memory_mib": labelled(
                widgets.BoundedFloatText, "Most memory, MiB (0: any)", value=0.0, min=0, max=1e6, **later
            ),
            "power_w": labelled(widgets.BoundedFloatText, "Most power, W (0: any)", value=0.0, min=0, max=1e4, **later),
        }
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    def label(self, run: Run) -> str:
        """Model, device and time."""
        return f"{Path(run.spec['model']).name} · {super().label(run)}"

    @property
    def plan(self) -> EdgeSpec:
        """What Run measures."""
        s = self.state
        batches = (1, 256) if s.model == OWN_MODEL else (1, 32)
        return EdgeSpec(
            model=s.model.strip(),
            data=s.data.strip() or None,
            threads=s.threads,
            batches=batches,
            latency_ms=s.latency_ms or None,
            memory_mib=s.memory_mib or None,
            power_w=s.power_w or None,
        )

    def settled(self, state: Any, changes: dict[str, Any]) -> Any:  # noqa: ARG002
        """A batch that the run has not is replaced."""
        run = next((r for r in self.runs if r.id == state.run_id), None)
        known = batches_of(run) if run else ["1"]
        return state if state.batch in known else replace(state, batch=known[0])

    def show_controls(self) -> None:
        """Batches of the run."""
        control: Any = self.controls["batch"]
        known = batches_of(self.run) if self.run else ["1"]
        if list(control.options) != known:
            control.options = known
        super().show_controls()

    def view(self) -> AnswerView:
        """The answer to the state."""
        run, tabs = self.run, (code_block(command(self.plan)), code_block(self.plan.as_code()))
        if run is None or not rows_of(run, "variant"):
            card = message_card("caution", "Nothing was measured yet.", "Press Run.", "It takes about two minutes.")
            return AnswerView(
                header=f"<h2>{TITLE}</h2>", answer=card, figures=(), table="", tabs=("", "", "", "", *tabs), run=None
            )
        variants = rows_of(run, "variant")
        kept = settings(run, self.state)
        return AnswerView(
            header=f"<h2>{TITLE}</h2><p class='sub'>● measured on {escape(run.environment.cpu)}, {run.spec['threads']} thread"
            f"{'s' if run.spec['threads'] > 1 else ''}, run {run.id}, {run.day}</p>",
            answer=verdict(variants, kept, self.state.batch),
            figures=(
                lambda: accuracy_by_time(variants, batch=self.state.batch),
                lambda: sizes(variants),
            ),
            table=variant_table(variants, self.state.batch),
            tabs=(
                lambda: settings_table(kept) + adaptive_table(run),
                lambda: guarantees(run),
                lambda: runtimes(run),
                lambda: claims_table(variants),
                *tabs,
            ),
            run=run,
        )


def rows_of(run: Run, part: str) -> list[Mapping[str, Any]]:
    """Rows of a part."""
    return [r for r in run.results if r["part"] == part]


def batches_of(run: Run | None) -> list[str]:
    """Batches that a run timed."""
    variants = rows_of(run, "variant") if run else []
    return list(variants[0]["times"]) if variants else ["1"]


def settings(run: Run, state: EdgeState) -> list[dict[str, Any]]:
    """Settings with what each breaks under the limits of the state, the fastest that keeps all first."""
    limits: tuple[tuple[str, float, Callable[[Mapping[str, Any]], float]], ...] = (
        ("latency", state.latency_ms, lambda r: 1e3 * r["p99_s"]),
        ("memory", state.memory_mib, lambda r: r["peak_bytes"] / MIB),
        ("power", state.power_w, lambda r: r["power_w"]),
    )
    found = []
    for r in rows_of(run, "setting"):
        broken = [name for name, limit, value in limits if limit and value(r) > limit]
        found.append({**r, "breaks": broken + (["accuracy"] if "accuracy" in r["breaks"] else [])})
    return sorted(found, key=lambda r: (bool(r["breaks"]), -r["inputs_per_s"]))


def verdict(variants: Sequence[Mapping[str, Any]], kept: Sequence[Mapping[str, Any]], batch: str) -> str:
    """What to run, what else is faster, and what only looks as if it were."""
    by: dict[str, list[str]] = {"faster": [], "slower": [], "no difference shown": []}
    for r in variants:
        if r["technique"] != "fp32":
            by[r["times"][batch]["verdict"]].append(r["technique"])
    best = kept[0] if kept and not kept[0]["breaks"] else None
    headline = (
        f"Run {best['technique']} with {best['threads']} thread{'s' if best['threads'] > 1 else ''} and batches of {best['batch']}: "
        f"{best['inputs_per_s']:,.0f} inputs a second, p99 {shown_duration(best['p99_s'])}."
        if best
        else "Nothing keeps these limits."
        if kept
        else f"Really faster at batch {batch}: {', '.join(by['faster']) or 'nothing'}."
    )
    worse = [r["technique"] for r in variants if r.get("is_worse")]
    evidence = (
        f"At batch {batch}, really faster than float32: {', '.join(by['faster']) or 'none'}; slower: {', '.join(by['slower']) or 'none'}; "
        f"no difference shown: {', '.join(by['no difference shown']) or 'none'}."
    )
    objection = (
        (f"Less accurate by a paired test: {', '.join(worse)}. " if worse else "No accuracy differs by a paired test. ")
        if variants[0].get("accuracy") is not None
        else ""
    ) + "Times are of this processor: another may have no fast INT8, or a sparse kernel."
    return verdict_card(headline, evidence, objection, is_stale=False)


def variant_table(rows: Sequence[Mapping[str, Any]], batch: str) -> str:
    """Accuracy with its doubts, size, time, memory and energy."""
    head = (
        "Technique ●",
        "accuracy, %",
        "flips",
        "McNemar p",
        "kB (gzip)",
        "p50",
        "p99",
        "times as fast",
        "really?",
        "memory",
        "energy, 1000 inputs",
    )
    return table(head, [_cells(r, batch) for r in rows], left=(8,))


def _cells(r: Mapping[str, Any], batch: str) -> tuple[str, ...]:
    t = r["times"][batch]
    if r.get("accuracy") is not None:
        low, high = r["accuracy_interval"]
        accuracy = f"{100 * r['accuracy']:.2f} ({100 * low:.1f} to {100 * high:.1f})"
    else:
        accuracy = f"perplexity {r['perplexity']:.3f}" if "perplexity" in r else "not known"
    ratio = f"{t['ratio']:.2f} ({t['ratio_interval'][0]:.2f} to {t['ratio_interval'][1]:.2f})" if "ratio" in t else "1"
    really = WORDS.get(t.get("verdict", ""), "")
    if "base" in t:
        really += f"; beside {t['base']}: {WORDS[t['base_verdict']]} ({t['base_ratio']:.2f})"
    energy = "–"
    if r.get("energy_j") is not None:
        energy = f"{1e3 * r['energy_j']:.3g} J {'●' if r['energy_source'] == 'counter' else '◌'}"
    p = r.get("mcnemar_p")
    return (
        escape(r["label"]),
        accuracy,
        f"{r['flips']} of {r['n']}",
        "–" if p is None or r["technique"] == "fp32" else f"{p:.2g}",
        f"{r['n_bytes'] / 1e3:.0f}" + (f" ({r['gzip_bytes'] / 1e3:.0f})" if r.get("gzip_bytes") else ""),
        shown_duration(t["p50_s"]),
        shown_duration(t["p99_s"]),
        ratio,
        really,
        "–" if r.get("peak_bytes") is None else f"{r['peak_bytes'] / MIB:.1f} MiB",
        energy,
    )


def settings_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Threads and batches; the first keeps every limit, where one does."""
    if not rows:
        return "<p>No settings were tried for this model.</p>"
    head = ("Technique ●", "threads", "batch", "inputs/s", "p99", "memory", "power", "breaks")
    cells = [
        (
            escape(TECHNIQUES[r["technique"]]),
            str(r["threads"]),
            str(r["batch"]),
            f"{r['inputs_per_s']:,.0f}",
            shown_duration(r["p99_s"]),
            f"{r['peak_bytes'] / MIB:.1f} MiB",
            f"{r['power_w']:.1f} W {'●' if r['power_source'] == 'counter' else '◌'}",
            ", ".join(r["breaks"]) or "–",
        )
        for r in rows
    ]
    return table(head, cells, highlighted=None if rows[0]["breaks"] else 0, left=(7,))


def adaptive_table(run: Run) -> str:
    """What a choice that follows the machine does when others need the processor."""
    rows = rows_of(run, "adaptive")
    if not rows:
        return ""
    head = ("The machine is ●", "choice", "model mostly", "p50", "p99")
    cells = [
        (
            r["phase"],
            r["choice"],
            escape(TECHNIQUES[r["model"]]),
            shown_duration(r["p50_s"]),
            shown_duration(r["p99_s"]),
        )
        for r in rows
    ]
    return (
        "<h3>When the machine becomes busy</h3><p>One input after another; <i>busy</i>: as many processes compute as there are "
        f"processors. The adaptive choice goes back by itself, and sets nothing of the process.</p>{table(head, cells, left=(1, 2))}"
    )


def guarantees(run: Run) -> str:
    """Thresholds of cascades on held-out data, and what distillation gains."""
    found = rows_of(run, "guarantee")
    head = ("Cascade ●", "threshold", "guaranteed loss", "lost on held-out", "exit early on held-out")
    cells = [
        (
            escape(TECHNIQUES[r["technique"]]),
            f"{r['confidence']:.3f}",
            f"at most {100 * r['limit_fraction']:.1f} % ({100 * r['level']:.0f} % sure)",
            f"{100 * r['held_out_lost_fraction']:.2f} % of {r['n_held_out']}",
            f"{100 * r['held_out_exit_fraction']:.1f} %",
        )
        for r in found
    ]
    taught = rows_of(run, "distillation")
    rows = [
        (
            f"teacher from the {r['teacher']}",
            f"{100 * r['alone']:.2f} %",
            f"{100 * r['taught']:.2f} %",
            f"{100 * r['gain']:+.2f}"
            + (
                f" ({100 * r['gain_interval'][0]:+.2f} to {100 * r['gain_interval'][1]:+.2f})"
                if r["gain_interval"]
                else ""
            ),
        )
        for r in taught
    ]
    told = table(head, cells) if cells else "<p>No cascade was measured.</p>"
    if rows:
        n, seeds = taught[0]["labels_per_class"], taught[0]["n_seeds"]
        told += (
            f"<h3>Distillation with {n} labels a class</h3><p>Students of {seeds} seeds; the other pictures have no label.</p>"
            + table(("Students ●", "alone", "taught", "gain, points"), rows)
        )
    return told


def runtimes(run: Run) -> str:
    """The float network elsewhere: measured where installed, never claimed otherwise."""
    rows = rows_of(run, "runtime")
    if not rows:
        return "<p>Other runtimes are compared for the digit network only.</p>"
    head = ("Runtime ●", "batch", "p50", "p99", "times as fast as ONNX Runtime")
    cells: list[tuple[str, ...]] = []
    for r in rows:
        if r["state"] != "measured":
            cells.append((r["runtime"], f"{r['state']}: {escape(r['remedy'])}"))
            continue
        ratio = (
            f"{r['ratio']:.2f} ({r['ratio_interval'][0]:.2f} to {r['ratio_interval'][1]:.2f})" if "ratio" in r else "1"
        )
        cells.append((r["runtime"], str(r["batch"]), shown_duration(r["p50_s"]), shown_duration(r["p99_s"]), ratio))
    return (
        "<p>The FAQ ranks TensorRT &gt; ONNX Runtime &gt; OpenVINO for convolutional networks, and TensorFlow Lite first on devices; what "
        f"is not installed is not ranked here.</p>{table(head, cells)}"
    )


def claims_table(variants: Sequence[Mapping[str, Any]]) -> str:
    """The FAQ's savings beside what was measured."""
    own = {r["technique"]: r for r in variants}
    base = own["fp32"]
    head = ("Strategy", "what", "claimed ▬", "measured here ●")
    cells = []
    for c in claims():
        if c.question != QUESTION:
            continue
        row = own.get(CLAIMED.get(c.technique, ""))
        cells.append((escape(c.technique), c.metric.replace("_", " "), _claimed(c), _measured(c.metric, row, base)))
    return table(head, cells, left=(1,))


def _claimed(c: Any) -> str:
    unit = {"percent": " %", "ratio": " times"}.get(c.unit, f" {c.unit}")
    return f"{c.low:g}{unit}" if c.low == c.high else f"{c.low:g} to {c.high:g}{unit}"


def _measured(metric: str, row: Mapping[str, Any] | None, base: Mapping[str, Any]) -> str:
    if row is None:
        return "not run here"
    if metric == "memory_saving":
        return f"{100 * (1 - row['n_bytes'] / base['n_bytes']):.0f} % of the file ({escape(row['technique'])})"
    if metric == "speedup":
        parts = [f"{t['ratio']:.2f} at batch {b}" for b, t in row["times"].items() if "ratio" in t]
        return ", ".join(parts)
    if row.get("energy_j") and base.get("energy_j"):
        mark = "" if row["energy_source"] == "counter" else " (◌ from processor time)"
        return f"{100 * (1 - row['energy_j'] / base['energy_j']):.0f} %{mark}"
    return "not known"


def command(plan: EdgeSpec) -> str:
    """The same on a command line."""
    parts = [f"workbench edge {plan.model}"]
    if plan.data:
        parts.append(f"--data {plan.data}")
    if plan.threads != 1:
        parts.append(f"--threads {plan.threads}")
    for name, value in (("latency-ms", plan.latency_ms), ("memory-mib", plan.memory_mib), ("power-w", plan.power_w)):
        if value:
            parts.append(f"--{name} {value:g}")
    line = " ".join(parts)
    return f"{line}\n{line} --export FOLDER   # the chosen model with its settings and a script that checks it"


def panel(**options: Any) -> EdgePanel:
    """The panel, on the newest run."""
    return EdgePanel(**options)
