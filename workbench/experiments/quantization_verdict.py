"""What a quantization run says: which method to take, the evidence, and the strongest point against it."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.core.quantization import METHODS, VariantResult
from workbench.core.runs import Run
from workbench.core.units import shown_bytes, shown_duration, three_digits

# Mean KL divergences that llama.cpp's perplexity tool printed for a 8B model (logs published by eaddario):
# Q8_0 0.00024, Q5_K_M 0.0047, Q3_K_M 0.051.
KL_LIMITS = {"strict": 0.001, "balanced": 0.01, "loose": 0.05}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One sentence that answers, what it stands on, and what speaks against it."""

    best: str | None
    headline: str
    evidence: str
    objection: str


def results_of(run: Run) -> list[VariantResult]:
    """The typed results of a stored run."""
    return [VariantResult.from_dict(row) for row in run.results]


def baseline_of(results: Sequence[VariantResult]) -> VariantResult | None:
    """What the others are compared with: measured BF16 on a GPU, FP32 elsewhere, whichever is there."""
    measured = {r.method: r for r in results if r.status == "measured"}
    on_gpu = any(r.execution in {"compiled"} for r in measured.values())
    order = ("bf16", "fp32") if on_gpu else ("fp32", "bf16")
    return next((measured[m] for m in order if m in measured), None)


def speedup(result: VariantResult, base: VariantResult, *, batch: int) -> float | None:
    """Median step time of the baseline over that of the method."""
    mine, theirs = result.decode_at(batch), base.decode_at(batch)
    return theirs.p50_s / mine.p50_s if mine and theirs else None


def verdict(run: Run, *, kl_limit: float, batch: int) -> Verdict:
    """The fastest method at a batch size whose mean KL is established to lie within the limit."""
    results = [r for r in results_of(run) if r.status == "measured" and r.decode_at(batch)]
    base = baseline_of(results)
    if base is None:
        return Verdict(
            best=None,
            headline="Nothing to compare with yet.",
            evidence="Neither FP32 nor BF16 was measured at this batch size.",
            objection="Run again with FP32 among the methods.",
        )
    if all(r.mean_kl_nat_per_token is None for r in results):
        return _verdict_without_accuracy(results, base, batch)
    within = [r for r in results if r.mean_kl_nat_per_token and r.mean_kl_nat_per_token.high <= kl_limit]
    best = min(within or [base], key=lambda r: _step(r, batch))
    if best.method == base.method:
        return Verdict(
            best=base.method,
            headline=f"Stay with {METHODS[base.method].label}: no faster method stays within the limit.",
            evidence=f"Limit: mean KL {three_digits(kl_limit)} nat/token; batch {batch}.",
            objection=_against(base, base, results, batch),
        )
    kl, top1 = best.mean_kl_nat_per_token, best.top1_agreement_fraction
    assert kl is not None
    assert top1 is not None
    changed = three_digits((1 - top1.value) * 100)
    memory = 1 - (best.weight_bytes or 0) / (base.weight_bytes or 1)
    size = f"{three_digits(memory * 100)} % less weight memory" if memory > 0 else "no less weight memory"
    faster = speedup(best, base, batch=batch) or 1.0
    return Verdict(
        best=best.method,
        headline=f"Take {METHODS[best.method].label}. {faster:.2f}× as fast as {METHODS[base.method].label} at batch {batch} with {size}; it changes {changed} % of next-token choices.",
        evidence=(
            f"KL {three_digits(kl.value)} [{three_digits(kl.low)}, {three_digits(kl.high)}] nat/token, top-1 agreement "
            f"{three_digits(top1.value * 100)} % [{three_digits(top1.low * 100)}, {three_digits(top1.high * 100)}], "
            f"n = {best.n_tokens} tokens; step {shown_duration(_step(best, batch))} against {shown_duration(_step(base, batch))} "
            f"(medians of {best.decode_at(batch).n} steps)."  # type: ignore[union-attr]
        ),
        objection=_against(best, base, results, batch),
    )


def _step(result: VariantResult, batch: int) -> float:
    time = result.decode_at(batch)
    return time.p50_s if time else float("inf")


def _verdict_without_accuracy(results: Sequence[VariantResult], base: VariantResult, batch: int) -> Verdict:
    best = min(results, key=lambda r: _step(r, batch))
    factor = speedup(best, base, batch=batch) or 1.0
    return Verdict(
        best=best.method,
        headline=f"{METHODS[best.method].label} is fastest at batch {batch}: {factor:.2f}× {METHODS[base.method].label}.",
        evidence=f"Step {shown_duration(_step(best, batch))}, weights {shown_bytes(best.weight_bytes or 0)}; speed only.",
        objection="The weights are random, so this run says nothing about accuracy: measure it on trained weights.",
    )


def _against(best: VariantResult, base: VariantResult, results: Sequence[VariantResult], batch: int) -> str:
    """The strongest point against the choice, from the same run."""
    points = []
    for d in best.decode:
        other = speedup(best, base, batch=d.batch)
        chosen = speedup(best, base, batch=batch)
        if d.batch != batch and other and chosen and other < 0.9 * chosen:
            points.append(f"at batch {d.batch} the factor is only {other:.2f}×")
    if best.p99_kl_nat_per_token and best.mean_kl_nat_per_token and best.method != base.method:
        p99 = best.p99_kl_nat_per_token.value
        points.append(f"one token in a hundred diverges by {three_digits(p99)} nat or more")
    smaller = [r for r in results if (r.weight_bytes or 0) < 0.8 * (best.weight_bytes or 0)]
    if smaller:
        least = min(smaller, key=lambda r: r.weight_bytes or 0)
        points.append(f"{METHODS[least.method].label} needs only {shown_bytes(least.weight_bytes or 0)} of weights")
    same_engine = [r for r in results if METHODS[r.method].runtime == METHODS[best.method].runtime == "onnxruntime"]
    plain = next((r for r in same_engine if r.method == "onnx-fp32"), None)
    if plain is not None and best.method != "onnx-fp32":
        share = _step(base, batch) / _step(plain, batch)
        points.insert(0, f"{share:.2f}× of it comes from ONNX Runtime alone, without any quantization")
    text = "; ".join(points[:2]) or "no other measured method is faster or smaller"
    return text[0].upper() + text[1:] + "."
