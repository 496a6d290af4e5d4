"""Judges of the claims from which size of model on a split pays, by runs on one and on two cards."""

from collections.abc import Sequence

from workbench.calibrate.serving_speed.rows import cells_of
from workbench.catalog.ledger import (
    RECOMMENDATION,
    Decision,
    Evidence,
    Judgement,
    Judges,
    Outcome,
    first_of,
    not_testable,
    untested,
)
from workbench.catalog.models import language_model_from
from workbench.catalog.tables import Claim
from workbench.core.errors import WorkbenchError
from workbench.core.language import gettext, gettext_noop, ngettext
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.estimate.device_calibration import offers
from workbench.estimate.rows import StepTime
from workbench.estimate.search import Load, Plan, plans
from workbench.load.rows import LoadResult
from workbench.simulate.planned import plan_label

TWO_CARDS = (("fb1b273ec61b", "813287712f9b"),)
"""Shipped loads of eight users on one H200 and on two with tensor parallelism (NVLink), 24B: a run does not record its server's split."""
REPLICAS = (("448081b60edd", "428b26b0005b"),)
"""Shipped steps of the 8B shape on one H100, and on two with tensor parallelism."""
SIZES = {"fb1b273ec61b": 23.6}
"""Billion parameters of models whose files do not ship, from their configurations."""
ANSWER_TOKENS = 128
NOTICEABLE = 1.03
CALIBRATE = "workbench load URL --concurrency 8  # against a server on one card and one with --tensor-parallel-size 2"


def billions(run: Run) -> float | None:
    """Return the parameters of a run's model in billions; None where it is not known."""
    if run.id in SIZES:
        return SIZES[run.id]
    try:
        return language_model_from(run.model or "").n_params / 1e9
    except WorkbenchError:
        return None


def tensor(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the size of a model above the claimed one for which two cards give shorter steps than one."""
    for ids in TWO_CARDS:
        pair = evidence.named(*ids)
        rows = [run.row(LoadResult) for run in pair]
        size = billions(pair[0]) if len(pair) == 2 else None
        if size is None or claim.low is None or size < claim.low or rows[0] is None or rows[1] is None:
            continue
        one, two = (r.tpot_s.from_due.p50 for r in rows if r)
        if not one or not two:
            continue
        gain = one / two
        outcome = (
            Outcome.CONFIRMED if gain > NOTICEABLE else Outcome.OPPOSITE if gain < 1 / NOTICEABLE else Outcome.NO_GAIN
        )
        how = gettext(
            "A model of {size} billion parameters with eight users: TPOT p50 {one} ms on one card, {two} ms on "
            "two with tensor parallelism, {gain}× as fast. Smaller models gain too; the claim is about those "
            "above its size."
        ).format(size=f"{size:.1f}", one=f"{1e3 * one:.1f}", two=f"{1e3 * two:.1f}", gain=f"{gain:.2f}")
        return _sized(outcome, size, how, pair)
    return None


def data(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the size of a model below the claimed one for which two replicas produce more than two cards as one."""
    for ids in REPLICAS:
        pair = evidence.named(*ids)
        size = billions(pair[0]) if len(pair) == 2 else None
        if size is None or claim.high is None or size > claim.high:
            continue
        alone, split = (cells_of(run.results) for run in pair)
        shared = [(b, c) for (s, b, c) in alone if s == "bf16" and ("bf16", 2 * b, c) in split]
        if not shared:
            continue
        batch, context = max(shared)
        # as many sequences on both cards: two replicas with a batch each, or both cards with both batches
        one, both = alone["bf16", batch, context], split["bf16", 2 * batch, context]
        ratio = _request_s(both) / _request_s(one)
        outcome = (
            Outcome.CONFIRMED if ratio > NOTICEABLE else Outcome.OPPOSITE if ratio < 1 / NOTICEABLE else Outcome.NO_GAIN
        )
        how = gettext(
            "A model of {size} billion parameters, {n} requests of {context} + {answer} tokens at once on two "
            "cards: two replicas answer {ratio}× as many a second as both cards with tensor parallelism "
            "(prefill and decode, BF16)."
        ).format(size=f"{size:.1f}", n=2 * batch, context=f"{context:,}", answer=ANSWER_TOKENS, ratio=f"{ratio:.2f}")
        return _sized(outcome, size, how, pair)
    return None


def _request_s(cell: StepTime) -> float:
    """Return the time in which a batch is read and answered."""
    return cell.prefill_s + ANSWER_TOKENS * cell.tpot_p50_s.value


def _sized(outcome: Outcome, size: float, how: str, runs: Sequence[Run]) -> Judgement:
    """Return the judgement of a size of model at which the claimed split was tried."""
    return Judgement(outcome=outcome, how=how, value=size, runs=tuple(runs), provenance=Provenance.MEASURED)


A100_80 = "a100-sxm-80"
CASES = (
    ("meta-llama/Meta-Llama-3.1-8B", "h100-sxm", 0.05, 10.0),
    ("meta-llama/Meta-Llama-3.1-8B", "h100-sxm", 0.2, 10.0),
    ("meta-llama/Meta-Llama-3.1-8B", "h100-sxm", 0.2, 150.0),
    ("meta-llama/Meta-Llama-3.1-70B", "h100-sxm", 0.05, 10.0),
    ("meta-llama/Meta-Llama-3.1-70B", "h200-sxm", 0.2, 10.0),
    ("meta-llama/Meta-Llama-3.1-70B", "h200-sxm", 0.2, 150.0),
)
"""Model, device, longest time per output token, and requests per second that both rules decide."""
ADVICE = (
    ("meta-llama/Meta-Llama-3.1-8B", "bf16", gettext("one GPU"), (1,)),
    ("meta-llama/Meta-Llama-3.1-70B", "w4a16", gettext("one GPU, or two with tensor parallelism"), (1, 2)),
    ("meta-llama/Meta-Llama-3.1-70B", "bf16", gettext("two or four GPUs with tensor parallelism"), (2, 4)),
)
"""The FAQ's advice for A100 cards of 80 GB: model, precision, advice, and the numbers of GPUs that it names."""


def faq_strategies(*, model_bytes: float, memory_bytes: float, latency_s: float, requests_per_s: float) -> list[str]:
    """Return the strategies that the FAQ's rule names (12.1 Q3), restated: each threshold adds one, whatever the others say."""
    is_too_large, is_urgent = model_bytes > 0.8 * memory_bytes, latency_s < 0.1
    named = {
        gettext_noop("tensor"): is_too_large or is_urgent,
        gettext_noop("pipeline"): requests_per_s > 100,
        gettext_noop("mixed"): model_bytes > 4 * memory_bytes,
    }
    return [name for name, holds in named.items() if holds]


def planned_strategies(plan: Plan) -> list[str]:
    """Return the strategies of a plan in the same words."""
    named = {"tensor": plan.split.tensor > 1, "pipeline": plan.split.pipeline > 1}
    return [name for name, holds in named.items() if holds]


def decisions(_evidence: Evidence) -> list[Decision]:
    """Return the FAQ's rule and its advice beside the cheapest plans of the same inputs."""
    rows = []
    for name, device, tpot_s, rate in CASES:
        model, (offer,) = language_model_from(name), offers([device])
        load = Load(requests_per_s=rate, tpot_s=tpot_s)
        best = plans(model, load, [offer], precisions=("bf16",))[0]
        faq = faq_strategies(
            model_bytes=2.0 * model.n_params, memory_bytes=offer.memory_bytes, latency_s=tpot_s, requests_per_s=rate
        )
        ours = planned_strategies(best)
        shown = (
            f"{plan_label(best)}: {_words(ours)}"
            if best.reason is None
            else gettext("none: {reason}").format(reason=best.reason)
        )
        case = gettext(
            "{model}, BF16, {device}, {time} ms per token, {rate} requests/s of {n_in} + {n_out} tokens"
        ).format(
            model=name,
            device=offer.name,
            time=f"{1e3 * tpot_s:g}",
            rate=f"{rate:g}",
            n_in=load.input_tokens,
            n_out=load.output_tokens,
        )
        rows.append(
            Decision(
                rule="choose_parallelism_strategy",
                case=case,
                faq=_words(faq),
                ours=shown,
                is_same=best.reason is None and faq == ours,
                provenance=Provenance.ESTIMATED,
            )
        )
    return [*rows, *map(_advice, ADVICE)]


def _advice(advice: tuple[str, str, str, tuple[int, ...]]) -> Decision:
    name, precision, words, counts = advice
    model, (offer,) = language_model_from(name), offers([A100_80])
    slow = Load(requests_per_s=0.1, ttft_s=60, tpot_s=1)  # only memory decides
    feasible = [p for p in plans(model, slow, [offer], precisions=(precision,)) if p.reason is None]
    least = min((p.n_devices for p in feasible), default=None)
    return Decision(
        rule=gettext("advice for one model"),
        case=f"{name}, {precision}, {offer.name}",
        faq=words,
        ours=gettext("does not fit")
        if least is None
        else ngettext("fits from {n} GPU on", "fits from {n} GPUs on", least).format(n=least),
        is_same=least in counts,
        provenance=Provenance.ESTIMATED,
    )


def _words(strategies: Sequence[str]) -> str:
    if not strategies:
        return gettext("no split")
    return gettext("{strategies} parallelism").format(strategies=" + ".join(map(gettext, strategies)))


JUDGES: Judges = {
    (3, "tensor parallelism", "model_size_from"): first_of(
        tensor, untested(CALIBRATE, gettext("No pair of runs on one and two cards is at hand."))
    ),
    (3, "data parallelism", "model_size_up_to"): first_of(
        data, untested(CALIBRATE, gettext("No pair of runs on one and two cards is at hand."))
    ),
    (3, "pipeline parallelism", "model_size_from"): not_testable(
        RECOMMENDATION,
        gettext(
            "A size from which to consider it, without a figure of what it gains; below, the FAQ's rule and "
            "the workbench decide about the same cases."
        ),
    ),
    (3, "hybrid parallelism", "model_size_from"): not_testable(
        RECOMMENDATION,
        gettext(
            "A size from which to consider it, without a figure of what it gains; below, the FAQ's rule and "
            "the workbench decide about the same cases."
        ),
    ),
}
"""By question, technique and metric."""
