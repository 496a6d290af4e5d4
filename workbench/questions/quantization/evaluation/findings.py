"""Findings of an evaluation: the candidates that answer like the original, and the differences too small to detect."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from workbench.catalog.formats import KV
from workbench.compress.rows import before_each, quantized_fraction
from workbench.core.columns import cells_of
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.core.stored_texts import translated
from workbench.core.units import NOT_KNOWN, shown_percent, three_digits
from workbench.core.verdict import Verdict, objections
from workbench.interface.numbers import interval_text, with_ends
from workbench.questions.quantization.evaluation.rows import (
    ByteResult,
    CandidateResult,
    TaskScore,
    candidates_of,
    original_of,
    per_byte_of,
)
from workbench.questions.quantization.evaluation.spec import EvaluationSpec, kl_band


def candidate_label(folder: str) -> str:
    """Return a short name: the cache format, or the last part of the folder without its digest."""
    if folder.startswith(KV):
        number, _, shared = folder.removeprefix(KV).partition("-")
        return gettext("{number} cache, scale per {shared}").format(number=number.upper(), shared=shared)
    name = Path(folder).name
    head, _, tail = name.rpartition("-")
    return head if len(tail) == 8 and all(c in "0123456789abcdef" for c in tail) else name


def what_was_compared(run: Run) -> str:
    """Return whether a run compares cache formats or checkpoints."""
    kinds = {
        gettext("cache formats") if c.startswith(KV) else gettext("checkpoints")
        for c in run.asked(EvaluationSpec).candidates
    }
    return gettext(" and ").join(sorted(kinds))


def about(run: Run) -> str:
    """Return model, device, text and versions that the numbers of a run are for."""
    env, spec = run.environment, run.asked(EvaluationSpec)
    packages = " · ".join(f"{p} {env.packages[p]}" for p in ("transformers", "vllm") if p in env.packages)
    return gettext(
        "{model} on {device} · {packages} · {n_windows} × {n_tokens} tokens{before}, {n_keys} pass keys, "
        "{n_lines} lines to complete · run {run}, {day}"
    ).format(
        model=Path(spec.model).name,
        device=env.device,
        packages=packages,
        n_windows=spec.n_windows,
        n_tokens=spec.window_tokens,
        before=before_each(len(original_of(run).prefix_ids)),
        n_keys=spec.n_passkeys,
        n_lines=spec.n_completions,
        run=run.id,
        day=run.day,
    )


def evaluation_verdict(run: Run) -> Verdict:
    """Return the closest and the farthest candidate, with intervals and the strongest objection."""
    rows = candidates_of(run)
    if not rows:
        if per_byte := per_byte_of(run):
            return _per_byte_verdict(per_byte)
        return Verdict(
            headline=gettext("No candidate was evaluated."), evidence=gettext("See the failures below."), answer="open"
        )
    near, far = rows[0], rows[-1]
    name, kl = candidate_label(near.folder), near.kl_nat_per_token
    ends = near.accuracy.mean_kl_nat_per_token
    equal = [candidate_label(r.folder) for r in rows[1:] if r.accuracy.mean_kl_nat_per_token.low <= ends.high]
    headline = (
        gettext(
            "{candidate} is closest to the original, not shown to differ from {equal}: KL {kl} nat/token ({band}){far}."
        )
        if equal
        else gettext("{candidate} is closest to the original: KL {kl} nat/token ({band}){far}.")
    ).format(
        candidate=name,
        equal=gettext(" and ").join(equal),
        kl=three_digits(kl),
        band=kl_band(kl),
        far=gettext("; {candidate} diverges {factor} times as much").format(
            candidate=candidate_label(far.folder), factor=three_digits(far.kl_nat_per_token / kl)
        )
        if len(rows) > 1 and kl > 0
        else "",
    )
    changed, text = 100 * (1 - near.accuracy.top1_agreement_fraction.value), run.asked(EvaluationSpec)
    evidence = gettext(
        "KL {kl} nat/token, paired over {n_windows} windows of {n_tokens} tokens; {share} % of the most "
        "likely tokens change."
    ).format(
        kl=with_ends(near.accuracy.mean_kl_nat_per_token),
        n_windows=text.n_windows,
        n_tokens=text.window_tokens,
        share=three_digits(changed),
    )
    is_tasked = any(task for r in rows for task in (r.passkey, r.completion))
    return Verdict(
        best=near.folder,
        headline=headline,
        evidence=evidence,
        objection=objections(_against(rows)),
        scope=None if is_tasked else gettext("No task was run: this is about next tokens alone."),
    )


def _per_byte_verdict(rows: Sequence[ByteResult]) -> Verdict:
    best = rows[0]
    change = best.change_bits_per_byte
    if not change.excludes_zero:
        headline = gettext(
            "{candidate} is not shown to need more or fewer bits than the original for a byte of this text."
        )
    elif change.value < 0:
        headline = gettext("{candidate} needs {bits} bits fewer than the original for a byte of this text.")
    else:
        headline = gettext("{candidate} needs {bits} bits more than the original for a byte of this text.")
    bits = three_digits(abs(change.value))
    return Verdict(
        best=best.folder,
        headline=headline.format(candidate=candidate_label(best.folder), bits=bits),
        evidence=gettext("{bits}, paired over {n_stretches} stretches of text, {n_bytes} bytes.").format(
            bits=per_byte_text(best), n_stretches=best.n_windows, n_bytes=f"{best.n_bytes:,}"
        ),
        scope=gettext("Its tokenizer is another one, so that single tokens, pass keys and lines were not compared."),
    )


def per_byte_text(row: ByteResult) -> str:
    """Return the bits per byte of a model and of the original, and the difference."""
    change = _estimate(row.change_bits_per_byte, sign=True)
    return gettext("{bits} bits/byte, the original {original_bits} (difference {change})").format(
        bits=f"{row.bits_per_byte:.3f}", original_bits=f"{row.original_bits_per_byte:.3f}", change=change
    )


def _against(rows: Sequence[CandidateResult]) -> list[str]:
    points = []
    lost = [r for r in rows if any(t and t.mcnemar_p < 0.05 and t.lost > t.won for t in (r.passkey, r.completion))]
    if lost:
        names = gettext(" and ").join(dict.fromkeys(candidate_label(r.folder) for r in lost))
        points.append(
            gettext("{names} answered significantly fewer questions than the original (McNemar, p < 0.05)").format(
                names=names
            )
        )
    detectable = max((r.completion.minimum_detectable_fraction for r in rows if r.completion), default=0.0)
    if detectable:
        points.append(
            gettext("the line completions detect only differences of {points} percentage points or more").format(
                points=f"{100 * detectable:.0f}"
            )
        )
    in_vllm = [(r.vllm_top1_agreement_fraction, r.folder) for r in rows if r.vllm_top1_agreement_fraction is not None]
    if in_vllm:
        agreement, folder = min(in_vllm)
        share, name = three_digits(100 * agreement), candidate_label(folder)
        points.append(
            gettext("vLLM's kernels choose the same token in only {share} % of positions with {candidate}").format(
                share=share, candidate=name
            )
        )
    return points


def comparison(run: Run) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return titles and rows: the original, the candidates, and the failures; tasks of lm-eval come last."""
    original, rows = original_of(run), candidates_of(run)
    metrics = [original.tasks, *(r.tasks for r in rows)]
    tasks = list(dict.fromkeys(name for by_task in metrics for name in by_task))
    answers = _share(original.passkey), _share(original.completion)
    lines = [(gettext("the original"), "0", "–", "100 %", "0 %", *answers, *["–"] * 4), *cells_of(COLUMNS, rows)]
    scored = [(*line, *(_score(by_task.get(t)) for t in tasks)) for line, by_task in zip(lines, metrics, strict=True)]
    scored += [
        (candidate_label(r.folder), gettext("another tokenizer: {bits}").format(bits=per_byte_text(r)))
        for r in per_byte_of(run)
    ]
    failed = [
        (
            candidate_label(f.subject or ""),
            gettext("failed: {cause}").format(cause=translated(f.cause, domain="quantization")),
        )
        for f in run.failures
    ]
    return (*COLUMNS, *(f"{t} (lm-eval)" for t in tasks)), [*scored, *failed]


def _estimate(interval: Interval | None, factor: float = 1.0, unit: str = "", *, sign: bool = False) -> str:
    if interval is None:
        return NOT_KNOWN
    shown, half, exponent = interval_text(interval, factor, sign=sign)
    text = f"{shown} ± {half}" if half else shown
    return f"({text}){exponent}{unit}" if exponent else text + unit


def _share(task: TaskScore | None) -> str:
    return (
        gettext("{share} of {n}").format(share=shown_percent(task.right_fraction, 1), n=task.n) if task else NOT_KNOWN
    )


def _score(metrics: Mapping[str, float] | None) -> str:
    """Return the first metric of a task with its standard error."""
    if not metrics:
        return NOT_KNOWN
    name = next(n for n in ("acc", "exact_match", *metrics) if n in metrics)
    error = metrics.get(f"{name}_stderr")
    return f"{name} {metrics[name]:.3f}" + (f" ± {error:.3f} (1 SE)" if error is not None else "")


COLUMNS: Mapping[str, Callable[[CandidateResult], str]] = {
    gettext("Candidate ●"): lambda r: candidate_label(r.folder),
    gettext("KL, nat/token"): lambda r: _estimate(r.accuracy.mean_kl_nat_per_token),
    gettext("closest published format"): lambda r: kl_band(r.kl_nat_per_token),
    gettext("same top-1"): lambda r: _estimate(r.accuracy.top1_agreement_fraction, 100, " %"),
    gettext("Δ perplexity"): lambda r: _estimate(r.accuracy.perplexity_change_fraction, 100, " %", sign=True),
    gettext("pass keys retrieved"): lambda r: _share(r.passkey),
    gettext("lines completed"): lambda r: _share(r.completion),
    gettext("p (McNemar)"): lambda r: f"{r.completion.mcnemar_p:.2f}" if r.completion else NOT_KNOWN,
    gettext("detectable difference"): lambda r: (
        gettext("{points} points").format(points=f"{100 * r.completion.minimum_detectable_fraction:.0f}")
        if r.completion
        else NOT_KNOWN
    ),
    gettext("weights quantized"): lambda r: (
        shown_percent(quantized_fraction(r.coverage), 1) if r.coverage else NOT_KNOWN
    ),
    gettext("same top-1 in vLLM"): lambda r: shown_percent(r.vllm_top1_agreement_fraction, 1),
}
