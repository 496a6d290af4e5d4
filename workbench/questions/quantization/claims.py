"""Judges of the claims about precision: speed within one engine, at the batch size where it gains most."""

from collections.abc import Iterator
from dataclasses import dataclass

from workbench.calibrate.serving_speed.rows import cells_of
from workbench.catalog.ledger import (
    Evidence,
    Judge,
    Judgement,
    Judges,
    compared,
    first_of,
    not_testable,
    quotient,
    untested,
    with_note,
)
from workbench.catalog.models import language_model_from
from workbench.catalog.served import Served
from workbench.catalog.tables import Claim
from workbench.compress.methods import METHODS
from workbench.compress.rows import VariantResult
from workbench.core.errors import WorkbenchError
from workbench.core.language import gettext, gettext_noop
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.questions.quantization.serving_speed.findings import PLAIN

IN_VLLM = {"INT8 PTQ": "w8a8", "INT4 GPTQ": "w4a16", "INT4 AWQ": "w4a16-asym"}
"""Format in which vLLM serves a claimed technique."""
PLAIN_METHOD = {"torch": ("fp32", "bf16"), "onnxruntime": ("onnx-fp32",)}
"""What a method of an engine is compared with: the first that a run has."""
LARGE_PARAMS = 1e9
"""Parameters from which on a language model counts as large."""
OVER_BF16 = gettext("The claim names no baseline; over FP32, which vLLM was not measured in, it would be larger.")
EVALUATE = "workbench checkpoints MODEL && workbench evaluate MODEL CHECKPOINTS  # with the trained 8B model on a GPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A speed-up of a technique over the plain precision of the same engine."""

    factor: float
    interval: tuple[float, float]
    words: str
    run: Run
    is_over_bf16: bool


def is_large(run: Run) -> bool:
    """Return whether a run is of a language model of a billion parameters or more; not where its files are gone."""
    try:
        return language_model_from(run.model or "").n_params >= LARGE_PARAMS
    except WorkbenchError:
        return False


def in_libraries(technique: str, evidence: Evidence) -> Iterator[Measured]:
    """Yield the decode speed-ups of a technique over the plain precision in PyTorch and ONNX Runtime, for each batch size."""
    for run, results in evidence.with_rows("quantization", VariantResult):
        by_method = {r.method: r for r in results}
        for result in results:
            method = METHODS[result.method]
            plain = next((by_method[m] for m in PLAIN_METHOD[method.runtime] if m in by_method), None)
            if method.claim != technique or plain is None or plain.method == result.method:
                continue
            for time in result.decode:
                base = plain.decode_at(time.batch)
                if base is None:
                    continue
                factor, interval = quotient(
                    Interval(base.p50_s, base.p50_low_s, base.p50_high_s),
                    Interval(time.p50_s, time.p50_low_s, time.p50_high_s),
                )
                words = gettext("{method} over {plain} at batch size {batch}, {model}").format(
                    method=method.label, plain=METHODS[plain.method].label, batch=time.batch, model=run.model
                )
                is_over_bf16 = plain.method == PLAIN
                yield Measured(factor=factor, interval=interval, words=words, run=run, is_over_bf16=is_over_bf16)


def in_vllm(technique: str, evidence: Evidence) -> Iterator[Measured]:
    """Yield the decode speed-ups of a technique over BF16 in vLLM, for each batch size and context."""
    name = IN_VLLM.get(technique)
    for run in evidence.of("serving_speed"):
        cells = cells_of(run.results)
        for (served, batch, context), row in cells.items():
            plain = cells.get((PLAIN, batch, context))
            if served == name and plain:
                factor, interval = quotient(plain.tpot_p50_s, row.tpot_p50_s)
                words = gettext("{format} over BF16 in vLLM, {batch} × {context} tokens, {model}").format(
                    format=gettext(Served.read(served).label), batch=batch, context=f"{context:,}", model=run.model
                )
                yield Measured(factor=factor, interval=interval, words=words, run=run, is_over_bf16=True)


def speedup(*, only_large: bool) -> Judge:
    """Return a judge of a speed-up: the largest over engines, batch sizes and contexts, with the smallest beside it."""

    def judge(claim: Claim, evidence: Evidence) -> Judgement | None:
        found = [*in_libraries(claim.technique, evidence), *in_vllm(claim.technique, evidence)]
        found = [m for m in found if not only_large or is_large(m.run)]
        if not found:
            return None
        best, worst = max(found, key=lambda m: m.factor), min(found, key=lambda m: m.factor)
        how = gettext("Decode, {best}. Smallest of {n}: {factor}× ({worst}).").format(
            best=best.words, n=len(found), factor=f"{worst.factor:.2f}", worst=worst.words
        )
        runs = {m.run.id: m.run for m in (best, worst)}.values()
        judgement = compared(claim, best.factor, how, runs=runs, interval=best.interval)
        return with_note(judgement, OVER_BF16) if best.is_over_bf16 else judgement

    return first_of(
        judge, untested("workbench quantize MODEL", gettext("No run measured it beside the plain precision."))
    )


def accuracy(claim: Claim, _evidence: Evidence) -> Judgement:
    """Return why no run judges a loss of accuracy: random weights and the 9M model say nothing about trained 8B and 70B ones."""
    if claim.condition == "70B":
        why = gettext(
            "Accuracy needs trained weights of that size; what ships are random weights and a trained model of "
            "9M parameters."
        )
        return not_testable(gettext_noop("needs trained 70B weights"), why)(claim, _evidence)
    why = gettext("The trained model that ships has 9M parameters, which is far from the 8B of the claim.")
    return untested(EVALUATE, why)(claim, _evidence)


JUDGES: Judges = {
    (2, "FP16", "speedup"): speedup(only_large=False),
    (2, "INT8 PTQ", "speedup"): speedup(only_large=False),
    (2, "INT4 GPTQ", "speedup"): speedup(only_large=True),
    (2, "INT4 AWQ", "speedup"): speedup(only_large=True),
    **{(2, name, "accuracy_loss"): accuracy for name in ("FP16", "INT8 PTQ", "INT4 GPTQ", "INT4 AWQ")},
}
"""By question, technique and metric."""
