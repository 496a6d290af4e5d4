"""Small trained networks that fuse an image with its caption: modality dropout, routing, precision by tower, and two threads."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from workbench.core.language import gettext_noop
from workbench.core.progress import Progress
from workbench.core.statistics import mcnemar_p, middle_95, resampled_mean_interval, share_interval
from workbench.estimate.cascade import HeldOut, guaranteed_threshold, softmax_confidence
from workbench.measuring.envelope import Record
from workbench.measuring.interleaved import BatchTimes, batch_times, interleaved_times
from workbench.questions.multimodal.fusion.rows import (
    BASE,
    Accuracy,
    CorruptedInputs,
    DropoutGain,
    MissingImages,
    Precision,
    Routing,
    TwoThreads,
)
from workbench.questions.multimodal.fusion.spec import FusionSpec
from workbench.telemetry.devices import chosen_device
from workbench.vision.captions import captions
from workbench.vision.digits import Digits, corrupted_images, digits
from workbench.vision.fused_graphs import Towers, export_towers, load_network, wide_towers, with_int8
from workbench.vision.fusion import DROPOUT, FusedNet, fused_logits, train_fused
from workbench.vision.fusions import FUSIONS
from workbench.vision.sessions import Floats, Graph

DRAWS = 2000
TEST_SEED, VALIDATION_SEED = 501, 502  # of captions; training draws others
PRECISIONS: dict[str, tuple[str, ...]] = {
    BASE: (),
    gettext_noop("image in INT8"): ("image",),
    gettext_noop("caption in INT8"): ("text",),
    gettext_noop("both in INT8"): ("image", "text"),
}
WIDTHS = (64, 256, 1024)
"""Widths of two equal towers with random weights."""
BATCHES = (1, 64)
Right = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int64]
Answer: TypeAlias = Callable[[Ids], object]
"""A function that answers the inputs at some indices."""


def measure(spec: FusionSpec, record: Record) -> Iterator[Progress]:
    """Yield progress and fill the record with accuracy, losses, routing and times of the networks."""
    record.device = chosen_device("cpu")
    rows, folder = record.rows, record.folder / "graphs"
    nets: dict[tuple[str, bool], FusedNet] = {}
    for n, kind in enumerate(spec.fusions):
        for has_dropout in (False, True):
            verb = "training" if spec.retrain else "opening"
            yield Progress(step=f"{verb}: {FUSIONS[kind]}", done=10 * n / len(spec.fusions), total=100)
            if spec.retrain:
                net = train_fused(kind, digits().train, dropout=DROPOUT * has_dropout, seed=spec.seed)
            else:
                net = load_network(kind, has_dropout=has_dropout)
            nets[kind, has_dropout] = net
    test = _repeated(digits().test, spec.captions_each)
    words = captions(test.labels, seed=TEST_SEED).ids
    for n, kind in enumerate(spec.fusions):
        yield Progress(
            step=gettext_noop("missing and corrupted: {kind}").format(kind=kind),
            done=10 + 30 * n / len(spec.fusions),
            total=100,
        )
        rows += fusion_rows(spec, kind, {d: nets[kind, d] for d in (False, True)}, test, words)
    yield Progress(step=gettext_noop("towers as graphs"), done=42, total=100)
    towers = export_towers(nets[spec.routed, True], folder, images=test.images, ids=words)
    rows.append(routing(spec, towers, test, words))
    yield Progress(step=gettext_noop("precision by tower"), done=50, total=100)
    rows += precisions(spec, towers, test, words)
    yield Progress(step=gettext_noop("towers in one and in two threads"), done=75, total=100)
    rows += two_threads(spec, towers, test, words, folder)


def _repeated(part: Digits, times: int) -> Digits:
    """Return every image several times, to get a caption of its own each time."""
    return Digits(images=np.repeat(part.images, times, axis=0), labels=np.repeat(part.labels, times))


def fusion_rows(
    spec: FusionSpec, kind: str, nets: Mapping[bool, FusedNet], test: Digits, words: Ids
) -> Iterator[MissingImages | CorruptedInputs | DropoutGain]:
    """Yield the accuracy by share of missing images, with corrupted images and without captions, with and without modality dropout.

    Intervals draw images with all their captions, since those of an image are alike.
    """
    draw = np.random.default_rng(spec.seed + 11).random(len(test))
    noisy = corrupted_images(test.images, seed=spec.seed + 7)
    drops: dict[bool, Right] = {}
    for has_dropout, net in nets.items():
        whole = fused_logits(net, {"image": test.images, "text": words}).argmax(1) == test.labels
        blind = fused_logits(net, {"text": words}).argmax(1) == test.labels
        for share in spec.missing:
            accuracy = _accuracy(np.where(draw < share, blind, whole), spec)
            yield MissingImages(fusion=kind, has_dropout=has_dropout, missing_fraction=share, accuracy=accuracy)
        others = {
            gettext_noop("corrupted images"): fused_logits(net, {"image": noisy, "text": words}),
            gettext_noop("corrupted images, no captions"): fused_logits(net, {"image": noisy}),
            gettext_noop("no captions"): fused_logits(net, {"image": test.images}),
        }
        for name, logits in others.items():
            accuracy = _accuracy(logits.argmax(1) == test.labels, spec)
            yield CorruptedInputs(fusion=kind, has_dropout=has_dropout, inputs=name, accuracy=accuracy)
        drops[has_dropout] = np.stack([whole, np.where(draw < 0.5, blind, whole)])
    yield _dropout_gain(kind, drops, spec)


def _groups(values: Right, spec: FusionSpec) -> npt.NDArray[np.float64]:
    """Return the mean over all captions of each image."""
    return np.asarray(values.reshape(-1, spec.captions_each).mean(1))


def _accuracy(right: Right, spec: FusionSpec) -> Accuracy:
    means = _groups(right, spec)
    interval = resampled_mean_interval(means, seed=spec.seed)
    return Accuracy(fraction=float(means.mean()), interval=interval, n=len(right))


def _dropout_gain(kind: str, drops: Mapping[bool, Right], spec: FusionSpec) -> DropoutGain:
    """Return the accuracy that half of the images missing costs with modality dropout, over what it costs without."""
    lost = {d: _groups(both[0], spec) - _groups(both[1], spec) for d, both in drops.items()}
    n = len(lost[True])
    at = np.random.default_rng(spec.seed).integers(0, n, (DRAWS, n))
    ratios = lost[True][at].mean(1) / np.maximum(lost[False][at].mean(1), 1e-9)
    return DropoutGain(
        fusion=kind,
        lost_without_dropout_fraction=float(lost[False].mean()),
        lost_with_dropout_fraction=float(lost[True].mean()),
        ratio=float(lost[True].mean() / max(lost[False].mean(), 1e-9)),
        ratio_interval=middle_95(ratios),
    )


def routing(spec: FusionSpec, towers: Towers, test: Digits, words: Ids) -> Routing:
    """Return the threshold from which on the caption decides and the image is skipped, its guarantee, and what it saves."""
    part = _repeated(digits().validation, spec.captions_each)
    ids = captions(part.labels, seed=VALIDATION_SEED).ids
    alone = towers.words(ids)[0]
    whole = towers.logits(part.images, ids).argmax(1) == part.labels
    # One caption of each image: the guarantee counts independent inputs.
    one = slice(None, None, spec.captions_each)
    threshold = guaranteed_threshold(
        softmax_confidence(alone)[one],
        (whole & (alone.argmax(1) != part.labels))[one],
        most_lost=spec.most_lost,
        level=spec.level,
    )
    logits, skipped = towers.routed(test.images, words, confidence=threshold.confidence)
    both = towers.logits(test.images, words).argmax(1) == test.labels
    variants: dict[str, Answer] = {
        "always": lambda at: towers.logits(test.images[at], words[at]),
        "routed": lambda at: towers.routed(test.images[at], words[at], confidence=threshold.confidence),
    }
    return Routing(
        fusion=spec.routed,
        threshold=threshold,
        held_out=HeldOut(
            lost_fraction=float(np.mean(both & (logits.argmax(1) != test.labels))),
            exit_fraction=float(skipped.mean()),
            n=len(test),
        ),
        accuracy_routed_fraction=float(np.mean(logits.argmax(1) == test.labels)),
        accuracy_always_fraction=float(both.mean()),
        times=_times(variants, len(test), spec, base="always")["routed"],
    )


def _times(variants: Mapping[str, Answer], n: int, spec: FusionSpec, *, base: str) -> dict[str, dict[int, BatchTimes]]:
    """Return the times of each variant by batch, interleaved, with the speed-up over the base; variants take indices below ``n``."""
    order = np.random.default_rng(spec.seed).permutation(n)
    times: dict[str, dict[int, BatchTimes]] = {name: {} for name in variants}
    for batch in BATCHES:
        timed = interleaved_times(variants, order, batch=batch, rounds=spec.rounds, seed=spec.seed)
        for name, own in timed.items():
            reference = None if name == base else timed[base]
            times[name][batch] = batch_times(own, reference=reference)
    return times


def precisions(spec: FusionSpec, towers: Towers, test: Digits, words: Ids) -> Iterator[Precision]:
    """Yield the towers in INT8, each alone and both together."""
    train = digits().train
    ids = captions(train.labels, seed=spec.seed + 3).ids
    networks = {name: with_int8(towers, which, images=train.images, ids=ids) for name, which in PRECISIONS.items()}
    answers = {name: t.logits(test.images, words).argmax(1) for name, t in networks.items()}
    base = answers[BASE] == test.labels

    def answer(network: Towers) -> Answer:
        return lambda at: network.logits(test.images[at], words[at])

    times = _times({name: answer(t) for name, t in networks.items()}, len(test), spec, base=BASE)
    for name, network in networks.items():
        right = answers[name] == test.labels
        share = share_interval(int(right.sum()), len(right))
        yield Precision(
            towers=name,
            n_bytes=network.n_bytes,
            accuracy=Accuracy(fraction=share.value, interval=(share.low, share.high), n=len(right)),
            flips=int(np.sum(answers[name] != answers[BASE])),
            mcnemar_p=mcnemar_p(int(np.sum(base & ~right)), int(np.sum(right & ~base))),
            times=times[name],
        )


def two_threads(spec: FusionSpec, towers: Towers, test: Digits, words: Ids, folder: Path) -> Iterator[TwoThreads]:
    """Yield the times of both towers in two threads, relative to one: the network's own, and equal towers of growing width."""

    def row(name: str, n: int, *, one: Answer, two: Answer) -> TwoThreads:
        return TwoThreads(towers=name, times=_times({"one": one, "two": two}, n, spec, base="one")["two"])

    yield row(
        gettext_noop("the network's own towers"),
        len(test),
        one=lambda at: towers.logits(test.images[at], words[at]),
        two=lambda at: towers.logits_in_two_threads(test.images[at], words[at]),
    )
    with ThreadPoolExecutor(1) as pool:
        for width in WIDTHS:
            x = np.random.default_rng(spec.seed).standard_normal((256, width)).astype(np.float32)
            one, two = _wide_answers(*wide_towers(folder, width=width), x, pool)
            yield row(gettext_noop("two towers of width {width}").format(width=width), len(x), one=one, two=two)


def _wide_answers(left: Graph, right: Graph, x: Floats, pool: ThreadPoolExecutor) -> tuple[Answer, Answer]:
    """Return both towers one after the other, and in two threads."""

    def one_thread(at: Ids) -> object:
        return left.logits(x[at]), right.logits(x[at])

    def both_threads(at: Ids) -> object:
        other = pool.submit(right.logits, x[at])
        return left.logits(x[at]), other.result()

    return one_thread, both_threads
