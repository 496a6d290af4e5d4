"""Findings of a whole plan: the amount of calibration text that is enough."""

from collections.abc import Sequence
from pathlib import Path

from workbench.catalog.formats import short_format
from workbench.compress.rows import before_each, coverage_text
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.units import three_digits
from workbench.core.verdict import Verdict, objections
from workbench.interface.numbers import with_ends
from workbench.questions.quantization.plan_damage.rows import PlanDamage, PlanSamples, by_text, rounded
from workbench.questions.quantization.plan_damage.spec import PlanDamageSpec


def plan_label(run: Run) -> str:
    """Return the formats of a run's plan in words."""
    formats = dict.fromkeys(map(short_format, run.asked(PlanDamageSpec).plan.values()))
    return gettext("{formats} everywhere").format(formats=gettext(", ").join(formats))


def about(run: Run) -> str:
    """Return model, device and text that the numbers of a run are for."""
    name, device, rows = Path(run.asked(PlanDamageSpec).model).name, run.environment.device, run.rows(PlanDamage)
    quantized = (
        gettext(" · quantized: {coverage}").format(coverage=coverage_text(rows[0].coverage)) if rows[0].coverage else ""
    )
    samples = run.samples
    before = before_each(len(samples.prefix_ids)) if isinstance(samples, PlanSamples) else ""
    return gettext("{model} on {device} · {n_windows} windows{before}{quantized} · run {run}, {day}").format(
        model=name,
        device=device,
        n_windows=rows[0].n_windows,
        before=before,
        quantized=quantized,
        run=run.id,
        day=run.day,
    )


def enough_tokens(rows: Sequence[PlanDamage], *, within: float = 0.05) -> int | None:
    """Return the fewest calibration tokens whose divergence, and that of all larger amounts, is within a share of the last one's.

    None where only the largest amount is: whether more text would help was not seen.
    """
    ordered = by_text(rows)
    last = ordered[-1].mean_kl_nat_per_token.value
    enough = len(ordered) - 1
    while enough and abs(ordered[enough - 1].mean_kl_nat_per_token.value - last) <= within * last:
        enough -= 1
    return ordered[enough].calibration_tokens if enough < len(ordered) - 1 else None


def verdict(run: Run) -> Verdict:
    """Return the amount of text beyond which KL hardly changes, and the KL of rounding without text."""
    rows = run.rows(PlanDamage)
    ordered, plain, enough = by_text(rows), rounded(rows), enough_tokens(rows)
    most = ordered[-1]
    kl = most.mean_kl_nat_per_token.value
    evidence = (
        gettext("KL {kl} nat/token with {n} tokens; rounding without calibration gives {factor} times that KL.")
        if plain
        else gettext("KL {kl} nat/token with {n} tokens.")
    ).format(
        kl=with_ends(most.mean_kl_nat_per_token),
        n=f"{most.calibration_tokens:,}",
        factor=f"{plain.mean_kl_nat_per_token.value / kl:.1f}" if plain else "",
    )
    least = min(ordered, key=lambda r: r.mean_kl_nat_per_token.value)
    points = []
    if least is not most and least.mean_kl_nat_per_token.high < most.mean_kl_nat_per_token.low:
        points.append(
            gettext("{n} tokens gave a lower KL, {kl}").format(
                n=f"{least.calibration_tokens:,}", kl=three_digits(least.mean_kl_nat_per_token.value)
            )
        )
    if enough is None:
        headline = (
            gettext("It is not known whether {n} tokens of calibration text are enough: only one amount was measured.")
            if len(ordered) == 1
            else gettext(
                "It is not known whether {n} tokens of calibration text are enough: KL still changes by over 5 % up to the "
                "largest amount."
            )
        ).format(n=f"{most.calibration_tokens:,}")
    else:
        headline = gettext(
            "{enough} tokens of calibration text are enough here: up to {n} tokens, more text changes KL by at most 5 %."
        ).format(enough=f"{enough:,}", n=f"{most.calibration_tokens:,}")
    return Verdict(
        headline=headline,
        evidence=evidence,
        objection=objections(points),
        scope=gettext("A wider model has larger Hessians and needs more text: measure the model that you serve."),
        answer="open" if enough is None else "yes",
    )
