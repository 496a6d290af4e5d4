"""Judges of the claims about small devices, by the technique that stands for each strategy."""

from collections.abc import Iterator

from workbench.catalog.ledger import Evidence, Judgement, Judges, compared, first_of, untested
from workbench.catalog.tables import Claim
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.questions.edge.findings import shown_label
from workbench.questions.edge.findings.lengths import PADDINGS, lengths_words, memory_words, saved_percent
from workbench.questions.edge.rows import LengthsResult, VariantResult

EDGE = "workbench edge digits"
CLAIMED = {
    "quantization": ("int8-static", "int8-dynamic"),
    "pruning": ("structured-half", "unstructured-80"),
    "distillation": ("student",),
}
"""The FAQ's strategies, and which techniques here are one."""
POWER = gettext(
    "The energy of the shipped runs is processor time times an assumed power, which only repeats the speed-up; "
    "it needs a processor with an energy counter."
)
LENGTHS = gettext("No run compares inputs of different lengths.")
LENGTHS_COMMAND = "workbench edge FOLDER --variable-lengths"
CHIP = gettext("The shipped runs are of processors; a dedicated chip of a small device was not at hand.")


def variants(claim: Claim, evidence: Evidence) -> Iterator[tuple[Run, VariantResult, VariantResult]]:
    """Yield the techniques of a strategy whose accuracy is not shown to be worse, each with float32 of the same run."""
    for run, rows in evidence.with_rows("edge", VariantResult):
        base = next((r for r in rows if r.technique == "fp32"), None)
        for row in rows:
            if base and row.technique in CLAIMED[claim.technique] and not (row.accuracy and row.accuracy.is_worse):
                yield run, row, base


def speedup(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the largest speed-up over techniques, networks and batch sizes, with all others."""
    found = [
        (run, row, batch, times.speedup)
        for run, row, _ in variants(claim, evidence)
        for batch, times in row.times.items()
        if times.speedup
    ]
    if not found:
        return None
    best = max(found, key=lambda f: f[3].ratio)
    rest = ", ".join(
        gettext("{ratio:.2f}× {technique} at {batch} ({model})").format(
            ratio=s.ratio, technique=row.technique, batch=b, model=run.model
        )
        for run, row, b, s in found
        if s is not best[3]
    )
    how = gettext("{label}, batch size {batch}, {model}. Others: {rest}.").format(
        label=shown_label(best[1].label), batch=best[2], model=best[0].model, rest=rest
    )
    runs = {f[0].id: f[0] for f in (best, *found)}.values()
    return compared(claim, best[3].ratio, how, runs=runs, interval=best[3].ratio_interval)


def memory(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the largest part of the file that is saved; what the process needs is named beside it."""
    found = [(100 * (1 - row.n_bytes / base.n_bytes), run, row, base) for run, row, base in variants(claim, evidence)]
    if not found:
        return None
    value, run, row, base = max(found, key=lambda f: f[0])
    process = ""
    if row.peak_bytes and base.peak_bytes:
        process = gettext(" What the process needs falls by {percent:.0f} %.").format(
            percent=100 * (1 - row.peak_bytes / base.peak_bytes)
        )
    rest = ", ".join(f"{v:.0f} % {r.technique} ({x.model})" for v, x, r, _ in found if r is not row)
    how = gettext("Size of the file, {label}, {model}.{process}").format(
        label=shown_label(row.label), model=run.model, process=process
    )
    if rest:
        how += gettext(" Others: {rest}.").format(rest=rest)
    return compared(claim, value, how, runs={f[1].id: f[1] for f in found}.values())


def power(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the energy of an input that is saved, where the processor's counter measured it."""
    for run, row, base in variants(claim, evidence):
        if row.energy_j and base.energy_j and row.energy_source == base.energy_source == "counter":
            return compared(
                claim,
                100 * (1 - row.energy_j / base.energy_j),
                gettext("Energy of an input, {label}.").format(label=shown_label(row.label)),
                runs=(run,),
            )
    return None


def dynamic(evidence: Evidence) -> Iterator[tuple[Run, list[LengthsResult], LengthsResult, LengthsResult]]:
    """Yield all rows of a run with different lengths, and those of static and of dynamic padding for inputs that come one by one."""
    for run, rows in evidence.with_rows("edge", LengthsResult):
        single = {r.padding: r for r in rows if r.batch == 1}
        if {"static", "dynamic"} <= set(single):
            yield run, rows, single["static"], single["dynamic"]


def _of_inputs(run: Run, rows: list[LengthsResult], what: str) -> str:
    return gettext(
        "{what} at batch size 1, as inputs come to a small device: at its own length, instead of padded to the {longest} tokens of the "
        "longest. Inputs: {about} {model}."
    ).format(
        what=what,
        longest=rows[0].lengths.max,
        about=lengths_words(rows)[0],
        model=run.model,
    )


def lengths_speedup(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the speed-up of dynamic over static padding at batch size 1; all others are named."""
    for run, rows, _, own in dynamic(evidence):
        if own.speedup:
            rest = ", ".join(
                f"{r.speedup.ratio:.2f}× {PADDINGS[r.padding]} ({r.batch})" for r in rows if r.speedup and r is not own
            )
            how = _of_inputs(run, rows, gettext("Time for one input"))
            how += gettext(" Others, with their batch size: {rest}.").format(rest=rest) if rest else ""
            return compared(claim, own.speedup.ratio, how, runs=(run,), interval=own.speedup.ratio_interval)
    return None


def lengths_memory(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the part of a process's memory that dynamic padding saves at batch size 1."""
    for run, rows, static, own in dynamic(evidence):
        if (saved := saved_percent(own.peak_bytes, static.peak_bytes)) is not None:
            how = [_of_inputs(run, rows, gettext("Memory that a process adds"))]
            how += [memory_words(r, rows) for r in rows if r.padding == "dynamic"]
            return compared(claim, saved, " ".join(how), runs=(run,))
    return None


def lengths_power(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the energy of an input that dynamic padding saves, where the processor's counter measured it."""
    for run, rows, static, own in dynamic(evidence):
        if static.energy_j and own.energy_j and static.energy_source == own.energy_source == "counter":
            how = _of_inputs(run, rows, gettext("Energy of an input"))
            return compared(claim, 100 * (1 - own.energy_j / static.energy_j), how, runs=(run,))
    return None


JUDGES: Judges = {
    **{
        (13, strategy, metric): first_of(judge, untested(EDGE, why))
        for strategy in CLAIMED
        for metric, judge, why in (
            ("memory_saving", memory, gettext("No run measured it.")),
            ("speedup", speedup, gettext("No run measured it.")),
            ("power_reduction", power, POWER),
        )
    },
    **{
        (13, "dynamic inference", metric): first_of(judge, untested(LENGTHS_COMMAND, why))
        for metric, judge, why in (
            ("memory_saving", lengths_memory, LENGTHS),
            ("speedup", lengths_speedup, LENGTHS),
            ("power_reduction", lengths_power, POWER),
        )
    },
    **{
        (13, "hardware acceleration", metric): untested(f"{EDGE}  # on the device", CHIP)
        for metric in ("memory_saving", "speedup", "power_reduction")
    },
}
"""By question, technique and metric."""
