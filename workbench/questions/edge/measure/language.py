"""A language model on a small device: its ONNX variants, which the measurement of quantization runs and judges by PyTorch."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import HELD_OUT_TEXT, located
from workbench.compress.rows import QuantizationSamples, VariantResult
from workbench.compress.spec import QuantizationSpec
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.core.language import gettext_noop
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.core.runs import Run
from workbench.measuring.envelope import Record, measured
from workbench.measuring.interleaved import Timed, batch_times
from workbench.questions.edge.measure.graph import needs_training
from workbench.questions.edge.measure.lengths import (
    MOST_TOKENS,
    N_INPUTS,
    VariedInputs,
    measure_lengths,
    passages_of,
    unmasked_inputs,
)
from workbench.questions.edge.rows import Perplexity
from workbench.questions.edge.rows import VariantResult as EdgeVariant
from workbench.questions.edge.spec import EdgeSpec

METHODS = {
    "onnx-fp32": "fp32",
    "onnx-int8-static": "int8-static",
    "onnx-int8-dynamic": "int8-dynamic",
    "onnx-int4-g32": "int4",
}
LABELS = {
    "fp32": gettext_noop("float32 in ONNX Runtime"),
    "int8-static": gettext_noop("static INT8 (down projections in float)"),
    "int8-dynamic": gettext_noop("dynamic INT8 (down projections in float)"),
    "int4": gettext_noop("4-bit weights, 32 to a scale"),
}
REFERENCE = "fp32"
"""Method in PyTorch that perplexities are relative to."""
BATCHES = (1, 8)
STEPS = 32  # of a round


def measure_language(spec: EdgeSpec, record: Record) -> Iterator[Progress]:
    """Record perplexity, flips, size, memory and step times; a flip is a token whose most probable successor is not PyTorch's.

    Raises:
        InvalidSpec: an option is given that a language model does not obey.
    """
    _check(spec)
    record.failures += needs_training(spec, tuple(METHODS.values()))
    quantization = QuantizationSpec(
        model=spec.model,
        methods=(REFERENCE, *(method for method, technique in METHODS.items() if technique in spec.techniques)),
        batches=spec.batches or BATCHES,
        decode_tokens=STEPS,
        rounds=spec.rounds,
        threads=spec.threads,
        device="cpu",
        seed=spec.seed,
    )
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        for item in measured(quantization, Path(folder)):
            if not isinstance(item, Run):
                yield item
                continue
            rows = [r for r in item.rows(VariantResult) if r.method in METHODS]
            results = {r.method: r for r in rows if r.status == "measured"}
            absent = {METHODS[r.method]: r.reason or "" for r in rows if r.status != "measured"}
            if "onnx-fp32" not in results:
                raise NotAvailable(
                    absent.get("fp32", "The ONNX graph was not measured."),
                    remedy="Measure it in PyTorch with `workbench quantize`.",
                )
            record.failures += [
                Failure(cause=f"{t} is left out: {reason}", remedy="Leave it out.") for t, reason in absent.items()
            ]
            base, steps = results["onnx-fp32"], item.sampled(QuantizationSamples)
            record.rows += [_variant(r, base, steps) for r in results.values()]
        if spec.variable_lengths:
            opened = partial(_texts, spec, Path(folder))
            yield from measure_lengths(spec, record, opened, sizes=spec.batches or BATCHES, start=60)


def _texts(spec: EdgeSpec, folder: Path) -> VariedInputs:
    """Return passages of text for the graph of the model, cut where its context ends."""
    from workbench.compress.folder import prefix_ids, token_ids
    from workbench.compress.onnx_export import export_folder
    from workbench.compress.text_encoder import spread_passages

    place, graph = located(spec.model), folder / "texts.onnx"
    most = min(MOST_TOKENS, model_spec_from(place).max_context_tokens or MOST_TOKENS)
    prefix = prefix_ids(place)
    texts = [np.concatenate([prefix, token_ids(place, t)])[:most] for t in spread_passages(HELD_OUT_TEXT, N_INPUTS)]
    export_folder(place, graph, n_checked=most)
    return unmasked_inputs(graph, texts, passages_of(HELD_OUT_TEXT))


def _check(spec: EdgeSpec) -> None:
    """Refuse what the measurement of a language model would ignore."""
    limits = {
        "--latency-ms": spec.latency_ms,
        "--memory-mib": spec.memory_mib,
        "--power-w": spec.power_w,
        "--data": spec.data,
    }
    given = [name for name, value in limits.items() if value is not None]
    if given:
        raise InvalidSpec(
            f"A language model does not take {', '.join(given)}.",
            remedy="Leave it out: no setting is chosen for a language model.",
        )


def _variant(result: VariantResult, base: VariantResult, steps: QuantizationSamples) -> EdgeVariant:
    technique, accuracy, n_bytes = METHODS[result.method], result.accuracy, result.weight_bytes
    assert accuracy is not None
    assert n_bytes is not None
    n, change = accuracy.n_tokens, accuracy.perplexity_change_fraction
    own, reference = (_rounds(steps.decode_s[m]) for m in (result.method, base.method))
    return EdgeVariant(
        technique=technique,
        label=LABELS[technique],
        n=n,
        flips=round((1 - accuracy.top1_agreement_fraction.value) * n),
        n_bytes=n_bytes,
        perplexity=Perplexity(
            value=accuracy.perplexity,
            change_fraction=change.value if change else None,
            change_interval=(change.low, change.high) if change else None,
        ),
        peak_bytes=result.peak_memory_bytes,
        times={b: batch_times(own[b], reference=None if technique == "fp32" else reference[b]) for b in own},
    )


def _rounds(steps: Mapping[int, Sequence[float]]) -> dict[int, Timed]:
    """Return the steps by batch and round; a round has ``STEPS`` steps, one after another."""
    return {batch: _timed(np.array(seconds)) for batch, seconds in steps.items()}


def _timed(steps: npt.NDArray[np.float64]) -> Timed:
    rounds = np.split(steps[: len(steps) // STEPS * STEPS], max(1, len(steps) // STEPS))
    return Timed(rounds_s=[float(np.median(r)) for r in rounds], samples_s=[float(x) for r in rounds for x in r])
