"""Published claims about precision beside everything that was measured for them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.catalog.tables import Claim
from workbench.core.checkpoints import SCHEMES
from workbench.core.quantization import METHODS
from workbench.core.runs import Run
from workbench.core.serving_speed import Served
from workbench.experiments.evaluation_verdict import candidate_label
from workbench.experiments.quantization_verdict import baseline_of, results_of, speedup
from workbench.experiments.speed_verdict import PLAIN, cells_of

QUESTION = 2
IN_VLLM = {"INT8 PTQ": "w8a8", "INT4 GPTQ": "w4a16", "INT4 AWQ": "w4a16-asym"}
"""What a claimed technique is when vLLM serves it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredClaim:
    """A published claim beside what was measured for it."""

    claim: Claim
    outcome: str
    """"confirmed", "partly", "refuted" or "not yet tested"."""
    measured: str
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedFound:
    """A measured speed-up of a claimed technique within one engine."""

    factor: float
    told: str
    device: str


def score(claim: Claim, runs: Sequence[Run]) -> ScoredClaim:
    """How a claim stands against the runs: inside its range, the same direction but outside, or neither.

    Accuracy claims name a model size; they count as tested only by a run on trained weights of that size, and
    perplexity is not the accuracy that they speak of. So far speed-ups are scored.
    """
    untested = ScoredClaim(claim=claim, outcome="not yet tested", measured="–", device="–")
    if claim.metric != "speedup" or claim.question != QUESTION or claim.low is None or claim.high is None:
        return untested
    found = [*_in_libraries(claim, runs), *_in_vllm(claim, runs)]
    if not found:
        return untested
    best = max(found, key=lambda f: f.factor)
    inside = claim.low <= best.factor <= claim.high
    outcome = "confirmed" if inside else "partly" if best.factor > 1.05 else "refuted"
    return ScoredClaim(claim=claim, outcome=outcome, measured=f"{best.factor:.2f}× ({best.told})", device=best.device)


def _in_libraries(claim: Claim, runs: Sequence[Run]) -> Iterator[SpeedFound]:
    for run in (r for r in runs if r.kind == "quantization"):
        results = results_of(run)
        base = baseline_of(results)
        for r in results:
            if base is None or METHODS[r.method].claim != claim.technique or r.method == base.method:
                continue
            # The same engine on both sides: a change of engine is not what the claim promises.
            own = (
                next((x for x in results if x.method == "onnx-fp32"), None)
                if METHODS[r.method].runtime == "onnxruntime"
                else base
            )
            factor = speedup(r, own, batch=1) if own else None
            if factor:
                told = f"{METHODS[r.method].label}, batch 1"
                yield SpeedFound(factor=factor, told=told, device=run.environment.device)


def _in_vllm(claim: Claim, runs: Sequence[Run]) -> Iterator[SpeedFound]:
    name = IN_VLLM.get(claim.technique)
    for run in (r for r in runs if r.kind == "serving_speed" and name is not None):
        cells = cells_of(run.results)
        for (served, batch, context), row in cells.items():
            plain = cells.get((PLAIN, batch, context))
            if served == name and batch == 1 and plain:
                factor = plain["tpot_p50_s"] / row["tpot_p50_s"]
                told = f"{Served.read(served).label} in vLLM, batch 1, {context} tokens"
                yield SpeedFound(factor=factor, told=told, device=run.environment.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRow:
    """One row of the FAQ's table with what each kind of measurement says."""

    scored: ScoredClaim
    in_vllm: str
    """Speed-up in vLLM at the smallest and the largest batch."""
    on_reference: str
    """Quality of the technique on the reference model."""


def claim_rows(
    claims: Sequence[Claim], *, quantization: Sequence[Run], speed: Sequence[Run], evaluations: Sequence[Run]
) -> list[ClaimRow]:
    """Every claim of the question with speed in libraries and in vLLM, and quality of checkpoints."""
    return [
        ClaimRow(
            scored=score(c, [*quantization, *speed]),
            in_vllm=_vllm_range(c, speed) if c.metric == "speedup" else "–",
            on_reference=_quality(c, evaluations, quantization) if c.metric == "accuracy_loss" else "–",
        )
        for c in claims
        if c.question == QUESTION
    ]


def _vllm_range(claim: Claim, runs: Sequence[Run]) -> str:
    name = IN_VLLM.get(claim.technique)
    for run in runs:
        cells = cells_of(run.results)
        context = max((c for n, _, c in cells if n == name), default=0)
        batches = sorted({b for n, b, c in cells if n == name and c == 1024}) if context else []
        factors = [
            f"{cells[PLAIN, b, 1024]['tpot_p50_s'] / cells[str(name), b, 1024]['tpot_p50_s']:.2f}× at batch {b}"
            for b in (batches[:1] + batches[-1:])
            if (PLAIN, b, 1024) in cells
        ]
        if factors:
            return f"{', '.join(factors)} ({run.environment.device})"
    return "–"


def _quality(claim: Claim, runs: Sequence[Run], quantization: Sequence[Run]) -> str:
    schemes = {name for name, scheme in SCHEMES.items() if scheme.claim == claim.technique}
    told = []
    for run in runs:
        original = next(r for r in run.results if r["part"] == "reference")
        for row in run.results:
            label = candidate_label(row["folder"])
            found = next((s for s in schemes if label.endswith(s)), None)
            if row["part"] == "candidate" and found:
                told.append(f"{SCHEMES[found].label}: {_changes(row, original)}")
    for run in quantization if not told else ():
        told = [
            f"{METHODS[r.method].label}: perplexity {100 * r.perplexity_change_fraction.value:+.3f} %"
            for r in results_of(run)
            if METHODS[r.method].claim == claim.technique and r.perplexity_change_fraction is not None
        ]
        if told:
            break
    return "; ".join(dict.fromkeys(told)) or "–"


def _changes(row: Mapping[str, Any], original: Mapping[str, Any]) -> str:
    text = f"perplexity {100 * row['perplexity_change_fraction']:+.2f} %"
    if "completion_right_fraction" in row:
        points = 100 * (row["completion_right_fraction"] - original["completion_right_fraction"])
        text += f", completed lines {points:+.1f} points"
    return text
