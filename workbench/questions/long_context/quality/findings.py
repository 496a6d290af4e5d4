"""What a run of quality says: which attention and caches still retrieve what is hidden in a long text."""

import math
from collections.abc import Sequence
from pathlib import Path

from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.statistics import minimum_detectable
from workbench.core.units import shown_percent, three_digits
from workbench.core.verdict import Verdict
from workbench.questions.long_context.quality.rows import VariantResult, label_of
from workbench.questions.long_context.quality.spec import FULL, SERVED, ContextQualitySpec, Variant

SIGNIFICANT_P = 0.05


def about(run: Run) -> str:
    """Return what the numbers are of."""
    spec = run.asked(ContextQualitySpec)
    asked = (
        gettext("server {url}").format(url=spec.url)
        if spec.url
        else gettext("{model} on {device}").format(model=Path(spec.model).name, device=run.environment.device)
    )
    return gettext("{what} · {tasks} at {n_depths} depths, {n} questions each · run {run}, {day}").format(
        what=asked,
        tasks=gettext(", ").join(spec.tasks),
        n_depths=spec.n_depths,
        n=spec.n_per_cell,
        run=run.id,
        day=run.day,
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
            headline=gettext("The server retrieves {share} of the hidden facts.").format(
                share=shown_percent(rows[0].right_fraction.value)
            ),
            evidence=f"[{_range(rows[0], ', ')}] %, n = {rows[0].n}.",
            scope=gettext("No other variant was measured."),
        )
    others = [r for r in rows if r is not base]
    compared = [(r, r.against_full) for r in others if r.against_full]
    losing = [(r, c) for r, c in compared if c.mcnemar_p < SIGNIFICANT_P and c.lost > c.won]
    keeping = [(r, c) for r, c in compared if (r, c) not in losing]
    headline = gettext("Full attention retrieves {share} of the hidden facts{lost}{kept}.").format(
        share=shown_percent(base.right_fraction.value), lost=_lost(losing), kept=_kept(keeping)
    )
    if not others:
        return Verdict(headline=headline, evidence=f"n = {base.n}.", scope=gettext("No other variant was measured."))
    losses = [
        gettext("{variant} loses {lost} of {n} answers ({range} % correct)").format(
            variant=label_of(r), lost=c.lost, n=r.n, range=_range(r, gettext(" to "))
        )
        for r, c in losing
    ]
    evidence = gettext("; ").join(losses) or gettext(
        "No variant loses answers beyond chance (McNemar, p < {p})"
    ).format(p=SIGNIFICANT_P)
    fewest = min(r.n for r in rows)
    changed = (max(c.lost + c.won, 1) for _, c in keeping or compared)
    detectable = min(100.0, 100 * minimum_detectable(max(map(math.sqrt, changed)) / fewest))
    points = [
        gettext("{n} questions resolve only differences of {points} percentage points or more").format(
            n=fewest, points=f"{float(f'{detectable:.2g}'):g}"
        )
    ]
    if base.mean_kl_nat_per_token:
        worst_kl = max(others, key=_kl)
        points.append(
            gettext(
                "retrieval is not everything: {variant} retrieves {share} and diverges most, KL {kl} nat/token"
            ).format(
                variant=label_of(worst_kl),
                share=shown_percent(worst_kl.right_fraction.value),
                kl=three_digits(_kl(worst_kl)),
            )
        )
    best = min((r for r, _ in keeping), key=_kl, default=None)
    return Verdict(
        best=best.variant if best else None,
        headline=headline,
        evidence=gettext("{text}.").format(text=evidence),
        objection=gettext("{text}.").format(text=gettext("; ").join(points)),
        answer="yes" if keeping else "no" if losing else "open",
    )


def _lost(losing: Sequence[tuple[VariantResult, object]]) -> str:
    if not losing:
        return ""
    worst = min((r for r, _ in losing), key=lambda r: r.right_fraction.value)
    return gettext("; {variant} only {share}").format(
        variant=label_of(worst), share=shown_percent(worst.right_fraction.value)
    )


def _kept(keeping: Sequence[tuple[VariantResult, object]]) -> str:
    if not keeping:
        return ""
    names = gettext(" and ").join(label_of(r) for r, _ in keeping)
    return gettext("; no loss beyond chance with {variants}").format(variants=names)


def _kl(row: VariantResult) -> float:
    return row.mean_kl_nat_per_token.value if row.mean_kl_nat_per_token else 0.0


def _range(row: VariantResult, between: str) -> str:
    return f"{100 * row.right_fraction.low:.0f}{between}{100 * row.right_fraction.high:.0f}"
