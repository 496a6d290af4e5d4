"""What the panel of small devices shows of a run: verdict, tables and claims beside."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, Protocol

from workbench.catalog.tables import claims
from workbench.core.edge import TECHNIQUES
from workbench.core.runs import Run
from workbench.core.units import MIB, shown_duration
from workbench.figures.tables import table, verdict_card

QUESTION = 13
CLAIMED = {
    "quantization": "int8-static",
    "pruning": "structured-half",
    "distillation": "student",
    "dynamic inference": "cascade",
}
"""The FAQ's strategies, and which technique here stands for each."""
WORDS = {"faster": "faster", "slower": "<b>slower</b>", "no difference shown": "none shown"}


class Limits(Protocol):
    """What a choice must keep; 0 stands for any."""

    latency_ms: float
    memory_mib: float
    power_w: float


def rows_of(run: Run, part: str) -> list[Mapping[str, Any]]:
    """Rows of a part."""
    return [r for r in run.results if r["part"] == part]


def batches_of(run: Run | None) -> list[str]:
    """Batches that a run timed."""
    variants = rows_of(run, "variant") if run else []
    return list(variants[0]["times"]) if variants else ["1"]


def settings(run: Run, state: Limits) -> list[dict[str, Any]]:
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
        "really faster?",
        "times as fast",
        "p50",
        "p99",
        "accuracy, %",
        "flips",
        "McNemar p",
        "kB (gzip)",
        "memory",
        "energy, 1000 inputs",
    )
    return table(head, [_cells(r, batch) for r in rows], left=(1,))


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
        really,
        ratio,
        shown_duration(t["p50_s"]),
        shown_duration(t["p99_s"]),
        accuracy,
        f"{r['flips']} of {r['n']}",
        "–" if p is None or r["technique"] == "fp32" else f"{p:.2g}",
        f"{r['n_bytes'] / 1e3:.0f}" + (f" ({r['gzip_bytes'] / 1e3:.0f})" if r.get("gzip_bytes") else ""),
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
    """Two float networks elsewhere: measured where installed, never claimed otherwise."""
    rows = rows_of(run, "runtime")
    if not rows:
        return "<p>Other runtimes are compared for the digit network only.</p>"
    head = ("Runtime ●", "batch", "p50", "p99", "times as fast as ONNX Runtime", "cores used")
    told = (
        "<p>The FAQ ranks TensorRT &gt; ONNX Runtime &gt; OpenVINO for convolutional networks, and TensorFlow Lite first on devices; what "
        "is not installed is not ranked here. All in float32; the encoder has random weights. A runtime that uses more cores than the others "
        "is not faster for the same money.</p>"
    )
    for subject in dict.fromkeys(r["subject"] for r in rows if r["state"] != "not run"):
        told += f"<h3>{escape(subject[0].upper() + subject[1:])}</h3>{table(head, [_runtime(r) for r in rows if r['subject'] == subject])}"
    missing = [(r["runtime"], escape(r["remedy"])) for r in rows if r["state"] == "not run"]
    return told + (f"<h3>Not run</h3>{table(('Runtime', 'why'), missing, left=(1,))}" if missing else "")


def _runtime(r: Mapping[str, Any]) -> tuple[str, ...]:
    if r["state"] != "measured":
        return (r["runtime"], f"{r['state']}: {escape(r['remedy'])}")
    ratio = f"{r['ratio']:.2f} ({r['ratio_interval'][0]:.2f} to {r['ratio_interval'][1]:.2f})" if "ratio" in r else "1"
    return (
        r["runtime"],
        str(r["batch"]),
        shown_duration(r["p50_s"]),
        shown_duration(r["p99_s"]),
        ratio,
        f"{r['cores_used']:.1f}",
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
