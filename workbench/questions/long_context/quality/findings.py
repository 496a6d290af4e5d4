"""What a run of quality says: which attention and caches still retrieve what is hidden in a long text."""

import math
from pathlib import Path

from workbench.core.runs import Run
from workbench.core.statistics import minimum_detectable
from workbench.core.units import shown_percent, three_digits
from workbench.core.verdict import Verdict
from workbench.questions.long_context.quality.rows import VariantResult
from workbench.questions.long_context.quality.spec import FULL, SERVED, ContextQualitySpec, Variant

SIGNIFICANT_P = 0.05


def about(run: Run) -> str:
    """Return what the numbers are of."""
    spec = run.asked(ContextQualitySpec)
    asked = f"server {spec.url}" if spec.url else f"{Path(spec.model).name} on {run.environment.device}"
    return (
        f"{asked} · {', '.join(spec.tasks)} at {spec.n_depths} depths, {spec.n_per_cell} questions each · "
        f"run {run.id}, {run.day}"
    )


def window_of(variant: str | None) -> int | None:
    """Return the tokens of a variant's window, which a fact must lie in to be seen; None where there is no window."""
    if variant is None or variant == SERVED:
        return None
    read = Variant.read(variant)
    return read.options.window if read.technique in {"window", "sink-window"} else None


def verdict(run: Run) -> Verdict:
    """Return which variants find as much as full attention and which lose, with intervals."""
    rows = run.rows(VariantResult)
    base = next((r for r in rows if r.variant == FULL), None)
    if base is None:
        return Verdict(
            headline=f"The server retrieves {shown_percent(rows[0].right_fraction.value)} of the hidden facts.",
            evidence=f"[{_range(rows[0], ', ')}] %, n = {rows[0].n}.",
            scope="No other variant was measured.",
        )
    others = [r for r in rows if r is not base]
    compared = [(r, r.against_full) for r in others if r.against_full]
    losing = [(r, c) for r, c in compared if c.mcnemar_p < SIGNIFICANT_P and c.lost > c.won]
    keeping = [(r, c) for r, c in compared if (r, c) not in losing]
    headline = f"Full attention retrieves {shown_percent(base.right_fraction.value)} of the hidden facts"
    if losing:
        worst = min((r for r, _ in losing), key=lambda r: r.right_fraction.value)
        headline += f"; {worst.label} only {shown_percent(worst.right_fraction.value)}"
    if keeping:
        headline += f"; no loss beyond chance with {' and '.join(r.label for r, _ in keeping)}"
    if not others:
        return Verdict(headline=f"{headline}.", evidence=f"n = {base.n}.", scope="No other variant was measured.")
    losses = [f"{r.label} loses {c.lost} of {r.n} answers ({_range(r, ' to ')} % correct)" for r, c in losing]
    evidence = "; ".join(losses) or f"No variant loses answers beyond chance (McNemar, p < {SIGNIFICANT_P})"
    fewest = min(r.n for r in rows)
    changed = (max(c.lost + c.won, 1) for _, c in keeping or compared)
    detectable = min(100.0, 100 * minimum_detectable(max(map(math.sqrt, changed)) / fewest))
    objection = (
        f"{fewest} questions resolve only differences of {float(f'{detectable:.2g}'):g} percentage points or more"
    )
    if base.mean_kl_nat_per_token:
        worst_kl = max(others, key=_kl)
        objection += (
            f"; retrieval is not everything: {worst_kl.label} retrieves "
            f"{shown_percent(worst_kl.right_fraction.value)} and diverges most, KL {three_digits(_kl(worst_kl))} nat/token"
        )
    best = min((r for r, _ in keeping), key=_kl, default=None)
    return Verdict(
        best=best.variant if best else None,
        headline=headline + ".",
        evidence=evidence + ".",
        objection=objection + ".",
        answer="yes" if keeping else "no" if losing else "open",
    )


def _kl(row: VariantResult) -> float:
    return row.mean_kl_nat_per_token.value if row.mean_kl_nat_per_token else 0.0


def _range(row: VariantResult, between: str) -> str:
    return f"{100 * row.right_fraction.low:.0f}{between}{100 * row.right_fraction.high:.0f}"
