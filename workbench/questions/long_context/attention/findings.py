"""What runs of attention say: which technique is fastest at which length, and what it costs in quality."""

from collections.abc import Sequence
from pathlib import Path

from workbench.attention.rows import Cell, MissingCell
from workbench.catalog.attention_techniques import TECHNIQUES
from workbench.catalog.models import model_spec_from
from workbench.core.columns import Columns
from workbench.core.runs import Run
from workbench.core.units import NOT_KNOWN, shown_bytes, shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict, objections
from workbench.questions.long_context.attention.rows import (
    CEILINGS,
    AnyCell,
    is_exact,
    measured_at,
    measured_cells,
    measured_lengths,
)
from workbench.questions.long_context.attention.spec import AttentionSpec
from workbench.questions.long_context.quality.rows import VariantResult

LEAST_ROUNDS = 3
TIE = 1.02  # medians closer than this are called equal
DOING = {"prefill": "prefill of", "decode": "decode after"}
QUALITY_COLUMNS: Columns[VariantResult] = {
    "Variant ● (reference model)": lambda r: r.label,
    "correct answers": lambda r: f"{shown_percent(r.right_fraction.value, 1)} of {r.n}",
    "KL to full, nat/token": lambda r: (
        three_digits(r.mean_kl_nat_per_token.value) if r.mean_kl_nat_per_token else NOT_KNOWN
    ),
}
"""Of a variant of a run of quality."""
CELL_COLUMNS: Columns[AnyCell] = {
    "Technique": lambda r: r.label,
    "phase": lambda r: r.phase,
    "context": lambda r: str(r.length_tokens),
    "p50": lambda r: shown_duration(r.p50_s.value) if isinstance(r, Cell) else NOT_KNOWN,
    "of the ceiling": lambda r: shown_percent(r.ceiling_fraction) if isinstance(r, Cell) else NOT_KNOWN,
    "status": lambda r: "measured" if isinstance(r, Cell) else r.status,
}
"""Of everything that was measured, and of what could not be."""


def about(run: Run, runs: Sequence[Run]) -> str:
    """Return what the numbers are of: whose heads, which device, and all runs of that device."""
    place = run.asked(AttentionSpec).model
    model = model_spec_from(place)
    ids = ", ".join(f"{r.id} ({r.day})" for r in runs)
    return (
        f"heads of {Path(place).name} ({model.n_heads} heads, {model.n_kv_heads} KV heads, "
        f"head_dim {model.head_dim}), random inputs · PyTorch {run.environment.packages.get('torch', '–')} on "
        f"{run.environment.device} · runs {ids}"
    )


def crossover_tokens(cells: Sequence[AnyCell], technique: str, *, phase: str) -> int | None:
    """Return the least length from which on a technique beats the fastest full attention by over 2 %; None: none."""
    crossover: int | None = None
    for length in measured_lengths(cells, phase=phase):
        here = measured_at(cells, phase=phase, length_tokens=length)
        mine = next((r for r in here if r.technique == technique), None)
        full = next((r for r in here if is_exact(r)), None)
        if mine and full:
            is_faster = mine.p50_s.value * TIE < full.p50_s.value
            crossover = (crossover or length) if is_faster else None
    return crossover


def verdict(cells: Sequence[AnyCell], *, phase: str, length_tokens: int) -> Verdict:
    """Return the fastest exact technique, what sparser ones save from where on, and what speaks against them."""
    here = measured_at(cells, phase=phase, length_tokens=length_tokens)
    exact = [r for r in here if is_exact(r)]
    if not exact:
        headline = f"No full attention was measured at {length_tokens:,} tokens."
        return Verdict(headline=headline, evidence="Choose another length.", answer="open")
    best = exact[0]
    equal = [r.label for r in exact[1:] if r.p50_s.low <= best.p50_s.high]
    who = (
        "is the fastest exact kernel"
        if not equal
        else f"is not shown to differ from {' and '.join(equal)}, the fastest exact kernels,"
    )
    headline = (
        f"{best.label} {who} for {DOING[phase]} {length_tokens:,} tokens: {shown_duration(best.p50_s.value)} a layer"
    )
    sparse = [r for r in here if not is_exact(r)]
    if sparse and sparse[0].p50_s.value * TIE < best.p50_s.value:
        times = best.p50_s.value / sparse[0].p50_s.value
        headline += f"; {sparse[0].label} is {three_digits(times)}× as fast and attends to fewer keys"
    fraction = best.ceiling_fraction
    share = "" if fraction is None else f"{shown_percent(fraction)} of this device's {CEILINGS[phase]}"
    memory = f", {shown_bytes(best.peak_bytes)} at the peak" if best.peak_bytes else ""
    return Verdict(
        best=best.technique,
        headline=headline + ".",
        evidence=f"{share}{memory}; median {shown_duration(best.p50_s.value)} "
        f"[{shown_duration(best.p50_s.low)}, {shown_duration(best.p50_s.high)}], n = {best.n}; "
        f"largest error against float64 {three_digits(best.max_error)}.",
        objection=objections(_against(cells, phase, best)),
        scope="Measured for one layer alone, with random inputs.",
    )


def _against(cells: Sequence[AnyCell], phase: str, best: Cell) -> list[str]:
    points = [f"timed in {best.n} rounds only, so that no interval shows its spread"] if best.n < LEAST_ROUNDS else []
    names = dict.fromkeys(r.technique for r in measured_cells(cells) if not is_exact(r))
    starts = {n: crossover_tokens(cells, n, phase=phase) for n in names}
    paying = {n: at for n, at in starts.items() if at is not None}
    if paying:
        text = ", ".join(f"{TECHNIQUES[n].label} from {at:,} tokens" for n, at in paying.items())
        points.append(f"techniques that ignore some keys beat every exact kernel: {text}")
    never = [TECHNIQUES[n].label for n, at in starts.items() if at is None]
    if never:
        points.append(f"not faster at the longest length that was measured: {', '.join(never)}")
    return points


def technique_head(length_tokens: int) -> tuple[str, ...]:
    """Return the titles of the columns of ``technique_rows``."""
    speed = ("one layer, p50", "of the ceiling", "TFLOP/s")
    costs = ("peak memory", "energy", "max error", "distance from full", "faster from")
    return (f"At {length_tokens:,} tokens ●", *speed, *costs)


def technique_rows(cells: Sequence[AnyCell], *, phase: str, length_tokens: int) -> dict[str, tuple[str, ...]]:
    """Return the cells of a table by technique, fastest first, then what was not measured with its reason."""
    ordered = measured_at(cells, phase=phase, length_tokens=length_tokens)
    full = next((r for r in ordered if is_exact(r)), None)
    rows: dict[str, tuple[str, ...]] = {}
    for r in ordered:
        start = None if is_exact(r) else crossover_tokens(cells, r.technique, phase=phase)
        rows[r.technique] = (
            r.label,
            shown_duration(r.p50_s.value) + (f", {full.p50_s.value / r.p50_s.value:.2g}×" if full else ""),
            shown_percent(r.ceiling_fraction),
            NOT_KNOWN if r.flop_per_s is None else three_digits(r.flop_per_s / 1e12),
            shown_bytes(r.peak_bytes or None),
            f"{three_digits(r.energy_j)} J" if r.energy_j else NOT_KNOWN,
            NOT_KNOWN if r.max_error is None else f"{r.max_error:.1e}",
            f"{100 * r.distance_from_full:.2g} %",
            "exact" if is_exact(r) else f"{start:,} tokens" if start else "nowhere",
        )
    missing = [r for r in cells if isinstance(r, MissingCell) and r.is_at(phase, length_tokens)]
    return rows | {r.technique: (r.label, f"{r.status}: {r.reason}") for r in missing}
