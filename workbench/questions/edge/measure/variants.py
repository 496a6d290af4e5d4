"""Variants of a model compared on the same inputs: times, accuracy, size, memory and energy."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workbench.apparatus.footprint import FootprintFailed, footprint
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext_noop
from workbench.core.progress import Progress
from workbench.core.statistics import mcnemar_p, share_interval
from workbench.measuring.envelope import Record
from workbench.measuring.interleaved import BatchTimes, Timed, batch_times, interleaved_rounds, speedup_over
from workbench.questions.edge.measure.answers import Outputs, all_outputs, classes, similarity
from workbench.questions.edge.rows import Accuracy, BaseSpeedups, EnergySource, Similarity, VariantResult
from workbench.questions.edge.spec import TECHNIQUES, EdgeSpec
from workbench.vision.graphs import compressed_bytes
from workbench.vision.sessions import Examples
from workbench.vision.variants import Variant

BASES = {"student-int8": "student", "structured-half-int8": "structured-half"}
SIGNIFICANT = 0.05
Labels = npt.NDArray[np.int64]


def measure_variants(
    spec: EdgeSpec,
    record: Record,
    variants: Mapping[str, Variant],
    inputs: Examples,
    labels: Labels | None,
    *,
    corrupted: Examples | None = None,
    before: Mapping[str, float] | None = None,
    batch: int | None = None,
    reference: Outputs | None = None,
    start: float,
) -> Iterator[Progress]:
    """Record the result of each variant, and yield progress.

    Args:
        spec: Spec with threads, batch sizes, rounds and seed.
        record: Record that takes the rows.
        variants: Variants by technique, fp32 among them.
        inputs: Inputs that all variants answer.
        labels: Classes of the inputs, where they are known.
        corrupted: Inputs with the same classes, with noise and hidden parts.
        before: Accuracy before fine-tuning, by technique.
        batch: Batch size where it is fixed.
        reference: Embeddings that all variants are judged by; the outputs of fp32 where they are None.
        start: Progress so far, of 100.

    Raises:
        InvalidSpec: classes are given, and the outputs are no classes.
    """
    answers = {t: v.runner.logits for t, v in variants.items()}
    batches = (batch,) if batch else spec.timed_batches
    timed: dict[int, dict[str, Timed]] = {}
    for n, size in enumerate(batches):
        for item in interleaved_rounds(answers, inputs, batch=size, rounds=spec.rounds, seed=spec.seed + n):
            if isinstance(item, float):
                done = start + (n + item) * 20 / len(batches)
                yield Progress(
                    step=gettext_noop("timing batch {size}, interleaved").format(size=size), done=done, total=100
                )
            else:
                timed[size] = item
    judge = _Judge(all_outputs(variants["fp32"].runner, inputs, batch), labels, embeddings=reference)
    with tempfile.TemporaryDirectory(prefix="workbench-") as scratch:
        batch_file = Path(scratch) / "batch.npy"
        np.save(batch_file, inputs[: max(batches)])
        for i, (technique, variant) in enumerate(variants.items()):
            yield Progress(
                step=gettext_noop("memory and energy: {technique}").format(technique=technique),
                done=start + 20 + 10 * i / len(variants),
                total=100,
            )
            outputs = all_outputs(variant.runner, inputs, batch)
            costs = _costs(spec, variant, batch_file)
            record.rows.append(
                VariantResult(
                    technique=technique,
                    label=TECHNIQUES[technique],
                    n=len(inputs),
                    flips=judge.flips(outputs),
                    n_bytes=variant.runner.n_bytes,
                    gzip_bytes=sum(compressed_bytes(g) for g in variant.graphs),
                    note=variant.note,
                    accuracy=judge.accuracy(outputs),
                    similarity=judge.similarity(outputs),
                    corrupted_accuracy_fraction=None
                    if labels is None or corrupted is None
                    else float(np.mean(answers[technique](corrupted).argmax(1) == labels)),
                    accuracy_before_tuning_fraction=(before or {}).get(technique),
                    peak_bytes=costs.peak_bytes,
                    cpu_s=costs.cpu_s,
                    energy_j=costs.energy_j,
                    energy_source=costs.energy_source,
                    times={b: _times(t, technique) for b, t in timed.items()},
                    base=_base(timed, technique),
                )
            )


class _Judge:
    """Compares outputs with those of the float network, or with embeddings that the model's own code gives."""

    def __init__(self, base: Outputs, labels: Labels | None, *, embeddings: Outputs | None) -> None:
        self._base, self._labels, self._embeddings = base, labels, embeddings
        self._classes = None if embeddings is not None else classes(base)
        if labels is not None and (self._classes is None or not _are_known(labels, base[0])):
            raise InvalidSpec(
                f"Classes are given, but the first output of the graph has the shape {base[0].shape}.",
                remedy="Leave y out of the file, or let the graph's first output have one value for each class.",
            )

    def flips(self, outputs: Outputs) -> int | None:
        own = classes(outputs)
        return None if self._classes is None or own is None else int(np.sum(own != self._classes))

    def accuracy(self, outputs: Outputs) -> Accuracy | None:
        own = classes(outputs)
        if self._labels is None or self._classes is None or own is None:
            return None
        return _accuracy(own, self._labels, self._classes)

    def similarity(self, outputs: Outputs) -> Similarity | None:
        if self._embeddings is not None:
            return similarity(outputs, self._embeddings, are_embeddings=True)
        return similarity(outputs, self._base)


def _are_known(labels: Labels, output: npt.NDArray[np.float32]) -> bool:
    """Return whether all labels are classes that an output can name."""
    return bool(labels.min() >= 0 and (output.ndim < 2 or output.shape[1] == 1 or labels.max() < output.shape[1]))


def _times(timed: Mapping[str, Timed], technique: str) -> BatchTimes:
    """Return the times of a technique, with its speed-up over the float network."""
    return batch_times(timed[technique], reference=None if technique == "fp32" else timed["fp32"])


def _base(timed: Mapping[int, Mapping[str, Timed]], technique: str) -> BaseSpeedups | None:
    """Return the speed-ups over what a technique was applied to; None where that is the float network, or was not timed."""
    base = BASES.get(technique)
    speedups = {b: speedup_over(t[base], t[technique]) for b, t in timed.items() if base and base in t}
    return BaseSpeedups(technique=base, speedups=speedups) if base and speedups else None


def _accuracy(classes: Labels, labels: Labels, reference: Labels) -> Accuracy:
    """Return the accuracy of a variant, relative to the float network."""
    right, base_right = classes == labels, reference == labels
    share = share_interval(int(right.sum()), len(right))
    p = mcnemar_p(int(np.sum(base_right & ~right)), int(np.sum(right & ~base_right)))
    lost = float(base_right.mean() - right.mean())
    return Accuracy(
        fraction=share.value,
        interval=(share.low, share.high),
        mcnemar_p=p,
        is_worse=p < SIGNIFICANT and lost > 0,
        lost_fraction=lost,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Costs:
    """Memory, processor time and energy of one input, as far as they are known."""

    peak_bytes: int | None = None
    cpu_s: float | None = None
    energy_j: float | None = None
    energy_source: EnergySource | None = None


def _costs(spec: EdgeSpec, variant: Variant, inputs: Path) -> _Costs:
    """Return what a graph costs; of two graphs in a row the memory is added, the rest is not known."""
    graphs = [g for g in dict.fromkeys(variant.graphs) if g.stem != "exit-rest"]
    try:
        costs = [footprint(g, threads=spec.threads, inputs=[inputs]) for g in graphs]
    except FootprintFailed:
        return _Costs()
    peak = sum(c.peak_bytes for c in costs)
    if len(variant.graphs) > 1:
        return _Costs(peak_bytes=peak)
    energy_j, source = costs[0].energy(spec.watts_per_core)
    return _Costs(peak_bytes=peak, cpu_s=costs[0].cpu_s, energy_j=energy_j, energy_source=source)
