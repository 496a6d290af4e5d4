"""What drafts would gain by batch size, with how many draft tokens, and which acceptance they need."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.models import language_model_from
from workbench.catalog.paths import workbench_home
from workbench.core.columns import Columns
from workbench.core.language import gettext, ngettext
from workbench.core.provenance import Provenance
from workbench.core.statistics import Floats
from workbench.core.units import shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict
from workbench.estimate.device_calibration import CALIBRATIONS, offers
from workbench.estimate.machine import Machine
from workbench.estimate.precision import STORED, chosen_precision, roles_of
from workbench.estimate.prediction import tokens_per_step
from workbench.estimate.search import require_kernel
from workbench.estimate.step_time import decode_step_s
from workbench.questions.tuning.speculation.findings import break_even, shown_break_even
from workbench.questions.tuning.speculation_estimate.spec import SpeculationEstimateSpec

MOST_DRAFTS = 8
STEPS = 40  # of the search for the acceptance that is needed


@dataclass(frozen=True, slots=True, kw_only=True)
class AtBatch:
    """What drafts would gain at one batch size."""

    batch: int
    speed_up: float
    """With the draft tokens that were asked for."""
    best_draft_tokens: int
    """Number up to eight with the highest speed-up; 0 where none pays."""
    best_speed_up: float
    needed_acceptance: float | None
    """Acceptance rate from which on the draft tokens that were asked for pay; None where none does."""
    plain_s: float
    verify_s: float
    draft_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeculationEstimate:
    """Estimated gains by batch size, for an acceptance rate that was given."""

    about: str
    draft_tokens: int
    acceptance: float
    tokens_per_step: float
    points: Sequence[AtBatch]
    break_even_batch: float | None
    """Batch size from which on drafts no longer pay; 0: at none, None: beyond the largest."""
    is_calibrated: bool
    provenance: Provenance = Provenance.ESTIMATED


def estimated_speculation(spec: SpeculationEstimateSpec) -> SpeculationEstimate:
    """Return what drafts would gain, from predicted step times: tokens of a step times a plain step, over drafts and verification."""
    model = language_model_from(spec.model)
    (offer,) = offers([spec.device], own=workbench_home() / CALIBRATIONS)
    require_kernel(offer, chosen_precision(model, spec.precision))
    batch = np.array([float(b) for b in sorted(set(spec.batches))])
    plain = _step_s(model, spec, offer.machine, batch, tokens_each=1.0)
    drafting = _draft_token_s(spec, offer.machine, batch)
    ks = sorted({*range(1, MOST_DRAFTS + 1), spec.draft_tokens})
    verify = {k: _step_s(model, spec, offer.machine, batch, tokens_each=1.0 + k) for k in ks}
    points = []
    for i, b in enumerate(batch):
        ratio = {k: float(plain[i] / (verify[k][i] + k * drafting[i])) for k in ks}
        gains = {k: tokens_per_step(spec.acceptance, k) * r for k, r in ratio.items()}
        best = max(gains, key=lambda k: gains[k])
        points.append(
            AtBatch(
                batch=int(b),
                speed_up=gains[spec.draft_tokens],
                best_draft_tokens=best if gains[best] > 1 else 0,
                best_speed_up=max(1.0, gains[best]),
                needed_acceptance=needed_acceptance(spec.draft_tokens, ratio[spec.draft_tokens]),
                plain_s=float(plain[i]),
                verify_s=float(verify[spec.draft_tokens][i]),
                draft_s=float(spec.draft_tokens * drafting[i]),
            )
        )
    drafter = spec.draft_model or gettext("drafts at {share} of a step").format(
        share=shown_percent(spec.draft_fraction)
    )
    return SpeculationEstimate(
        about=gettext("{model} on one {device}, {context_tokens:,} tokens of context, {drafter}").format(
            model=model.name, device=offer.name, context_tokens=spec.context_tokens, drafter=drafter
        ),
        draft_tokens=spec.draft_tokens,
        acceptance=spec.acceptance,
        tokens_per_step=tokens_per_step(spec.acceptance, spec.draft_tokens),
        points=points,
        break_even_batch=break_even([(p.batch, p.speed_up) for p in points]),
        is_calibrated=offer.is_calibrated,
    )


def needed_acceptance(draft_tokens: int, ratio: float) -> float | None:
    """Return the acceptance rate at which the tokens of a step times a ratio of times are 1; None above all rates."""
    if tokens_per_step(1.0, draft_tokens) * ratio < 1:
        return None
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if tokens_per_step(middle, draft_tokens) * ratio >= 1 else (middle, high)
    return high


def _step_s(
    model: ModelSpec, spec: SpeculationEstimateSpec, machine: Machine, batch: Floats, *, tokens_each: float
) -> Floats:
    plan = roles_of(model, chosen_precision(model, spec.precision))
    context = np.full_like(batch, spec.context_tokens)
    return decode_step_s(
        model, plan, machine, batch=batch, context=context, kv_bits=spec.kv_bits, tokens_each=tokens_each
    )


def _draft_token_s(spec: SpeculationEstimateSpec, machine: Machine, batch: Floats) -> Floats:
    """Return the time of one draft token for each sequence of a batch."""
    if spec.draft_model is None:
        one = _step_s(language_model_from(spec.model), spec, machine, np.ones(1), tokens_each=1.0)
        return np.full_like(batch, spec.draft_fraction * float(one[0]))
    draft = language_model_from(spec.draft_model)
    plan, context = roles_of(draft, chosen_precision(draft, STORED)), np.full_like(batch, spec.context_tokens)
    return decode_step_s(draft, plan, machine, batch=batch, context=context, kv_bits=spec.kv_bits)


def verdict(answer: SpeculationEstimate) -> Verdict:
    """Return up to which batch size drafts would pay, and what speaks against it."""
    first, even = answer.points[0], shown_break_even([(p.batch, p.speed_up) for p in answer.points])
    name = ngettext(
        "{n} draft token at an acceptance of {acceptance}",
        "{n} draft tokens at an acceptance of {acceptance}",
        answer.draft_tokens,
    ).format(n=answer.draft_tokens, acceptance=three_digits(answer.acceptance))
    if answer.break_even_batch == 0:
        headline = gettext("Drafts would not pay: {drafts} lose at every batch size.").format(drafts=name)
    else:
        until = (
            gettext("at all batch sizes up to {batch}").format(batch=answer.points[-1].batch)
            if answer.break_even_batch is None
            else gettext("up to a batch of {batch}").format(batch=even)
        )
        headline = gettext(
            "Drafts would pay {until}: {drafts} write {speed_up} times the tokens at batch size {batch}."
        ).format(until=until, drafts=name, speed_up=three_digits(first.speed_up), batch=first.batch)
    best = gettext(", ").join(
        gettext("{n} at {batch}").format(n=p.best_draft_tokens, batch=p.batch)
        for p in answer.points[:: max(1, len(answer.points) // 4)]
    )
    return Verdict(
        headline=headline,
        evidence=gettext("{tokens_per_step} tokens a step; best number of draft tokens by batch size: {best}.").format(
            tokens_per_step=three_digits(answer.tokens_per_step), best=best
        ),
        objection=gettext(
            "The acceptance is given, not measured, and depends on the text: `workbench speculation` measures it. Times "
            "of steps that verify drafts were not measured on this device, and published gains in large batches are "
            "smaller: 1.38 at batch 64 (EAGLE-3 in SGLang, arXiv 2503.01840)."
        )
        + ("" if answer.is_calibrated else gettext(" Step times are lent by another device.")),
        provenance=answer.provenance,
    )


POINT_COLUMNS: Columns[AtBatch] = {
    gettext("Batch ◌"): lambda p: str(p.batch),
    gettext("speed-up"): lambda p: three_digits(p.speed_up),
    gettext("needed acceptance"): lambda p: (
        gettext("none pays") if p.needed_acceptance is None else three_digits(p.needed_acceptance)
    ),
    gettext("best draft tokens"): lambda p: f"{p.best_draft_tokens} ({three_digits(p.best_speed_up)})",
    gettext("plain step"): lambda p: shown_duration(p.plain_s),
    gettext("verification + drafts"): lambda p: f"{shown_duration(p.verify_s)} + {shown_duration(p.draft_s)}",
}
"""Of one batch size; the best number of draft tokens has its speed-up in brackets."""
