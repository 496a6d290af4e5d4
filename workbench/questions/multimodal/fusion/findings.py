"""Accuracy and speed of two modalities: the verdict, and the columns and rows of the tables."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from workbench.core.columns import Columns
from workbench.core.runs import Run
from workbench.core.units import shown_duration, shown_percent
from workbench.core.verdict import Verdict, objections
from workbench.measuring.interleaved import BatchTimes
from workbench.questions.multimodal.fusion.rows import (
    CorruptedInputs,
    DropoutGain,
    Precision,
    TwoThreads,
    routing_of,
    times_by_label,
)
from workbench.vision.fusions import FUSIONS

ROUTING_HEAD = ("Quantity", "measured")
SPEEDUP_HEAD = ("Variant", "batch size", "speed-up")
TWO_THREADS = (
    "Handing work to another thread costs tens of microseconds, so small towers become slower. The FAQ's code claims to run modalities "
    "in parallel, but loops over them."
)


def _interval(value: float, interval: Sequence[float], *, factor: float = 1.0, digits: int = 2, unit: str = "") -> str:
    low, high = (f"{factor * x:.{digits}f}" for x in interval)
    return f"{factor * value:.{digits}f}{unit} ({low} to {high})"


def _accuracy(r: CorruptedInputs | Precision) -> str:
    return _interval(r.accuracy.fraction, r.accuracy.interval, factor=100, digits=1, unit=" %")


def _speedup(t: BatchTimes) -> str:
    if t.speedup is None:
        return "1"
    return f"{_interval(t.speedup.ratio, t.speedup.ratio_interval)}, {t.speedup.verdict}"


DROP_COLUMNS: Columns[DropoutGain] = {
    "Fusion": lambda r: FUSIONS[r.fusion],
    "accuracy loss without modality dropout": lambda r: f"{100 * r.lost_without_dropout_fraction:.1f} points",
    "accuracy loss with modality dropout": lambda r: f"{100 * r.lost_with_dropout_fraction:.1f} points",
    "ratio": lambda r: _interval(r.ratio, r.ratio_interval),
}
"""Columns of a fusion: accuracy lost with half of the images missing."""
CORRUPTED_COLUMNS: Columns[CorruptedInputs] = {
    "Fusion": lambda r: r.fusion,
    "modality dropout": lambda r: "yes" if r.has_dropout else "no",
    "input": lambda r: r.inputs,
    "accuracy": _accuracy,
}
"""Columns of a fusion with noise and hidden parts, or missing captions."""


def verdict(run: Run) -> Verdict:
    """Return the accuracy that modality dropout saves, and the images that routing skips."""
    drops, r = run.rows(DropoutGain), routing_of(run)
    best = min(drops, key=lambda d: d.ratio)
    is_gain = best.ratio_interval[1] < 1
    same = [d.fusion for d in drops if d is not best and d.ratio_interval[1] >= 1]
    speeds = {b: t.speedup for b, t in r.times.items() if t.speedup}
    slower = [f"{s.ratio:.2f} at batch size {b}" for b, s in speeds.items() if s.verdict == "slower"]
    unclear = [f"{s.ratio:.2f} at batch size {b}" for b, s in speeds.items() if s.verdict == "no difference shown"]
    points = []
    if slower:
        points.append(f"routing is slower than always reading the image, with a speed-up of {', '.join(slower)}")
    if unclear:
        points.append(f"routing is not shown to be faster, with a speed-up of {', '.join(unclear)}")
    if r.held_out.lost_fraction > r.threshold.limit_fraction:
        points.append("on held-out data routing loses more than it guarantees")
    if same:
        points.append(f"modality dropout is not shown to help {', '.join(same)} fusion")
    words = ", ".join(f"{s.ratio:.2f} at batch size {b}" for b, s in speeds.items())
    return Verdict(
        headline=f"With half of the images missing, {best.fusion} fusion loses {100 * best.lost_without_dropout_fraction:.0f} points of accuracy without "
        f"modality dropout in training, and {100 * best.lost_with_dropout_fraction:.0f} points with it.",
        evidence=f"The ratio of the losses is {_interval(best.ratio, best.ratio_interval)}. Routing skips "
        f"{shown_percent(r.held_out.exit_fraction)} of the images, loses {shown_percent(r.held_out.lost_fraction, 1)} of the "
        f"answers (guaranteed: at most {shown_percent(r.threshold.limit_fraction, 1)}), and has a speed-up of {words or 'not known'}.",
        objection=objections(points),
        scope="The data are digits of 8 by 8 pixels with generated captions; on your data the shares will differ.",
        answer="yes" if is_gain else "no",
    )


def routing_rows(run: Run) -> list[tuple[str, str]]:
    """Return the threshold, its guarantee, and what held-out data gave."""
    r = routing_of(run)
    t, held_out = r.threshold, r.held_out
    guarantee = (
        f"at most {shown_percent(t.limit_fraction, 1)}, {shown_percent(t.level)} confidence, from {t.n:,} inputs"
    )
    return [
        ("confidence threshold of the caption", f"{t.confidence:.3f}"),
        ("guaranteed accuracy loss", guarantee),
        ("images skipped on held-out data", f"{shown_percent(held_out.exit_fraction, 1)} of {held_out.n:,}"),
        ("accuracy loss on held-out data", shown_percent(held_out.lost_fraction, 2)),
        (
            "accuracy with all images / routed",
            f"{100 * r.accuracy_always_fraction:.2f} / {100 * r.accuracy_routed_fraction:.2f} %",
        ),
        *((f"speed-up, batch size {b}", _speedup(times)) for b, times in r.times.items()),
    ]


T = TypeVar("T", Precision, TwoThreads)


def _by_batch(rows: Sequence[T], title: str, shown: Callable[[BatchTimes], str]) -> dict[str, Callable[[T], str]]:
    def column(batch: int) -> Callable[[T], str]:
        return lambda row: shown(row.times[batch])

    return {f"{title}, batch size {b}": column(b) for b in rows[0].times}


def precision_columns(rows: Sequence[Precision]) -> Columns[Precision]:
    """Return the columns of towers in INT8: accuracy, size and speed."""
    return {
        "Towers": lambda r: r.towers,
        "accuracy": _accuracy,
        "flips": lambda r: f"{r.flips:,} of {r.accuracy.n:,}",
        "McNemar p": lambda r: f"{r.mcnemar_p:.2g}",
        "kB": lambda r: f"{r.n_bytes / 1e3:.0f}",
        **_by_batch(rows, "speed-up", _speedup),
    }


def parallel_columns(rows: Sequence[TwoThreads]) -> Columns[TwoThreads]:
    """Return the columns of two threads compared with one."""
    times = _by_batch(rows, "p50", lambda t: shown_duration(t.p50_s))
    return {"Towers": lambda r: r.towers, **times, **_by_batch(rows, "speed-up", _speedup)}


def speedup_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``SPEEDUP_HEAD`` for everything that was timed with a reference."""
    by_label = times_by_label(run).items()
    return [(label, str(b), _speedup(t)) for label, times in by_label for b, t in times.items() if t.speedup]
