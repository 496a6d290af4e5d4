"""What runs of attention say: which technique is fastest at which length, and what it costs in quality."""

from collections.abc import Sequence
from pathlib import Path

from workbench.attention.reasons import STATUSES, shown_reason
from workbench.attention.rows import Cell, MissingCell
from workbench.catalog.attention_techniques import TECHNIQUES
from workbench.catalog.models import model_spec_from
from workbench.core.columns import Columns
from workbench.core.language import gettext
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
from workbench.questions.long_context.attention.spec import PHASES, AttentionSpec
from workbench.questions.long_context.quality.rows import VariantResult, label_of

LEAST_ROUNDS = 3
TIE = 1.02  # medians closer than this are called equal
FASTEST = {
    "prefill": gettext("{technique} is the fastest exact kernel for prefill of {n} tokens: {time} a layer{sparse}."),
    "decode": gettext("{technique} is the fastest exact kernel for decode after {n} tokens: {time} a layer{sparse}."),
}
AMONG_THE_FASTEST = {
    "prefill": gettext(
        "{technique} is not shown to differ from {equal}, the fastest exact kernels, for prefill of {n} tokens: {time} a "
        "layer{sparse}."
    ),
    "decode": gettext(
        "{technique} is not shown to differ from {equal}, the fastest exact kernels, for decode after {n} tokens: {time} a "
        "layer{sparse}."
    ),
}
"""Headlines by phase."""
QUALITY_COLUMNS: Columns[VariantResult] = {
    gettext("Variant ● (reference model)"): label_of,
    gettext("correct answers"): lambda r: gettext("{share} of {n}").format(
        share=shown_percent(r.right_fraction.value, 1), n=r.n
    ),
    gettext("KL to full, nat/token"): lambda r: (
        three_digits(r.mean_kl_nat_per_token.value) if r.mean_kl_nat_per_token else NOT_KNOWN
    ),
}
"""Of a variant of a run of quality."""
CELL_COLUMNS: Columns[AnyCell] = {
    gettext("Technique"): lambda r: r.label,
    gettext("phase"): lambda r: PHASES[r.phase],
    gettext("context"): lambda r: str(r.length_tokens),
    "p50": lambda r: shown_duration(r.p50_s.value) if isinstance(r, Cell) else NOT_KNOWN,
    gettext("of the ceiling"): lambda r: shown_percent(r.ceiling_fraction) if isinstance(r, Cell) else NOT_KNOWN,
    gettext("status"): lambda r: gettext("measured") if isinstance(r, Cell) else STATUSES[r.status],
}
"""Of everything that was measured, and of what could not be."""


def about(run: Run, runs: Sequence[Run]) -> str:
    """Return what the numbers are of: whose heads, which device, and all runs of that device."""
    place = run.asked(AttentionSpec).model
    model = model_spec_from(place)
    ids = gettext(", ").join(f"{r.id} ({r.day})" for r in runs)
    return gettext(
        "heads of {model} ({n_heads} heads, {n_kv_heads} KV heads, head_dim {head_dim}), random inputs · PyTorch {version} "
        "on {device} · runs {runs}"
    ).format(
        model=Path(place).name,
        n_heads=model.n_heads,
        n_kv_heads=model.n_kv_heads,
        head_dim=model.head_dim,
        version=run.environment.packages.get("torch", "–"),
        device=run.environment.device,
        runs=ids,
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
        headline = gettext("No full attention was measured at {n} tokens.").format(n=f"{length_tokens:,}")
        return Verdict(headline=headline, evidence=gettext("Choose another length."), answer="open")
    best = exact[0]
    equal = [r.label for r in exact[1:] if r.p50_s.low <= best.p50_s.high]
    sparse = [r for r in here if not is_exact(r)]
    faster = ""
    if sparse and sparse[0].p50_s.value * TIE < best.p50_s.value:
        faster = gettext("; {technique} is {factor}× as fast and attends to fewer keys").format(
            technique=sparse[0].label, factor=three_digits(best.p50_s.value / sparse[0].p50_s.value)
        )
    headline = (AMONG_THE_FASTEST if equal else FASTEST)[phase].format(
        technique=best.label,
        equal=gettext(" and ").join(equal),
        n=f"{length_tokens:,}",
        time=shown_duration(best.p50_s.value),
        sparse=faster,
    )
    fraction = best.ceiling_fraction
    share = gettext("{share} of this device's {ceiling}").format(share=shown_percent(fraction), ceiling=CEILINGS[phase])
    memory = gettext(", {peak} at the peak").format(peak=shown_bytes(best.peak_bytes)) if best.peak_bytes else ""
    return Verdict(
        best=best.technique,
        headline=headline,
        evidence=gettext(
            "{share}{memory}; median {median} [{low}, {high}], n = {n}; largest error against float64 {error}."
        ).format(
            share="" if fraction is None else share,
            memory=memory,
            median=shown_duration(best.p50_s.value),
            low=shown_duration(best.p50_s.low),
            high=shown_duration(best.p50_s.high),
            n=best.n,
            error=three_digits(best.max_error),
        ),
        objection=objections(_against(cells, phase, best)),
        scope=gettext("Measured for one layer alone, with random inputs."),
    )


def _against(cells: Sequence[AnyCell], phase: str, best: Cell) -> list[str]:
    points = []
    if best.n < LEAST_ROUNDS:
        points.append(gettext("timed in {n} rounds only, so that no interval shows its spread").format(n=best.n))
    names = dict.fromkeys(r.technique for r in measured_cells(cells) if not is_exact(r))
    starts = {n: crossover_tokens(cells, n, phase=phase) for n in names}
    paying = {n: at for n, at in starts.items() if at is not None}
    if paying:
        text = gettext(", ").join(
            gettext("{technique} from {n} tokens").format(technique=gettext(TECHNIQUES[name].label), n=f"{at:,}")
            for name, at in paying.items()
        )
        points.append(
            gettext("techniques that ignore some keys beat every exact kernel: {techniques}").format(techniques=text)
        )
    never = [gettext(TECHNIQUES[n].label) for n, at in starts.items() if at is None]
    if never:
        points.append(
            gettext("not faster at the longest length that was measured: {techniques}").format(
                techniques=gettext(", ").join(never)
            )
        )
    return points


def technique_head(length_tokens: int) -> tuple[str, ...]:
    """Return the titles of the columns of ``technique_rows``."""
    speed = (gettext("one layer, p50"), gettext("of the ceiling"), "TFLOP/s")
    costs = (
        gettext("peak memory"),
        gettext("energy"),
        gettext("max error"),
        gettext("distance from full"),
        gettext("faster from"),
    )
    return (gettext("At {n} tokens ●").format(n=f"{length_tokens:,}"), *speed, *costs)


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
            gettext("exact")
            if is_exact(r)
            else gettext("{n} tokens").format(n=f"{start:,}")
            if start
            else gettext("nowhere"),
        )
    missing = [r for r in cells if isinstance(r, MissingCell) and r.is_at(phase, length_tokens)]
    return rows | {
        r.technique: (
            r.label,
            gettext("{status}: {reason}").format(status=STATUSES[r.status], reason=shown_reason(r.reason)),
        )
        for r in missing
    }
