"""What a run on a small device shows: the setting to run within limits, and the rows of its tables."""

from collections.abc import Sequence
from dataclasses import replace

from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.units import LEAST_FOR_P99, MIB, shown_duration, shown_p99
from workbench.core.verdict import Verdict, objections
from workbench.measuring.interleaved import Speedup, SpeedVerdict
from workbench.questions.edge.rows import (
    AdaptiveResult,
    Distillation,
    EnergySource,
    Guarantee,
    Limits,
    MeasuredSetting,
    RuntimeResult,
    Setting,
    Similarity,
    VariantResult,
)
from workbench.questions.edge.spec import TECHNIQUES

NOISY = 10.0  # times the median
TEACHER_LABELS = {"same labels": "the same labels", "all labels": "all labels"}
MARK = Provenance.MEASURED.mark
VARIANT_HEAD = (
    f"Technique {MARK}", "verdict", "speed-up", "p50", "p99", "accuracy, %", "flips", "McNemar p", "size, kB (gzip)", "memory",
    "energy of 1,000 inputs",
)  # fmt: skip
SETTING_HEAD = (f"Technique {MARK}", "threads", "batch size", "inputs/s", "p99", "memory", "power", "exceeded limits")
ADAPTIVE_HEAD = (f"Machine {MARK}", "model choice", "most used model", "p50", "p99")
GUARANTEE_HEAD = (
    f"Cascade {MARK}",
    "confidence threshold",
    "guaranteed accuracy loss",
    "held-out accuracy loss",
    "held-out early exits",
)
DISTILLATION_HEAD = (
    f"Teacher of the students {MARK}",
    "accuracy without teacher",
    "accuracy with teacher",
    "gain, points",
)
RUNTIME_HEAD = (f"Runtime {MARK}", "batch size", "p50", "p99", "speed-up over ONNX Runtime", "cores used")


def settings_under(run: Run, limits: Limits) -> list[Setting]:
    """Return the settings of a run with the limits that each exceeds; those within all limits come first, the fastest before the others."""
    settings = []
    for s in run.rows(Setting):
        broken = limits.broken(p99_s=s.times.p99_s, peak_bytes=s.peak_bytes, power_w=s.power_w)
        settings.append(replace(s, breaks=broken + (("accuracy",) if "accuracy" in s.breaks else ())))
    return sorted(settings, key=lambda s: (bool(s.breaks), -s.inputs_per_s))


def setting_words(s: MeasuredSetting) -> str:
    """Return a setting in words: its technique and conditions, then its throughput and p99 latency."""
    threads = f"{s.threads} thread{'s' if s.threads > 1 else ''}"
    p99 = shown_duration(s.times.p99_s)
    latency = (
        f"a p99 latency of {p99}"
        if s.times.n >= LEAST_FOR_P99
        else f"{p99} for nearly the longest of {s.times.n} batches"
    )
    return f"{s.technique} at {threads} and batch size {s.batch}: {s.inputs_per_s:,.0f} inputs/s with {latency}"


def verdict(variants: Sequence[VariantResult], settings: Sequence[Setting], batch: int) -> Verdict:
    """Return the setting to run, and which techniques are faster or slower than float32.

    Args:
        variants: Rows of the techniques.
        settings: Settings of ``settings_under``.
        batch: Batch size that the techniques are compared at.
    """
    by: dict[SpeedVerdict, list[str]] = {"faster": [], "slower": [], "no difference shown": []}
    for v in variants:
        if speedup := v.times[batch].speedup:
            by[speedup.verdict].append(v.technique)
    compared = [
        _sentence(by["faster"], "faster than float32") or "no technique is faster than float32",
        _sentence(by["slower"], "slower"),
        _sentence(by["no difference shown"], "not shown to differ"),
    ]
    best = settings[0] if settings and not settings[0].breaks else None
    if best is not None:
        headline, answer = f"The fastest setting within the limits is {setting_words(best)}.", "yes"
    elif settings:
        headline, answer = f"No setting is within these limits; {_nearest(settings)}.", "no"
    else:
        headline, answer = f"At batch size {batch}, {compared[0]}.", "yes" if by["faster"] else "no"
    points = _unsteady(best) if best else []
    worse = [v.technique for v in variants if v.accuracy and v.accuracy.is_worse]
    if worse:
        points.append(f"a paired test shows lower accuracy for {', '.join(worse)}")
    noisy = [v.technique for v in variants if v.times[batch].p99_s > NOISY * v.times[batch].p50_s]
    if noisy:
        points.append(f"the p99 of {', '.join(noisy)} is over {NOISY:g} times the p50: the machine was not quiet")
    noted = f"The graph was measured so: {variants[0].note}. " if variants[0].note else ""
    return Verdict(
        headline=headline,
        evidence=f"At batch size {batch}, by the median of a batch, {'; '.join(part for part in compared if part)}.",
        objection=objections(points),
        scope=f"{noted}The times are of this processor, and memory is of the largest batch.",
        answer=answer,  # type: ignore[arg-type]
        best=best.technique if best else None,
    )


def _nearest(settings: Sequence[Setting]) -> str:
    """Return the setting that exceeds the fewest limits, the fastest of them, and which they are."""
    nearest = min(settings, key=lambda s: (len(s.breaks), -s.inputs_per_s))
    return f"the nearest, {setting_words(nearest)}, exceeds {' and '.join(nearest.breaks)}"


def _unsteady(best: Setting) -> list[str]:
    points = []
    if best.times.n < LEAST_FOR_P99:
        points.append(f"the latency of this setting rests on {best.times.n} batches, too few for a p99")
    if best.times.p99_s > NOISY * best.times.p50_s:
        points.append(
            f"its longest batches take {best.times.p99_s / best.times.p50_s:.0f} times the median: the machine was not quiet"
        )
    return points


def _sentence(techniques: Sequence[str], adjective: str) -> str:
    """Return that some techniques are such; empty without any."""
    *others, last = techniques or [""]
    names = f"{', '.join(others)} and {last}" if others else last
    return f"{names} {'are' if others else 'is'} {adjective}" if techniques else ""


def ratio_words(speedup: Speedup | None) -> str:
    """Return the speed-up with its interval; 1 for the reference."""
    if speedup is None:
        return "1"
    low, high = speedup.ratio_interval
    return f"{speedup.ratio:.2f} ({low:.2f} to {high:.2f})"


def gate_words(variant: VariantResult, batch: int) -> str:
    """Return the speed verdict relative to float32, and relative to what the technique was applied to."""
    speedup, base = variant.times[batch].speedup, variant.base
    words = str(speedup.verdict) if speedup else ""
    if base is not None and (own := base.speedups.get(batch)):
        words += f"; relative to {base.technique}: {own.verdict} ({own.ratio:.2f})"
    return words


def accuracy_words(v: VariantResult) -> str:
    """Return the accuracy in percent with its interval, the perplexity of a language model, or the similarity of the outputs."""
    if v.accuracy is not None:
        low, high = v.accuracy.interval
        return f"{100 * v.accuracy.fraction:.2f} ({100 * low:.1f} to {100 * high:.1f})"
    if v.perplexity is not None:
        return f"perplexity {v.perplexity.value:.3f}"
    return similarity_words(v.similarity) if v.similarity else "not known"


def similarity_words(s: Similarity) -> str:
    """Return how near outputs are to those of the reference, and for embeddings whether the nearest texts are the same."""
    words = f"cosine {s.cosine_mean:.5f} (lowest {s.cosine_lowest:.4f}), difference {100 * s.difference_fraction:.2g} %"
    if s.same_nearest_fraction is not None and s.same_ten_nearest_fraction is not None:
        words += f"; nearest text the same for {100 * s.same_nearest_fraction:.0f} %, ten nearest {100 * s.same_ten_nearest_fraction:.0f} %"
    return words


def flip_words(v: VariantResult) -> str:
    """Return how many answers differ from the reference's; a dash where the outputs are no classes."""
    return "–" if v.flips is None else f"{v.flips:,} of {v.n:,}"


def _mark(source: EnergySource | None) -> str:
    return (Provenance.MEASURED if source == "counter" else Provenance.ESTIMATED).mark


def variant_rows(variants: Sequence[VariantResult], batch: int) -> list[tuple[str, ...]]:
    """Return the cells of ``VARIANT_HEAD`` for each technique."""
    return [_variant(v, batch) for v in variants]


def _variant(v: VariantResult, batch: int) -> tuple[str, ...]:
    times = v.times[batch]
    return (
        v.label,
        gate_words(v, batch),
        ratio_words(times.speedup),
        shown_duration(times.p50_s),
        shown_p99(times.p99_s, n=times.n),
        accuracy_words(v),
        flip_words(v),
        "–" if v.accuracy is None or v.technique == "fp32" else f"{v.accuracy.mcnemar_p:.2g}",
        f"{v.n_bytes / 1e3:,.0f}" + (f" ({v.gzip_bytes / 1e3:,.0f})" if v.gzip_bytes else ""),
        "–" if v.peak_bytes is None else f"{v.peak_bytes / MIB:.1f} MiB",
        "–" if v.energy_j is None else f"{1e3 * v.energy_j:.3g} J {_mark(v.energy_source)}",
    )


def setting_rows(settings: Sequence[Setting]) -> list[tuple[str, ...]]:
    """Return the cells of ``SETTING_HEAD`` for each number of threads and batch size."""
    return [
        (
            TECHNIQUES[s.technique],
            str(s.threads),
            str(s.batch),
            f"{s.inputs_per_s:,.0f}",
            shown_p99(s.times.p99_s, n=s.times.n),
            f"{s.peak_bytes / MIB:.1f} MiB",
            f"{s.power_w:.1f} W {_mark(s.power_source)}",
            ", ".join(s.breaks) or "–",
        )
        for s in settings
    ]


def adaptive_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``ADAPTIVE_HEAD``: a fixed choice and one that follows the machine, quiet and busy."""
    return [
        (r.phase, r.choice, TECHNIQUES[r.model], shown_duration(r.p50_s), shown_p99(r.p99_s, n=r.n))
        for r in run.rows(AdaptiveResult)
    ]


def guarantee_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``GUARANTEE_HEAD`` for each cascade."""
    return [
        (
            TECHNIQUES[g.technique],
            f"{g.threshold.confidence:.3f}",
            f"at most {100 * g.threshold.limit_fraction:.1f} % ({100 * g.threshold.level:.0f} % confidence)",
            f"{100 * g.held_out.lost_fraction:.2f} % of {g.held_out.n}",
            f"{100 * g.held_out.exit_fraction:.1f} %",
        )
        for g in run.rows(Guarantee)
    ]


def gain_words(d: Distillation) -> str:
    """Return the gain of distillation in points, with its interval."""
    interval = ""
    if d.gain_interval:
        low, high = (100 * v for v in d.gain_interval)
        interval = f" ({low:+.2f} to {high:+.2f})"
    return f"{100 * d.gain_fraction:+.2f}{interval}"


def distillation_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``DISTILLATION_HEAD`` for each teacher."""
    return [
        (
            f"trained on {TEACHER_LABELS[d.teacher]}",
            f"{100 * d.accuracy_alone_fraction:.2f} %",
            f"{100 * d.accuracy_distilled_fraction:.2f} %",
            gain_words(d),
        )
        for d in run.rows(Distillation)
    ]


def runtime_rows(run: Run) -> dict[str, list[tuple[str, ...]]]:
    """Return the cells of ``RUNTIME_HEAD`` by the network that ran."""
    rows = [r for r in run.rows(RuntimeResult) if r.state != "not run"]
    return {s: [_runtime(r) for r in rows if r.subject == s] for s in dict.fromkeys(r.subject for r in rows)}


def _runtime(r: RuntimeResult) -> tuple[str, ...]:
    if r.measured is None:
        return (r.runtime, f"{r.state}: {r.remedy}")
    times = r.measured.times
    shown = (shown_duration(times.p50_s), shown_p99(times.p99_s, n=times.n))
    return (r.runtime, str(r.measured.batch), *shown, ratio_words(times.speedup), f"{r.measured.cores_used:.1f}")


def missing_runtime_rows(run: Run) -> list[tuple[str, str]]:
    """Return the runtimes that did not run, each with its reason."""
    return [(r.runtime, r.remedy) for r in run.rows(RuntimeResult) if r.state == "not run"]
