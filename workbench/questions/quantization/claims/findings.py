"""Published claims about precision, compared with all measurements of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workbench.calibrate.serving_speed.rows import cells_of
from workbench.catalog.formats import SCHEMES
from workbench.catalog.served import Served
from workbench.catalog.tables import Claim
from workbench.compress.methods import METHODS
from workbench.compress.rows import VariantResult
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.questions.quantization.evaluation.findings import candidate_label
from workbench.questions.quantization.evaluation.rows import (
    CandidateResult,
    ReferenceResult,
    candidates_of,
    original_of,
)
from workbench.questions.quantization.findings import baseline_of, speedup
from workbench.questions.quantization.serving_speed.findings import PLAIN

QUESTION = 2
IN_VLLM = {"INT8 PTQ": "w8a8", "INT4 GPTQ": "w4a16", "INT4 AWQ": "w4a16-asym"}
"""Format in which vLLM serves a claimed technique."""
RANGE_CONTEXT_TOKENS = 1024
LEAST_GAIN = 1.05
NOTHING = "–"
CLAIM_HEAD = (
    "Technique",
    "metric",
    "published claim",
    "condition",
    "best measurement",
    "in vLLM, 8B shape",
    "on the 9M reference model",
    "outcome",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredClaim:
    """A published claim with its verdict and the best measurement of it."""

    claim: Claim
    outcome: str
    """"confirmed", "partly", "refuted" or "not yet tested"."""
    measured: str
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Speedup:
    """A measured speed-up of a claimed technique within one engine."""

    factor: float
    source: str
    device: str


def score(claim: Claim, runs: Sequence[Run]) -> ScoredClaim:
    """Return how a claim compares with the runs: inside its range, in the same direction but outside, or neither.

    Accuracy claims name a model size; they count as tested only by a run on trained weights of that size, and
    perplexity is not the accuracy that they mean. So far only speed-ups are scored.
    """
    untested = ScoredClaim(claim=claim, outcome="not yet tested", measured=NOTHING, device=NOTHING)
    if claim.metric != "speedup" or claim.question != QUESTION or claim.low is None or claim.high is None:
        return untested
    best = max((*_in_libraries(claim, runs), *_in_vllm(claim, runs)), key=lambda s: s.factor, default=None)
    if best is None:
        return untested
    is_inside = claim.low <= best.factor <= claim.high
    outcome = "confirmed" if is_inside else "partly" if best.factor > LEAST_GAIN else "refuted"
    return ScoredClaim(claim=claim, outcome=outcome, measured=f"{best.factor:.2f}× ({best.source})", device=best.device)


def _in_libraries(claim: Claim, runs: Sequence[Run]) -> Iterator[Speedup]:
    for run in (r for r in runs if r.kind == "quantization"):
        results = run.rows(VariantResult)
        base = baseline_of(results)
        plain_onnx = next((r for r in results if r.method == "onnx-fp32"), None)
        for r in results:
            method = METHODS[r.method]
            if base is None or method.claim != claim.technique or r.method == base.method:
                continue
            # The same engine on both sides: the claim is not about a change of engine.
            own = plain_onnx if method.runtime == "onnxruntime" else base
            factor = speedup(r, own, batch=1) if own else None
            if factor:
                yield Speedup(factor=factor, source=f"{method.label}, batch 1", device=run.environment.device)


def _in_vllm(claim: Claim, runs: Sequence[Run]) -> Iterator[Speedup]:
    name = IN_VLLM.get(claim.technique)
    for run in (r for r in runs if r.kind == "serving_speed" and name is not None):
        cells = cells_of(run.results)
        for (served, batch, context), row in cells.items():
            plain = cells.get((PLAIN, batch, context))
            if served == name and batch == 1 and plain:
                source = f"{Served.read(served).label} in vLLM, batch 1, {context} tokens"
                factor = plain.tpot_p50_s.value / row.tpot_p50_s.value
                yield Speedup(factor=factor, source=source, device=run.environment.device)


def claim_rows(
    claims: Sequence[Claim], *, quantization: Sequence[Run], speed: Sequence[Run], evaluations: Sequence[Run]
) -> list[tuple[str, ...]]:
    """Return the cells of ``CLAIM_HEAD`` for every claim of the question."""
    rows = []
    for claim in (c for c in claims if c.question == QUESTION):
        scored = score(claim, [*quantization, *speed])
        best = scored.measured if scored.measured == NOTHING else f"{scored.measured} on {scored.device}"
        in_vllm = _range_in_vllm(claim, speed) if claim.metric == "speedup" else NOTHING
        quality = _quality(claim, evaluations, quantization) if claim.metric == "accuracy_loss" else NOTHING
        rows.append(
            (
                claim.technique,
                claim.metric.replace("_", " "),
                f"{Provenance.PUBLISHED.mark} {claim.shown_range}",
                claim.condition,
                *(c if c == NOTHING else f"{Provenance.MEASURED.mark} {c}" for c in (best, in_vllm, quality)),
                scored.outcome,
            )
        )
    return rows


def _range_in_vllm(claim: Claim, runs: Sequence[Run]) -> str:
    """Return the speed-up in vLLM at the smallest and the largest batch size."""
    name = IN_VLLM.get(claim.technique)
    for run in runs:
        cells = cells_of(run.results)
        batches = sorted(b for n, b, c in cells if n == name and c == RANGE_CONTEXT_TOKENS)
        factors = []
        for batch in batches[:1] + batches[-1:]:
            plain, own = (cells.get((n, batch, RANGE_CONTEXT_TOKENS)) for n in (PLAIN, str(name)))
            if plain and own:
                factors.append(f"{plain.tpot_p50_s.value / own.tpot_p50_s.value:.2f}× at batch {batch}")
        if factors:
            return f"{', '.join(factors)} ({run.environment.device})"
    return NOTHING


def _quality(claim: Claim, runs: Sequence[Run], quantization: Sequence[Run]) -> str:
    """Return the change in quality that the technique causes on the reference model."""
    schemes = {name for name, scheme in SCHEMES.items() if scheme.claim == claim.technique}
    texts = []
    for run in runs:
        for row in candidates_of(run):
            scheme = next((s for s in schemes if candidate_label(row.folder).endswith(s)), None)
            if scheme:
                texts.append(f"{SCHEMES[scheme].label}: {_changes(row, original_of(run))}")
    for run in quantization if not texts else ():
        texts = [
            f"{METHODS[r.method].label}: perplexity {100 * r.accuracy.perplexity_change_fraction.value:+.3f} %"
            for r in run.rows(VariantResult)
            if METHODS[r.method].claim == claim.technique and r.accuracy and r.accuracy.perplexity_change_fraction
        ]
        if texts:
            break
    return "; ".join(dict.fromkeys(texts)) or NOTHING


def _changes(row: CandidateResult, original: ReferenceResult) -> str:
    change = row.accuracy.perplexity_change_fraction
    text = f"perplexity {100 * change.value:+.2f} %" if change else f"perplexity {NOTHING}"
    if row.completion and original.completion:
        points = 100 * (row.completion.right_fraction - original.completion.right_fraction)
        text += f", completed lines {points:+.1f} points"
    return text
