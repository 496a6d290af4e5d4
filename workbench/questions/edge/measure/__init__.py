"""Compressions measured on this device: accuracy with intervals, size, interleaved times, memory and energy, and settings to run one with."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import stats

from workbench.catalog.models import model_spec_from
from workbench.core.language import gettext_noop
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.measuring.envelope import Record
from workbench.measuring.interleaved import BatchTimes
from workbench.questions.edge.measure.encoder import encoder_subject
from workbench.questions.edge.measure.graph import Subject, graph_subject
from workbench.questions.edge.measure.language import measure_language
from workbench.questions.edge.measure.lengths import masked_inputs, measure_lengths
from workbench.questions.edge.measure.runtimes import measure_runtimes
from workbench.questions.edge.measure.settings import adaptive_results, best_setting, settings
from workbench.questions.edge.measure.variants import measure_variants
from workbench.questions.edge.rows import Choice, Distillation, Guarantee, VariantResult
from workbench.questions.edge.spec import OWN_MODEL, EdgeSpec
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import package_version
from workbench.vision.digits import corrupted_images
from workbench.vision.sessions import Examples
from workbench.vision.variants import DigitVariants, StudentAccuracies, Variant

GRAPHS = "graphs"
GRID = ("fp32", "int8-static", "structured-half-int8", "student")
"""Techniques whose threads and batch sizes are varied."""


def measure(spec: EdgeSpec, record: Record) -> Iterator[Progress]:
    """Measure a model's compressions; ``graphs`` in the record's folder keeps the graphs, of which one can be exported."""
    graphs = record.folder / GRAPHS
    shutil.rmtree(graphs, ignore_errors=True)
    work = _digits if spec.model == OWN_MODEL else _graph if spec.model.endswith(".onnx") else _folder
    yield from work(spec, graphs, record)
    record.device = chosen_device("cpu")
    versions = {name: package_version(name) for name in ("openvino", "executorch")}
    record.packages |= {name: version for name, version in versions.items() if version is not None}


def _graph(spec: EdgeSpec, graphs: Path, record: Record) -> Iterator[Progress]:
    """Measure a user's own graph with the techniques that need no training."""
    yield from _subject(spec, graph_subject(spec, graphs), record)


def _folder(spec: EdgeSpec, graphs: Path, record: Record) -> Iterator[Progress]:
    """Measure the folder of a language model, or of an encoder."""
    if model_spec_from(spec.model).kind == "encoder":
        yield from _subject(spec, encoder_subject(spec, graphs), record)
    else:
        yield from measure_language(spec, record)


def _subject(spec: EdgeSpec, subject: Subject, record: Record) -> Iterator[Progress]:
    record.failures += subject.failures
    yield from measure_variants(
        spec,
        record,
        subject.variants,
        subject.inputs,
        subject.labels,
        batch=subject.batch,
        reference=subject.reference,
        start=0.1,
    )
    results = {r.technique: r for r in record.rows if isinstance(r, VariantResult)}
    allowed = {t: _keeps_accuracy(r, spec.most_lost) for t, r in results.items()}
    _choose(spec, record, subject.variants, subject.inputs, allowed, batch=subject.batch)
    if spec.variable_lengths:
        graph = subject.variants["fp32"].graphs[0]
        opened = partial(masked_inputs, graph, subject.varied, subject.source)
        sizes = (subject.batch,) if subject.batch else spec.timed_batches
        yield from measure_lengths(spec, record, opened, sizes=sizes, start=60)


def _digits(spec: EdgeSpec, graphs: Path, record: Record) -> Iterator[Progress]:
    """Train the digit network and measure all its compressions."""
    digits = DigitVariants(graphs, threads=spec.threads, seed=spec.seed, most_lost=spec.most_lost, level=spec.level)
    for step, share in digits.make(spec.techniques):
        yield Progress(step=step, done=30 * share, total=100)
    variants, test = {t: digits.variants[t] for t in spec.techniques}, digits.parts.test
    yield from measure_variants(
        spec,
        record,
        variants,
        test.images,
        test.labels,
        corrupted=corrupted_images(test.images, seed=spec.seed + 7),
        before=digits.before,
        start=30,
    )
    results = [row for row in record.rows if isinstance(row, VariantResult)]
    record.rows += [
        Guarantee(technique=technique, threshold=threshold, held_out=digits.held_out(technique))
        for technique, threshold in digits.thresholds.items()
        if technique in variants
    ]
    yield Progress(step=gettext_noop("other runtimes"), done=60, total=100)
    record.rows += measure_runtimes(spec, digits, test.images)
    if "student" in variants:
        for item in digits.distil_few_labels(spec.distillation_seeds, spec.labels_per_class):
            if isinstance(item, StudentAccuracies):
                record.rows += _distillations(spec, item)
            else:
                yield Progress(step=item[0], done=60 + 20 * item[1], total=100)
    yield Progress(step=gettext_noop("threads and batches"), done=82, total=100)
    allowed = {r.technique: _keeps_accuracy(r, spec.most_lost) for r in results}
    _choose(spec, record, variants, test.images, allowed)
    yield Progress(step=gettext_noop("a busy machine"), done=94, total=100)
    record.rows += adaptive_results(_levels(results, variants, allowed), test.images)


def _keeps_accuracy(result: VariantResult, most_lost: float) -> bool:
    """Return whether a technique may be chosen: its accuracy is not shown to be worse, or by no more than may be lost.

    Where classes are not known, no more answers than that may differ, and the outputs no more than that from their direction.
    """
    accuracy = result.accuracy
    if accuracy is None and result.flips is not None:
        return result.flips <= most_lost * result.n
    if accuracy is None and result.similarity is not None:
        return 1 - result.similarity.cosine_mean <= most_lost
    return accuracy is None or not accuracy.is_worse or accuracy.lost_fraction <= most_lost


def _choose(
    spec: EdgeSpec,
    record: Record,
    variants: Mapping[str, Variant],
    inputs: Examples,
    allowed: Mapping[str, bool],
    *,
    batch: int | None = None,
) -> None:
    """Measure settings of threads and batch sizes, and record the best one within the limits."""
    graphs = {t: variants[t].graphs[0] for t in GRID if t in variants and len(variants[t].graphs) == 1}
    rows = settings(spec, graphs, inputs, allowed, batch=batch)
    record.rows += rows
    best = best_setting(rows)
    if best is not None:
        record.rows.append(Choice.of(best))
        return
    cause = "No technique meets all limits at any number of threads and batch size."
    remedy = "Loosen a limit; the table of settings shows which limits each setting exceeds."
    record.failures.append(Failure(cause=cause, remedy=remedy))


def _levels(
    results: Sequence[VariantResult], variants: Mapping[str, Variant], allowed: Mapping[str, bool]
) -> list[tuple[str, Path, int]]:
    """Return the float network, the fastest graph that is accurate enough, and the one midway, from the slowest on."""

    def at_smallest_batch(result: VariantResult) -> BatchTimes:
        return result.times[min(result.times)]

    def is_faster(result: VariantResult) -> bool:
        speedup = at_smallest_batch(result).speedup
        return speedup is not None and speedup.verdict == "faster"

    single = [r for r in results if len(variants[r.technique].graphs) == 1 and allowed[r.technique]]
    usable = [r for r in single if r.technique == "fp32" or is_faster(r)]
    order = sorted(usable, key=lambda r: at_smallest_batch(r).p50_s, reverse=True)
    order = order[next(i for i, r in enumerate(order) if r.technique == "fp32") :]
    levels = [order[i] for i in sorted({0, len(order) // 2, len(order) - 1})]
    return [(r.technique, variants[r.technique].graphs[0], r.peak_bytes or r.n_bytes) for r in levels]


def _distillations(spec: EdgeSpec, students: StudentAccuracies) -> Iterator[Distillation]:
    alone = np.array(students.alone)
    teachers: tuple[tuple[Literal["same labels", "all labels"], list[float]], ...] = (
        ("same labels", students.same_labels_teacher),
        ("all labels", students.all_labels_teacher),
    )
    for teacher, accuracies in teachers:
        gains = np.array(accuracies) - alone
        gain, n, interval = float(gains.mean()), len(gains), None
        if n > 1:
            half = float(stats.t.ppf(0.975, n - 1) * gains.std(ddof=1) / np.sqrt(n))
            interval = (gain - half, gain + half)
        yield Distillation(
            teacher=teacher,
            labels_per_class=spec.labels_per_class,
            accuracy_alone_fraction=float(alone.mean()),
            accuracy_distilled_fraction=float(np.mean(accuracies)),
            gain_fraction=gain,
            gain_interval=interval,
            n_seeds=n,
        )
