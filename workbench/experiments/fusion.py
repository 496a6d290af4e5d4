"""A picture and its caption: what fusion, dropped modalities, routing, precision by tower and two threads do to a small trained network."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.fusion import FUSIONS, FusionSpec
from workbench.core.progress import Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.statistics import mcnemar_p, share_interval
from workbench.estimate.cascade import guaranteed_threshold, softmax_confidence
from workbench.experiments.edge_timing import compared, in_turns, times_of
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment
from workbench.vision.captions import captions
from workbench.vision.digits import Digits, corrupted, digits
from workbench.vision.fused_graphs import Towers, exported, kept, wide_towers, with_int8
from workbench.vision.fusion import DROPOUT, FusedNet, answered, train_fused

KIND = "fusion"
DRAWS = 2000
TEST_SEED, VALIDATION_SEED = 501, 502  # of captions; training draws others
PRECISIONS: dict[str, tuple[str, ...]] = {
    "both float32": (),
    "picture in INT8": ("image",),
    "caption in INT8": ("text",),
    "both in INT8": ("image", "text"),
}
WIDTHS = (64, 256, 1024)
"""Of two equal towers with random weights."""
BATCHES = (1, 64)
Right = npt.NDArray[np.bool_]


def run(spec: FusionSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measure(spec, Path(folder)), on_progress)


def measure(spec: FusionSpec, folder: Path) -> Iterator[Progress | Run]:
    """Progress and, last, the run."""
    started_at = utc_now()
    rows: list[Mapping[str, Any]] = []
    nets: dict[tuple[str, bool], FusedNet] = {}
    for n, kind in enumerate(spec.fusions):
        for has_dropout in (False, True):
            verb = "training" if spec.retrain else "opening"
            yield Progress(step=f"{verb}: {FUSIONS[kind]}", done=10 * n / len(spec.fusions), total=100)
            nets[kind, has_dropout] = (
                train_fused(kind, digits()["train"], dropout=DROPOUT * has_dropout, seed=spec.seed)
                if spec.retrain
                else kept(kind, has_dropout=has_dropout)
            )
    test = _repeated(digits()["test"], spec.captions_each)
    words = captions(test.labels, seed=TEST_SEED).ids
    for n, kind in enumerate(spec.fusions):
        yield Progress(step=f"missing and worn: {kind}", done=10 + 30 * n / len(spec.fusions), total=100)
        rows += fusion_rows(spec, kind, {d: nets[kind, d] for d in (False, True)}, test, words)
    net = nets[spec.routed, True]
    yield Progress(step="towers as graphs", done=42, total=100)
    towers = exported(net, folder / "graphs", pictures=test.pictures, ids=words)
    rows.append(routing_row(spec, towers, test, words))
    yield Progress(step="precision by tower", done=50, total=100)
    rows += precision_rows(spec, towers, test, words)
    yield Progress(step="one after the other and side by side", done=75, total=100)
    rows += parallel_rows(spec, towers, test, words, folder / "graphs")
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(chosen_device("cpu")),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=rows,
        samples={},
        failures=[],
    )


def _repeated(part: Digits, times: int) -> Digits:
    """Every picture so often, with a caption of its own each time."""
    return Digits(pictures=np.repeat(part.pictures, times, axis=0), labels=np.repeat(part.labels, times))


def fusion_rows(
    spec: FusionSpec, kind: str, nets: Mapping[bool, FusedNet], test: Digits, words: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Accuracy by share of missing pictures, with worn pictures and without captions, of a network with and without dropped modalities.

    Intervals draw pictures with all their captions, since those of a picture are alike.
    """
    rows: list[dict[str, Any]] = []
    draw = np.random.default_rng(spec.seed + 11).random(len(test))
    worn = corrupted(test.pictures, seed=spec.seed + 7)
    drops: dict[bool, Right] = {}
    for has_dropout, net in nets.items():
        whole = answered(net, {"image": test.pictures, "text": words}).argmax(1) == test.labels
        blind = answered(net, {"text": words}).argmax(1) == test.labels
        own = {"fusion": kind, "has_dropout": has_dropout, "provenance": "measured"}
        for share in spec.missing:
            right = np.where(draw < share, blind, whole)
            rows.append({"part": "missing", **own, "missing": share, **_accuracy(right, spec)})
        others = {
            "worn pictures": answered(net, {"image": worn, "text": words}),
            "worn pictures, no captions": answered(net, {"image": worn}),
            "no captions": answered(net, {"image": test.pictures}),
        }
        for name, logits in others.items():
            rows.append({"part": "worn", **own, "what": name, **_accuracy(logits.argmax(1) == test.labels, spec)})
        drops[has_dropout] = np.stack([whole, np.where(draw < 0.5, blind, whole)])
    rows.append({"part": "drop", "fusion": kind, **_drop_ratio(drops, spec), "provenance": "measured"})
    return rows


def _groups(values: Right, spec: FusionSpec) -> npt.NDArray[np.float64]:
    """Means of all captions of each picture."""
    return np.asarray(values.reshape(-1, spec.captions_each).mean(1))


def _accuracy(right: Right, spec: FusionSpec) -> dict[str, Any]:
    means = _groups(right, spec)
    drawn = np.random.default_rng(spec.seed).choice(means, (DRAWS, len(means))).mean(1)
    low, high = (float(v) for v in np.quantile(drawn, [0.025, 0.975]))
    return {"accuracy": float(means.mean()), "accuracy_interval": [low, high], "n": len(right)}


def _drop_ratio(drops: Mapping[bool, Right], spec: FusionSpec) -> dict[str, Any]:
    """Accuracy that half of the pictures missing costs with dropped modalities, over what it costs without."""
    lost = {d: _groups(both[0], spec) - _groups(both[1], spec) for d, both in drops.items()}
    n = len(lost[True])
    at = np.random.default_rng(spec.seed).integers(0, n, (DRAWS, n))
    ratios = lost[True][at].mean(1) / np.maximum(lost[False][at].mean(1), 1e-9)
    low, high = (float(v) for v in np.quantile(ratios, [0.025, 0.975]))
    return {
        "drop_without": float(lost[False].mean()),
        "drop_with": float(lost[True].mean()),
        "ratio": float(lost[True].mean() / max(lost[False].mean(), 1e-9)),
        "ratio_interval": [low, high],
    }


def routing_row(spec: FusionSpec, towers: Towers, test: Digits, words: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Skipping the picture where the caption decides: a threshold with a guarantee, and what it saves."""
    part = _repeated(digits()["validation"], spec.captions_each)
    ids = captions(part.labels, seed=VALIDATION_SEED).ids
    alone = towers.words(ids)[0]
    whole = towers.logits(part.pictures, ids).argmax(1) == part.labels
    # One caption of each picture: the guarantee counts independent inputs.
    one = slice(None, None, spec.captions_each)
    found = guaranteed_threshold(
        softmax_confidence(alone)[one],
        (whole & (alone.argmax(1) != part.labels))[one],
        most_lost=spec.most_lost,
        level=spec.level,
    )
    logits, skipped = towers.routed(test.pictures, words, confidence=found.confidence)
    both = towers.logits(test.pictures, words).argmax(1) == test.labels
    times: dict[str, Any] = {}
    for batch in BATCHES:
        named = {
            "always": lambda at: towers.logits(test.pictures[at], words[at]),
            "routed": lambda at: towers.routed(test.pictures[at], words[at], confidence=found.confidence),
        }
        timed = _timed(named, len(test), batch=batch, rounds=spec.rounds, seed=spec.seed)
        times[str(batch)] = times_of(timed["routed"]) | compared(timed["always"], timed["routed"], seed=spec.seed)
    return {
        "part": "routing",
        "fusion": spec.routed,
        **asdict(found),
        "held_out_skipped_fraction": float(skipped.mean()),
        "held_out_lost_fraction": float(np.mean(both & (logits.argmax(1) != test.labels))),
        "accuracy": float(np.mean(logits.argmax(1) == test.labels)),
        "accuracy_always": float(both.mean()),
        "n_held_out": len(test),
        "times": times,
        "provenance": "measured",
    }


def _timed(named: Mapping[str, Any], n: int, *, batch: int, rounds: int, seed: int) -> dict[str, Any]:
    """In turns; what is timed takes indices."""
    order: Any = np.random.default_rng(seed).permutation(n)
    found: Any = None
    for item in in_turns(named, order, batch=batch, rounds=rounds, seed=seed):
        found = item
    return found  # type: ignore[no-any-return]


def precision_rows(
    spec: FusionSpec, towers: Towers, test: Digits, words: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Each tower in INT8, alone and with the other."""
    train = digits()["train"]
    ids = captions(train.labels, seed=spec.seed + 3).ids
    made = {name: with_int8(towers, which, pictures=train.pictures, ids=ids) for name, which in PRECISIONS.items()}
    said = {name: t.logits(test.pictures, words).argmax(1) for name, t in made.items()}
    base = said["both float32"] == test.labels
    times: dict[str, dict[str, Any]] = {name: {} for name in made}
    for batch in BATCHES:
        named = {name: (lambda at, t=t: t.logits(test.pictures[at], words[at])) for name, t in made.items()}
        timed = _timed(named, len(test), batch=batch, rounds=spec.rounds, seed=spec.seed)
        for name in made:
            beside = {} if name == "both float32" else compared(timed["both float32"], timed[name], seed=spec.seed)
            times[name][str(batch)] = times_of(timed[name]) | beside
    rows = []
    for name, t in made.items():
        right = said[name] == test.labels
        found = share_interval(int(right.sum()), len(right))
        rows.append(
            {
                "part": "precision",
                "what": name,
                "n_bytes": t.n_bytes,
                "accuracy": found.value,
                "accuracy_interval": [found.low, found.high],
                "flips": int(np.sum(said[name] != said["both float32"])),
                "mcnemar_p": mcnemar_p(int(np.sum(base & ~right)), int(np.sum(right & ~base))),
                "n": len(right),
                "times": times[name],
                "provenance": "measured",
            }
        )
    return rows


def parallel_rows(
    spec: FusionSpec, towers: Towers, test: Digits, words: npt.NDArray[np.int64], folder: Path
) -> list[dict[str, Any]]:
    """Both towers in two threads against one after the other: the network's own, and equal towers of growing width."""
    cases: list[tuple[str, Mapping[str, Any], int]] = [
        (
            "the network's own towers",
            {
                "in turn": lambda at: towers.logits(test.pictures[at], words[at]),
                "beside": lambda at: towers.logits_beside(test.pictures[at], words[at]),
            },
            len(test),
        )
    ]
    with ThreadPoolExecutor(1) as pool:
        for width in WIDTHS:
            left, right = wide_towers(folder, width=width)
            x = np.random.default_rng(spec.seed).standard_normal((256, width)).astype(np.float32)

            def beside(at: Any, left: Any = left, right: Any = right, x: Any = x) -> Any:
                other = pool.submit(right.logits, x[at])
                return left.logits(x[at]), other.result()

            def in_turn(at: Any, left: Any = left, right: Any = right, x: Any = x) -> Any:
                return left.logits(x[at]), right.logits(x[at])

            cases.append((f"two towers of width {width}", {"in turn": in_turn, "beside": beside}, len(x)))
        rows = []
        for name, named, n in cases:
            times = {}
            for batch in BATCHES:
                timed = _timed(named, n, batch=batch, rounds=spec.rounds, seed=spec.seed)
                times[str(batch)] = times_of(timed["beside"]) | compared(
                    timed["in turn"], timed["beside"], seed=spec.seed
                )
            rows.append({"part": "parallel", "what": name, "times": times, "provenance": "measured"})
    return rows
