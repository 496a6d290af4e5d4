"""Findings of a whole plan: the amount of calibration text that is enough."""

from collections.abc import Sequence
from pathlib import Path

from workbench.catalog.formats import short_format
from workbench.compress.rows import before_each, coverage_text
from workbench.core.runs import Run
from workbench.core.units import three_digits
from workbench.core.verdict import Verdict
from workbench.questions.quantization.plan_damage.rows import PlanDamage, PlanSamples, by_text, rounded
from workbench.questions.quantization.plan_damage.spec import PlanDamageSpec


def plan_label(run: Run) -> str:
    """Return the formats of a run's plan in words."""
    return ", ".join(dict.fromkeys(map(short_format, run.asked(PlanDamageSpec).plan.values()))) + " everywhere"


def about(run: Run) -> str:
    """Return model, device and text that the numbers of a run are for."""
    name, device, rows = Path(run.asked(PlanDamageSpec).model).name, run.environment.device, run.rows(PlanDamage)
    quantized = f" · quantized: {coverage_text(rows[0].coverage)}" if rows[0].coverage else ""
    samples = run.samples
    before = before_each(len(samples.prefix_ids)) if isinstance(samples, PlanSamples) else ""
    return f"{name} on {device} · {rows[0].n_windows} windows{before}{quantized} · run {run.id}, {run.day}"


def enough_tokens(rows: Sequence[PlanDamage], *, within: float = 0.05) -> int:
    """Return the fewest calibration tokens whose divergence, and that of all larger amounts, is within a share of the last one's."""
    ordered = by_text(rows)
    goal = ordered[-1].mean_kl_nat_per_token.value * (1 + within)
    enough = ordered[-1]
    for row in reversed(ordered):
        if row.mean_kl_nat_per_token.value > goal:
            break
        enough = row
    return enough.calibration_tokens


def verdict(run: Run) -> Verdict:
    """Return the amount of text beyond which KL hardly changes, and the KL of rounding without text."""
    rows = run.rows(PlanDamage)
    most, plain = by_text(rows)[-1], rounded(rows)
    kl = most.mean_kl_nat_per_token.value
    evidence = f"KL {three_digits(kl)} nat/token with {most.calibration_tokens:,} tokens"
    if plain:
        evidence += f"; rounding without calibration gives {plain.mean_kl_nat_per_token.value / kl:.1f} times that KL"
    return Verdict(
        headline=f"{enough_tokens(rows):,} tokens of calibration text are enough here: more text changes KL by less than 5 %.",
        evidence=evidence + ".",
        objection="A wider model has larger Hessians and needs more text: measure the model that you serve.",
    )
