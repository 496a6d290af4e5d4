"""Findings of the chosen plan in words and tables, and how well cheaper measures rank the layers."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import isnan, log10, nan
from pathlib import Path

from workbench.catalog.formats import FORMATS, group_named, recipe, short_format
from workbench.compress.rows import before_each, coverage_text
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.units import NOT_KNOWN, shown_bytes, shown_percent, three_digits
from workbench.core.verdict import Verdict, objections, sentence
from workbench.estimate.mixed_precision import Solution
from workbench.interface.html import HeatCell, Text, lines, small
from workbench.interface.numbers import with_ends
from workbench.questions.quantization.evaluation.spec import kl_band
from workbench.questions.quantization.sensitivity.findings.plan_ledger import Ledger
from workbench.questions.quantization.sensitivity.findings.plan_space import PlanSpace
from workbench.questions.quantization.sensitivity.rows import (
    KL_FLOOR,
    GroupDamage,
    LayerCoverage,
    SensitivitySamples,
    group_sizes,
)
from workbench.questions.quantization.sensitivity.spec import SensitivitySpec

CHEAPER: Mapping[str, Callable[[GroupDamage], float | None]] = {
    gettext("Fisher proxy"): lambda r: r.fisher_kl_nat_per_token,
    gettext("relative weight error"): lambda r: r.weight_error_fraction,
    gettext("input outliers"): lambda r: r.input_outlier_ratio,
}
"""Measures that need no evaluation for each format and group."""


def about(run: Run) -> str:
    """Return model, device and text that the numbers of a run are for."""
    spec = run.asked(SensitivitySpec)
    half = spec.n_windows // 2
    return gettext(
        "{model} on {device} · each format in each layer group alone: {half} × {n_tokens} tokens; plans "
        "verified on {half} others; GPTQ was calibrated on {n_samples} × {n_tokens} "
        "tokens{prefix}{reached} · run {run}, {day}"
    ).format(
        model=Path(spec.model).name,
        device=run.environment.device,
        half=half,
        n_tokens=spec.window_tokens,
        n_samples=spec.n_samples,
        prefix=_prefix(run),
        reached=_reached(run),
        run=run.id,
        day=run.day,
    )


def _prefix(run: Run) -> str:
    return before_each(len(run.samples.prefix_ids)) if isinstance(run.samples, SensitivitySamples) else ""


def _reached(run: Run) -> str:
    """Return the share of the weights that a plan can quantize, where the run has counted it."""
    return "".join(
        gettext(" · the layer groups hold {coverage}").format(coverage=coverage_text(r.coverage))
        for r in run.rows(LayerCoverage)
    )


def transferred(run: Run, timed: Run | None) -> str | None:
    """Return the objection where times are of another model's products than damages; None otherwise."""
    served, own = Path(timed.model or "").name if timed else None, Path(run.model or "").name
    if served in (None, own):
        return None
    return gettext(
        "times are of {served}'s products, damages of {own}: measure the sensitivity of the model that you serve"
    ).format(served=served, own=own)


def plan_verdict(space: PlanSpace, chosen: Solution, *, missing: Mapping[str, str], transferred: str | None) -> Verdict:
    """Return cost and damage of the chosen plan, its evidence and the strongest objection.

    Args:
        space: Where the plan comes from.
        chosen: The plan.
        missing: Formats without a kernel and where.
        transferred: Why costs are of another model than damages, if they are.
    """
    if chosen.damage == 0:
        why = gettext("No layer is quantized. Only BF16 is allowed, so there is nothing to choose from.")
        if space.low < chosen.cost:
            why = gettext("No layer is quantized. The cheapest plan costs {cost}.").format(
                cost=space.unit.shown(space.low)
            )
        elif len(space.uniform) > 1:
            why = gettext(
                "No layer is quantized. No allowed format is cheaper here: quantization does not pay off for these products."
            )
        headline = gettext("With this budget ({cost}) every layer stays in BF16, without loss of accuracy.").format(
            cost=space.unit.shown(chosen.cost)
        )
        return Verdict(headline=headline, evidence=why, answer="no")
    mix = gettext(", ").join(f"{n} × {short_format(f)}" for f, n in Counter(chosen.plan.values()).most_common())
    verified = space.verified(chosen)
    shown = verified.kl.value if verified else chosen.damage
    return Verdict(
        headline=gettext("At {cost}, the best plan has KL {kl} nat/token ({band}): {mix}.").format(
            cost=space.unit.shown(chosen.cost), kl=three_digits(shown), band=kl_band(shown), mix=mix
        ),
        evidence=_evidence(space, chosen),
        provenance=Provenance.MEASURED if verified else Provenance.ESTIMATED,
        objection=objections(_against(space, chosen, missing, transferred)),
        scope=_scope(space, chosen),
    )


def _scope(space: PlanSpace, chosen: Solution) -> str | None:
    """Return what the prediction leaves out, and whether mixing formats is needed at all."""
    points = []
    if len(set(chosen.plan.values())) == 1:
        points.append(gettext("one format everywhere is the best plan: no mixing is needed"))
    if space.verified(chosen) is None:
        points.append(gettext("the sum of damages leaves out interactions between layer groups"))
    return sentence(points) if points else None


def _evidence(space: PlanSpace, chosen: Solution) -> str:
    verified, n = space.verified(chosen), len(space.options)
    if verified is None:
        return gettext(
            "Predicted as the sum of the measured damages of {n} layer groups; this plan has not been measured as a whole: "
            "press Verify."
        ).format(n=n)
    kl = verified.kl.value
    return gettext(
        "Predicted as the sum of the measured damages of {n} layer groups: {damage}; verified: {verified} nat/token{off}."
    ).format(
        n=n,
        damage=three_digits(chosen.damage),
        verified=with_ends(verified.kl),
        off=gettext(", {share} % off").format(share=f"{abs(chosen.damage / kl - 1) * 100:.1f}") if kl else "",
    )


def _against(space: PlanSpace, chosen: Solution, missing: Mapping[str, str], transferred: str | None) -> list[str]:
    points = []
    unserved = sorted({f for f in chosen.plan.values() if f in missing})
    if unserved:
        points.append(
            gettext("{formats}: no kernel in {place}, so this plan cannot be served there; untick it").format(
                formats=gettext(" and ").join(map(short_format, unserved)), place=missing[unserved[0]]
            )
        )
    affordable = [(name, s) for name, s in space.uniform.items() if s.cost <= chosen.cost * 1.03]
    if affordable:
        name, rival = min(affordable, key=lambda item: (item[1].damage, item[1].cost))
        gain = rival.damage / chosen.damage
        everywhere, cost = short_format(name), space.unit.shown(rival.cost)
        if len(set(chosen.plan.values())) > 1 and gain < 1.05:
            points.append(gettext("{format} everywhere is as good for {cost}").format(format=everywhere, cost=cost))
        elif len(set(chosen.plan.values())) > 1:
            points.append(
                gettext("{format} everywhere is simpler: {cost}, KL {kl} ({factor} times as much)").format(
                    format=everywhere, cost=cost, kl=three_digits(rival.damage), factor=f"{gain:.1f}"
                )
            )
    if transferred:
        points.append(transferred)
    return points


def plan_table(space: PlanSpace, book: Ledger, chosen: Solution) -> tuple[tuple[Text, ...], list[tuple[Text, ...]]]:
    """Return titles and rows: the chosen plan and the uniform formats, with damage, memory and time."""

    def row(label: str, solution: Solution) -> tuple[str, ...]:
        measured = space.verified(solution)
        return (
            label,
            three_digits(solution.damage),
            three_digits(measured.kl.value if measured else None),
            three_digits(book.stored_bits(solution.plan)),
            shown_bytes(book.stored_bytes(solution.plan)),
            *(gettext("no kernel") if f is None else shown_percent(f) for f in book.time_fractions(solution.plan)),
        )

    others = sorted(space.uniform.items(), key=lambda item: -item[1].damage)
    rows = [
        row(gettext("the chosen plan"), chosen),
        *(row(gettext("{formats} everywhere").format(formats=short_format(name)), s) for name, s in others),
    ]
    times = (lines((gettext("time, % of BF16 ●"), small(t.label))) for t in book.timed)
    head = (
        gettext("Plan"),
        gettext("KL, nat/token ◌"),
        gettext("verified ●"),
        gettext("bits per weight"),
        gettext("linear layers"),
    )
    return (*head, *times), rows


def heat_rows(
    space: PlanSpace, chosen: Solution
) -> tuple[str, tuple[str, ...], list[tuple[str, list[HeatCell | None]]]]:
    """Return legend, titles and rows of the plan by layer and role; a darker cell has more damage in the narrowest format."""
    by_group = {g: [r for r in space.layers if r.group == g] for g in group_sizes(space.layers)}
    narrowest = min(space.layers, key=lambda r: r.stored_bits).format
    damage = {
        g: log10(max(next(r.kl_nat_per_token.value for r in rows if r.format == narrowest), KL_FLOOR))
        for g, rows in by_group.items()
    }
    low, span = min(damage.values()), (max(damage.values()) - min(damage.values())) or 1.0
    cells = {
        (rows[0].layer, rows[0].role): HeatCell(
            name=group,
            text=short_format(chosen.plan[group]),
            hint="\n".join((group, *map(_in_this_group, rows))),
            darkness=0.08 + 0.42 * (damage[group] - low) / span,
        )
        for group, rows in by_group.items()
    }
    layers, roles = dict.fromkeys(layer for layer, _ in cells), dict.fromkeys(role for _, role in cells)
    legend = gettext(
        "text: format · darker: KL with {format} in this group alone · point at a cell for all formats"
    ).format(format=gettext(FORMATS[narrowest].label))
    rows_shown = [
        (NOT_KNOWN if layer is None else str(layer), [cells.get((layer, role)) for role in roles]) for layer in layers
    ]
    return legend, (gettext("layer"), *roles), rows_shown


def _in_this_group(row: GroupDamage) -> str:
    return f"{short_format(row.format)}: KL {with_ends(row.kl_nat_per_token)}"


def commands(model: str) -> str:
    """Return the commands that make, evaluate and serve a checkpoint of a plan."""
    return (
        "# Save the plan below as plan.json, then:\nworkbench engines install llmcompressor\n"
        f"workbench checkpoints {model} --schemes mixed --plan plan.json --out checkpoints\n"
        f"workbench evaluate {model} checkpoints/*mixed* --in-vllm\nvllm serve checkpoints/*mixed*"
    )


def plan_file(chosen: Solution) -> str:
    """Return the plan as a file that commands read."""
    return json.dumps({"plan": dict(chosen.plan)}, indent=1)


def plan_recipe(chosen: Solution) -> str:
    """Return the plan as llm-compressor's recipe."""
    return recipe(chosen.plan, [group_named(name) for name in chosen.plan])


def agreement(layers: Sequence[GroupDamage]) -> dict[str, tuple[float, ...]]:
    """Return by format the rank correlation (Spearman) of each measure of ``CHEAPER`` with the measured KL."""
    from scipy.stats import spearmanr

    ranks: dict[str, tuple[float, ...]] = {}
    for form in dict.fromkeys(r.format for r in layers):
        rows = [r for r in layers if r.format == form]
        if len(rows) > 2:
            direct = [r.kl_nat_per_token.value for r in rows]
            cheaper = [[of(r) for r in rows] for of in CHEAPER.values()]
            ranks[form] = tuple(
                nan if None in values else float(spearmanr(direct, values).statistic) for values in cheaper
            )
    return ranks


def agreement_table(layers: Sequence[GroupDamage]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return titles and rows with the rank correlations of each format."""
    rows = [
        (gettext(FORMATS[form].label), *(NOT_KNOWN if isnan(rank) else f"{rank:+.2f}" for rank in ranks))
        for form, ranks in agreement(layers).items()
    ]
    return (gettext("Format"), *CHEAPER), rows
