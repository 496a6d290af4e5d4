"""Accuracy and speed of two modalities: the verdict, and the columns and rows of the tables."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from workbench.core.columns import Columns
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.stored_texts import translated
from workbench.core.units import shown_duration, shown_percent
from workbench.core.verdict import Verdict, objections
from workbench.measuring.interleaved import BatchTimes, shown_verdict
from workbench.questions.multimodal.fusion.rows import (
    CorruptedInputs,
    DropoutGain,
    Precision,
    TwoThreads,
    routing_of,
    times_by_label,
)
from workbench.vision.fusions import FUSIONS

ROUTING_HEAD = (gettext("Quantity"), gettext("measured"))
SPEEDUP_HEAD = (gettext("Variant"), gettext("batch size"), gettext("speed-up"))
TWO_THREADS = gettext(
    "Handing work to another thread costs tens of microseconds, so small towers become slower. The FAQ's code "
    "claims to run modalities in parallel, but loops over them."
)


def shown_fusion(name: str) -> str:
    """Return the name of a fusion in the reader's language."""
    return {"early": gettext("early"), "mid": gettext("mid"), "late": gettext("late")}.get(name, name)


def shown_towers(towers: str) -> str:
    """Return towers and their precision in the reader's language; rows keep them in English."""
    return translated(towers, domain="multimodal")


def _interval(value: float, interval: Sequence[float], *, factor: float = 1.0, digits: int = 2, unit: str = "") -> str:
    low, high = (f"{factor * x:.{digits}f}" for x in interval)
    return gettext("{value} ({low} to {high})").format(value=f"{factor * value:.{digits}f}{unit}", low=low, high=high)


def _accuracy(r: CorruptedInputs | Precision) -> str:
    return _interval(r.accuracy.fraction, r.accuracy.interval, factor=100, digits=1, unit=" %")


def _speedup(t: BatchTimes) -> str:
    if t.speedup is None:
        return "1"
    return gettext("{speedup}, {verdict}").format(
        speedup=_interval(t.speedup.ratio, t.speedup.ratio_interval), verdict=shown_verdict(t.speedup.verdict)
    )


def _points(fraction: float) -> str:
    return gettext("{points:.1f} points").format(points=100 * fraction)


DROP_COLUMNS: Columns[DropoutGain] = {
    gettext("Fusion"): lambda r: gettext(FUSIONS[r.fusion]),
    gettext("accuracy loss without modality dropout"): lambda r: _points(r.lost_without_dropout_fraction),
    gettext("accuracy loss with modality dropout"): lambda r: _points(r.lost_with_dropout_fraction),
    gettext("ratio"): lambda r: _interval(r.ratio, r.ratio_interval),
}
"""Columns of a fusion: accuracy lost with half of the images missing."""
CORRUPTED_COLUMNS: Columns[CorruptedInputs] = {
    gettext("Fusion"): lambda r: shown_fusion(r.fusion),
    gettext("modality dropout"): lambda r: gettext("yes") if r.has_dropout else gettext("no"),
    gettext("input"): lambda r: gettext(r.inputs),
    gettext("accuracy"): _accuracy,
}
"""Columns of a fusion with noise and hidden parts, or missing captions."""


def verdict(run: Run) -> Verdict:
    """Return the accuracy that modality dropout saves, and the images that routing skips."""
    drops, r = run.rows(DropoutGain), routing_of(run)
    best = min(drops, key=lambda d: d.ratio)
    is_gain = best.ratio_interval[1] < 1
    same = [shown_fusion(d.fusion) for d in drops if d is not best and d.ratio_interval[1] >= 1]
    speeds = {b: t.speedup for b, t in r.times.items() if t.speedup}
    slower = [
        gettext("{ratio:.2f} at batch size {batch}").format(ratio=s.ratio, batch=b)
        for b, s in speeds.items()
        if s.verdict == "slower"
    ]
    unclear = [
        gettext("{ratio:.2f} at batch size {batch}").format(ratio=s.ratio, batch=b)
        for b, s in speeds.items()
        if s.verdict == "no difference shown"
    ]
    points = []
    if slower:
        points.append(
            gettext("routing is slower than always reading the image, with a speed-up of {slower}").format(
                slower=gettext(", ").join(slower)
            )
        )
    if unclear:
        points.append(
            gettext("routing is not shown to be faster, with a speed-up of {unclear}").format(
                unclear=gettext(", ").join(unclear)
            )
        )
    if r.held_out.lost_fraction > r.threshold.limit_fraction:
        points.append(gettext("on held-out data routing loses more than it guarantees"))
    if same:
        points.append(
            gettext("modality dropout is not shown to help {same} fusion").format(same=gettext(", ").join(same))
        )
    words = gettext(", ").join(
        gettext("{ratio:.2f} at batch size {batch}").format(ratio=s.ratio, batch=b) for b, s in speeds.items()
    )
    return Verdict(
        headline=gettext(
            "With half of the images missing, {fusion} fusion loses {without:.0f} points of "
            "accuracy without modality dropout in training, and {with_it:.0f} points with it."
        ).format(
            fusion=shown_fusion(best.fusion),
            without=100 * best.lost_without_dropout_fraction,
            with_it=100 * best.lost_with_dropout_fraction,
        ),
        evidence=gettext(
            "The ratio of the losses is {ratio}. Routing skips {skipped} of the images, loses {lost} of "
            "the answers (guaranteed: at most {limit}), and has a speed-up of {speedups}."
        ).format(
            ratio=_interval(best.ratio, best.ratio_interval),
            skipped=shown_percent(r.held_out.exit_fraction),
            lost=shown_percent(r.held_out.lost_fraction, 1),
            limit=shown_percent(r.threshold.limit_fraction, 1),
            speedups=words or gettext("not known"),
        ),
        objection=objections(points),
        scope=gettext(
            "The data are digits of 8 by 8 pixels with generated captions; on your data the shares will differ."
        ),
        answer="yes" if is_gain else "no",
    )


def routing_rows(run: Run) -> list[tuple[str, str]]:
    """Return the threshold, its guarantee, and what held-out data gave."""
    r = routing_of(run)
    t, held_out = r.threshold, r.held_out
    guarantee = gettext("at most {limit}, {level} confidence, from {n:,} inputs").format(
        limit=shown_percent(t.limit_fraction, 1), level=shown_percent(t.level), n=t.n
    )
    return [
        (gettext("confidence threshold of the caption"), f"{t.confidence:.3f}"),
        (gettext("guaranteed accuracy loss"), guarantee),
        (
            gettext("images skipped on held-out data"),
            gettext("{share} of {n:,}").format(share=shown_percent(held_out.exit_fraction, 1), n=held_out.n),
        ),
        (gettext("accuracy loss on held-out data"), shown_percent(held_out.lost_fraction, 2)),
        (
            gettext("accuracy with all images / routed"),
            f"{100 * r.accuracy_always_fraction:.2f} / {100 * r.accuracy_routed_fraction:.2f} %",
        ),
        *((gettext("speed-up, batch size {batch}").format(batch=b), _speedup(times)) for b, times in r.times.items()),
    ]


T = TypeVar("T", Precision, TwoThreads)


def _by_batch(rows: Sequence[T], title: str, shown: Callable[[BatchTimes], str]) -> dict[str, Callable[[T], str]]:
    def column(batch: int) -> Callable[[T], str]:
        return lambda row: shown(row.times[batch])

    return {gettext("{title}, batch size {batch}").format(title=title, batch=b): column(b) for b in rows[0].times}


def precision_columns(rows: Sequence[Precision]) -> Columns[Precision]:
    """Return the columns of towers in INT8: accuracy, size and speed."""
    return {
        gettext("Towers"): lambda r: shown_towers(r.towers),
        gettext("accuracy"): _accuracy,
        gettext("flips"): lambda r: gettext("{share} of {n:,}").format(share=f"{r.flips:,}", n=r.accuracy.n),
        "McNemar p": lambda r: f"{r.mcnemar_p:.2g}",
        "kB": lambda r: f"{r.n_bytes / 1e3:.0f}",
        **_by_batch(rows, gettext("speed-up"), _speedup),
    }


def parallel_columns(rows: Sequence[TwoThreads]) -> Columns[TwoThreads]:
    """Return the columns of two threads compared with one."""
    times = _by_batch(rows, "p50", lambda t: shown_duration(t.p50_s))
    return {
        gettext("Towers"): lambda r: shown_towers(r.towers),
        **times,
        **_by_batch(rows, gettext("speed-up"), _speedup),
    }


def speedup_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``SPEEDUP_HEAD`` for everything that was timed with a reference."""
    by_label = times_by_label(run).items()
    return [
        (shown_towers(label), str(b), _speedup(t)) for label, times in by_label for b, t in times.items() if t.speedup
    ]
