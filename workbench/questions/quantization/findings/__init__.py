"""Findings of a quantization run: the recommended method, its evidence, and the strongest objection."""

from collections.abc import Sequence
from pathlib import Path

from workbench.compress.methods import METHODS
from workbench.compress.rows import QuantizationSamples, VariantResult, before_each, coverage_text, quantized_fraction
from workbench.compress.spec import QuantizationSpec
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.units import shown_bytes, shown_duration, three_digits
from workbench.core.verdict import Verdict, objections
from workbench.estimate.cost import decode_s_at, usd_per_million_output_tokens
from workbench.measuring.machine import timing_caution

# Mean KL divergences that llama.cpp's perplexity tool printed for a 8B model (logs published by eaddario):
# Q8_0 0.00024, Q5_K_M 0.0047, Q3_K_M 0.051.
KL_LIMITS = {"strict": 0.001, "balanced": 0.01, "loose": 0.05}
RUNTIMES = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime"}
LITTLE_QUANTIZED = 0.5  # a smaller share of the weights is an objection


def baseline_of(results: Sequence[VariantResult]) -> VariantResult | None:
    """Return the baseline: measured BF16 on a GPU, FP32 elsewhere, or the other one where that is missing."""
    measured = {r.method: r for r in results if r.status == "measured"}
    on_gpu = any(r.execution == "compiled" for r in measured.values())
    order = ("bf16", "fp32") if on_gpu else ("fp32", "bf16")
    return next((measured[m] for m in order if m in measured), None)


def speedup(result: VariantResult, base: VariantResult, *, batch: int) -> float | None:
    """Return the median step time of the baseline over that of the method."""
    time, base_time = result.decode_at(batch), base.decode_at(batch)
    return base_time.p50_s / time.p50_s if time and base_time else None


def is_faster(result: VariantResult, base: VariantResult, *, batch: int) -> bool:
    """Return whether the steps of a method are shorter than those of another beyond both intervals."""
    time, other = result.decode_at(batch), base.decode_at(batch)
    return time is not None and other is not None and time.p50_high_s < other.p50_low_s


def verdict(run: Run, *, kl_limit: float, batch: int) -> Verdict:
    """Return the fastest method at a batch size whose mean KL lies within the limit with 95 % confidence.

    A method whose interval of the step overlaps the baseline's is not taken.
    """
    results = [r for r in run.rows(VariantResult) if r.status == "measured" and r.decode_at(batch)]
    base = baseline_of(results)
    if base is None:
        return Verdict(
            headline=gettext("The run has no baseline to compare with."),
            evidence=gettext(
                "Neither FP32 nor BF16 was measured at this batch size. Run again with FP32 among the methods."
            ),
            answer="open",
        )
    if all(r.accuracy is None for r in results):
        return _verdict_without_accuracy(results, base, batch)
    within = [r for r in results if r.accuracy and r.accuracy.mean_kl_nat_per_token.high <= kl_limit]
    faster = [r for r in within if is_faster(r, base, batch=batch)]
    limit = gettext("a mean KL of {kl} nat/token, at batch {batch}").format(kl=three_digits(kl_limit), batch=batch)
    if not faster:
        nearest = [r for r in within if r is not base and _step_s(r, batch) < _step_s(base, batch)]
        headline = (
            gettext("Stay with {method}: no method within the accuracy limit is shown to be faster.")
            if nearest
            else gettext("Stay with {method}: no method within the accuracy limit is faster.")
        )
        return Verdict(
            best=base.method,
            headline=headline.format(method=_label(base)),
            evidence=gettext("The limit is {limit}; {n} of {n_all} methods are within it. {nearest}")
            .format(
                limit=limit,
                n=len(within),
                n_all=len(results),
                nearest=_too_damaged(results, base, kl_limit, batch),
            )
            .strip(),
            objection=objections(_against(base, base, results, batch)),
            answer="no",
        )
    best = min(faster, key=lambda r: _step_s(r, batch))
    accuracy, time = best.accuracy, best.decode_at(batch)
    assert accuracy is not None
    assert time is not None
    kl, top1 = accuracy.mean_kl_nat_per_token, accuracy.top1_agreement_fraction
    changed = three_digits((1 - top1.value) * 100)
    factor = speedup(best, base, batch=batch) or 1.0
    rounds = gettext(" in {n} rounds").format(n=time.n_rounds) if time.n_rounds else ""
    return Verdict(
        best=best.method,
        headline=gettext(
            "Take {method}. {factor}× as fast as {base} at batch {batch}{engines} with {memory}; it changes {share} % of "
            "next-token choices."
        ).format(
            method=_label(best),
            factor=f"{factor:.2f}",
            base=_label(base),
            batch=batch,
            engines=_engines(best, base),
            memory=_memory(best, base),
            share=changed,
        ),
        evidence=gettext(
            "KL {kl} nat/token, top-1 agreement {top1}, n = {n_tokens} tokens{windows}; step {interval} against "
            "{base_interval} (medians of {n} steps{rounds}){coverage}."
        ).format(
            kl=f"{three_digits(kl.value)} [{three_digits(kl.low)}, {three_digits(kl.high)}]",
            top1=f"{three_digits(top1.value * 100)} % [{three_digits(top1.low * 100)}, {three_digits(top1.high * 100)}]",
            n_tokens=accuracy.n_tokens,
            windows=_windows(accuracy.n_windows),
            interval=_interval(best, batch),
            base_interval=_interval(base, batch),
            n=time.n,
            rounds=rounds,
            coverage=_coverage(best),
        ),
        objection=objections(_against(best, base, results, batch)),
    )


def may_be_taken(results: Sequence[VariantResult], *, kl_limit: float) -> list[VariantResult]:
    """Return the timed methods within the accuracy limit, and the baseline; all of them where no accuracy was measured."""
    timed, base = [r for r in results if r.decode], baseline_of(results)
    if all(r.accuracy is None for r in timed):
        return timed
    return [r for r in timed if r is base or (r.accuracy and r.accuracy.mean_kl_nat_per_token.high <= kl_limit)]


def left_out_text(results: Sequence[VariantResult], *, kl_limit: float) -> str:
    """Return which timed methods are beyond the accuracy limit, in words; empty without any."""
    allowed = may_be_taken(results, kl_limit=kl_limit)
    names = [_label(r) for r in results if r.decode and r not in allowed]
    return (
        gettext("Beyond the accuracy limit, and left out: {methods}.").format(methods=gettext(", ").join(names))
        if names
        else ""
    )


def _label(result: VariantResult) -> str:
    return METHODS[result.method].label


def _engines(best: VariantResult, base: VariantResult) -> str:
    """Return the change of engine that a speed-up contains; empty where both ran in one."""
    before, after = (RUNTIMES[METHODS[r.method].runtime] for r in (base, best))
    return (
        ""
        if before == after
        else gettext(" (the change from {before} to {after} included)").format(before=before, after=after)
    )


def _memory(best: VariantResult, base: VariantResult) -> str:
    if not best.weight_bytes or not base.weight_bytes:
        return gettext("weight memory that is not known")
    saved = 1 - best.weight_bytes / base.weight_bytes
    return (
        gettext("{share} % less weight memory").format(share=three_digits(saved * 100))
        if saved > 0
        else gettext("no saving in weight memory")
    )


def _interval(result: VariantResult, batch: int) -> str:
    time = result.decode_at(batch)
    assert time is not None
    return f"{shown_duration(time.p50_s)} [{shown_duration(time.p50_low_s)}, {shown_duration(time.p50_high_s)}]"


def _too_damaged(results: Sequence[VariantResult], base: VariantResult, kl_limit: float, batch: int) -> str:
    """Return the nearest method that would be faster, and the accuracy limit that it needs; empty without one."""
    beyond = [
        (r, r.accuracy.mean_kl_nat_per_token.high)
        for r in results
        if r.accuracy and r.accuracy.mean_kl_nat_per_token.high > kl_limit and is_faster(r, base, batch=batch)
    ]
    if not beyond:
        return ""
    nearest, kl = min(beyond, key=lambda pair: pair[1])
    factor = speedup(nearest, base, batch=batch) or 1.0
    return gettext("The nearest faster one is {method}, {factor}×: it needs a limit of {kl}.").format(
        method=_label(nearest), factor=f"{factor:.2f}", kl=three_digits(kl)
    )


def _windows(n: int | None) -> str:
    return gettext(" in {n} windows").format(n=n) if n else ""


def _coverage(result: VariantResult) -> str:
    """Return the shares that the method quantized, where they were counted."""
    return (
        gettext("; quantized: {coverage}").format(coverage=coverage_text(result.coverage))
        if quantized_fraction(result.coverage)
        else ""
    )


def _step_s(result: VariantResult, batch: int) -> float:
    time = result.decode_at(batch)
    return time.p50_s if time else float("inf")


def _verdict_without_accuracy(results: Sequence[VariantResult], base: VariantResult, batch: int) -> Verdict:
    faster = [r for r in results if is_faster(r, base, batch=batch)]
    scope = gettext("The weights are random, so this is about speed alone: measure accuracy on trained weights.")
    if not faster:
        return Verdict(
            best=base.method,
            headline=gettext("No method is shown to be faster than {method} at batch {batch}.").format(
                method=_label(base), batch=batch
            ),
            evidence=gettext("Its step takes {interval}; the intervals of all others reach it, or lie above.").format(
                interval=_interval(base, batch)
            ),
            objection=objections(_against(base, base, results, batch)),
            scope=scope,
            answer="no",
        )
    best = min(faster, key=lambda r: _step_s(r, batch))
    factor = speedup(best, base, batch=batch) or 1.0
    return Verdict(
        best=best.method,
        headline=gettext("{method} is fastest at batch {batch}: {factor}× {base}{engines}.").format(
            method=_label(best), batch=batch, factor=f"{factor:.2f}", base=_label(base), engines=_engines(best, base)
        ),
        evidence=gettext("Step {interval} against {base_interval}; {memory}.").format(
            interval=_interval(best, batch), base_interval=_interval(base, batch), memory=_memory(best, base)
        ),
        objection=objections(_against(best, base, results, batch)),
        scope=scope,
    )


def _against(best: VariantResult, base: VariantResult, results: Sequence[VariantResult], batch: int) -> list[str]:
    """Return the points against the choice, from the same run, the strongest first."""
    points = []
    plain = next((r for r in results if r.method == "onnx-fp32"), None)
    if plain is not None and best is not plain and METHODS[best.method].runtime == "onnxruntime":
        factor = _step_s(base, batch) / _step_s(plain, batch)
        points.append(
            gettext("ONNX Runtime alone, without quantization, gives a speed-up of {factor}×").format(
                factor=f"{factor:.2f}"
            )
        )
    share = quantized_fraction(best.coverage)
    if best.coverage and best.method not in {base.method, "fp32", "bf16"} and share < LITTLE_QUANTIZED:
        points.append(gettext("only {share} % of the weights are quantized").format(share=three_digits(100 * share)))
    at = best.decode_at(batch)
    caution = at and timing_caution(drift_fraction=at.drift_fraction, other_load_fraction=at.other_load_fraction)
    if caution:
        points.append(caution)
    equal = [r for r in results if r is not best and r is not base and _overlap(r, best, batch)]
    if best is not base and equal:
        points.append(
            gettext("its step is not shown to be shorter than that of {methods}").format(
                methods=gettext(" and ").join(map(_label, equal))
            )
        )
    chosen = speedup(best, base, batch=batch)
    for d in best.decode:
        other = speedup(best, base, batch=d.batch)
        if d.batch != batch and other and chosen and other < 0.9 * chosen:
            points.append(
                gettext("at batch {batch} the speed-up is only {factor}×").format(batch=d.batch, factor=f"{other:.2f}")
            )
    if best.accuracy and best.method != base.method:
        p99 = best.accuracy.p99_kl_nat_per_token.value
        points.append(gettext("one token in a hundred diverges by {kl} nat or more").format(kl=three_digits(p99)))
    smaller = [r for r in results if r.weight_bytes and best.weight_bytes and r.weight_bytes < 0.8 * best.weight_bytes]
    if smaller:
        least = min(smaller, key=lambda r: r.weight_bytes or 0)
        points.append(
            gettext("{method} needs only {weights} of weights").format(
                method=_label(least), weights=shown_bytes(least.weight_bytes or 0)
            )
        )
    return points


def _overlap(a: VariantResult, b: VariantResult, batch: int) -> bool:
    first, second = a.decode_at(batch), b.decode_at(batch)
    return (
        first is not None
        and second is not None
        and first.p50_low_s <= second.p50_high_s
        and second.p50_low_s <= first.p50_high_s
    )


def batches_of(run: Run | None) -> list[int]:
    """Return the decode batch sizes that a run has measured."""
    return sorted({d.batch for r in run.rows(VariantResult) for d in r.decode}) if run else []


def subject_of(run: Run) -> str:
    """Return model, device, text and lengths that the numbers of a run are for."""
    spec, env = run.asked(QuantizationSpec), run.environment
    text = Path(spec.text).name if spec.text else gettext("held-out text")
    samples = run.samples
    before = len(samples.prefix_ids) if isinstance(samples, QuantizationSamples) else 0
    accuracy = gettext("accuracy: {n} × {tokens} tokens of {text}{before}").format(
        n=spec.n_windows, tokens=spec.window_tokens, text=text, before=before_each(before)
    )
    return gettext(
        "{model} on {device} ({n_cpus} cores) · {accuracy} · speed: {n_in} tokens in, {n_out} out · run {run}, {day}"
    ).format(
        model=Path(spec.model).name,
        device=env.device,
        n_cpus=env.n_cpus,
        accuracy=gettext("no accuracy: random weights") if spec.random_weights else accuracy,
        n_in=spec.prompt_tokens,
        n_out=spec.decode_tokens,
        run=run.id,
        day=run.day,
    )


def usd_by_method(run: Run, *, usd_per_hour: float, utilization_fraction: float, batch: int) -> dict[str, float]:
    """Return the price of a million output tokens with each measured method."""
    steps = {
        r.method: decode_s_at(batch, {d.batch: d.p50_s for d in r.decode}) for r in run.rows(VariantResult) if r.decode
    }
    return {
        method: usd_per_million_output_tokens(
            usd_per_hour, decode_s=step, batch=batch, utilization_fraction=utilization_fraction
        )
        for method, step in steps.items()
    }


def claim_points(run: Run, batch: int) -> tuple[list[tuple[str, float, float, float]], str]:
    """Return speed-ups by claimed technique with intervals, each over the baseline in its own engine, and the name of that baseline."""
    results = run.rows(VariantResult)
    base = baseline_of(results)
    if base is None:
        return [], "–"
    plain_onnx = next((r for r in results if r.method == "onnx-fp32"), None)
    plain = {"onnxruntime": plain_onnx, METHODS[base.method].runtime: base}
    points = []
    for r in results:
        method, time = METHODS[r.method], r.decode_at(batch)
        own = plain.get(method.runtime)
        base_time = own.decode_at(batch) if own is not None and own.method != r.method else None
        if method.claim and time and base_time:
            low, high = base_time.p50_low_s / time.p50_high_s, base_time.p50_high_s / time.p50_low_s
            points.append((method.claim, base_time.p50_s / time.p50_s, low, high))
    return points, gettext("{method} in the same engine").format(method=METHODS[base.method].label)
