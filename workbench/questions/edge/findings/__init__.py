"""What a run on a small device shows: the setting to run within limits, and the rows of its tables."""

from collections.abc import Sequence
from dataclasses import replace

from workbench.core.language import gettext, ngettext
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.stored_texts import translated
from workbench.core.units import LEAST_FOR_P99, MIB, shown_duration, shown_p99
from workbench.core.verdict import Verdict, objections
from workbench.measuring.interleaved import Speedup, SpeedVerdict, shown_verdict
from workbench.questions.edge.rows import (
    AdaptiveResult,
    Distillation,
    EnergySource,
    Guarantee,
    Limit,
    Limits,
    MeasuredSetting,
    RuntimeResult,
    Setting,
    Similarity,
    VariantResult,
)
from workbench.questions.edge.spec import TECHNIQUES

NOISY = 10.0  # times the median
PHASES = {"quiet": gettext("quiet"), "busy": gettext("busy"), "quiet again": gettext("quiet again")}
CHOICES = {"fixed": gettext("fixed"), "adaptive": gettext("adaptive")}
TEACHER_LABELS = {"same labels": gettext("the same labels"), "all labels": gettext("all labels")}
MARK = Provenance.MEASURED.mark
VARIANT_HEAD = (
    gettext("Technique {mark}").format(mark=MARK), gettext("verdict"), gettext("speed-up"), "p50", "p99", gettext("accuracy, %"), gettext("flips"), "McNemar p", gettext("size, kB (gzip)"), gettext("memory"),
    gettext("energy of 1,000 inputs"),
)  # fmt: skip
SETTING_HEAD = (
    gettext("Technique {mark}").format(mark=MARK),
    gettext("threads"),
    gettext("batch size"),
    gettext("inputs/s"),
    "p99",
    gettext("memory"),
    gettext("power"),
    gettext("exceeded limits"),
)
ADAPTIVE_HEAD = (
    gettext("Machine {mark}").format(mark=MARK),
    gettext("model choice"),
    gettext("most used model"),
    "p50",
    "p99",
)
GUARANTEE_HEAD = (
    gettext("Cascade {mark}").format(mark=MARK),
    gettext("confidence threshold"),
    gettext("guaranteed accuracy loss"),
    gettext("held-out accuracy loss"),
    gettext("held-out early exits"),
)
DISTILLATION_HEAD = (
    gettext("Teacher of the students {mark}").format(mark=MARK),
    gettext("accuracy without teacher"),
    gettext("accuracy with teacher"),
    gettext("gain, points"),
)
RUNTIME_HEAD = (
    gettext("Runtime {mark}").format(mark=MARK),
    gettext("batch size"),
    "p50",
    "p99",
    gettext("speed-up over ONNX Runtime"),
    gettext("cores used"),
)


def settings_under(run: Run, limits: Limits) -> list[Setting]:
    """Return the settings of a run with the limits that each exceeds; those within all limits come first, the fastest before the others."""
    settings = []
    for s in run.rows(Setting):
        broken = limits.broken(p99_s=s.times.p99_s, peak_bytes=s.peak_bytes, power_w=s.power_w)
        settings.append(replace(s, breaks=broken + (("accuracy",) if "accuracy" in s.breaks else ())))
    return sorted(settings, key=lambda s: (bool(s.breaks), -s.inputs_per_s))


def setting_words(s: MeasuredSetting) -> str:
    """Return a setting in words: its technique and conditions, then its throughput and p99 latency."""
    threads = ngettext("{n} thread", "{n} threads", s.threads).format(n=s.threads)
    p99 = shown_duration(s.times.p99_s)
    latency = (
        gettext("a p99 latency of {p99}").format(p99=p99)
        if s.times.n >= LEAST_FOR_P99
        else gettext("{p99} for nearly the longest of {n} batches").format(p99=p99, n=s.times.n)
    )
    return gettext(
        "{technique} at {threads} and batch size {batch}: {inputs_per_s:,.0f} inputs/s with {latency}"
    ).format(technique=s.technique, threads=threads, batch=s.batch, inputs_per_s=s.inputs_per_s, latency=latency)


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
    faster, slower, alike = by["faster"], by["slower"], by["no difference shown"]
    compared = [
        _sentence(faster, ngettext("{names} is faster than float32", "{names} are faster than float32", len(faster)))
        or (
            gettext("no technique is faster than float32")
            if any(by.values())
            else gettext("no technique was compared with float32")
        ),
        _sentence(slower, ngettext("{names} is slower", "{names} are slower", len(slower))),
        _sentence(alike, ngettext("{names} is not shown to differ", "{names} are not shown to differ", len(alike))),
    ]
    best = settings[0] if settings and not settings[0].breaks else None
    if best is not None:
        text = gettext("The fastest setting within the limits is {setting}.")
        headline, answer = text.format(setting=setting_words(best)), "yes"
    elif settings:
        text = gettext("No setting is within these limits; {nearest}.")
        headline, answer = text.format(nearest=_nearest(settings)), "no"
    else:
        text = gettext("At batch size {batch}, {compared}.")
        headline = text.format(batch=batch, compared=compared[0])
        answer = "yes" if faster else "no" if any(by.values()) else "open"
    points = _unsteady(best) if best else []
    worse = [v.technique for v in variants if v.accuracy and v.accuracy.is_worse]
    if worse:
        points.append(
            gettext("a paired test shows lower accuracy for {techniques}").format(techniques=", ".join(worse))
        )
    noisy = [v.technique for v in variants if v.times[batch].p99_s > NOISY * v.times[batch].p50_s]
    if noisy:
        points.append(
            gettext("the p99 of {techniques} is over {factor:g} times the p50: the machine was not quiet").format(
                techniques=", ".join(noisy), factor=NOISY
            )
        )
    note = translated(variants[0].note, domain="edge")
    noted = gettext("The graph was measured so: {note}. ").format(note=note) if note else ""
    return Verdict(
        headline=headline,
        evidence=gettext("At batch size {batch}, by the median of a batch, {compared}.").format(
            batch=batch, compared=gettext("; ").join(part for part in compared if part)
        ),
        objection=objections(points),
        scope=gettext("{noted}The times are of this processor, and memory is of the largest batch.").format(
            noted=noted
        ),
        answer=answer,  # type: ignore[arg-type]
        best=best.technique if best else None,
    )


def _nearest(settings: Sequence[Setting]) -> str:
    """Return the setting that exceeds the fewest limits, the fastest of them, and which they are."""
    nearest = min(settings, key=lambda s: (len(s.breaks), -s.inputs_per_s))
    return gettext("the nearest, {setting}, exceeds {limits}").format(
        setting=setting_words(nearest), limits=gettext(" and ").join(map(_limit, nearest.breaks))
    )


def _unsteady(best: Setting) -> list[str]:
    points = []
    if best.times.n < LEAST_FOR_P99:
        points.append(
            gettext("the latency of this setting rests on {n} batches, too few for a p99").format(n=best.times.n)
        )
    if best.times.p99_s > NOISY * best.times.p50_s:
        points.append(
            gettext("its longest batches take {factor:.0f} times the median: the machine was not quiet").format(
                factor=best.times.p99_s / best.times.p50_s
            )
        )
    return points


def _limit(name: Limit) -> str:
    words: dict[Limit, str] = {
        "latency": gettext("latency"),
        "memory": gettext("memory"),
        "power": gettext("power"),
        "accuracy": gettext("accuracy"),
    }
    return words[name]


def shown_label(label: str) -> str:
    """Return the description of a technique in the reader's language; rows keep it in English."""
    return translated(label, domain="edge")


def _sentence(techniques: Sequence[str], text: str) -> str:
    """Return that some techniques are such; empty without any."""
    *others, last = techniques or [""]
    names = gettext("{others} and {last}").format(others=", ".join(others), last=last) if others else last
    return text.format(names=names) if techniques else ""


def ratio_words(speedup: Speedup | None) -> str:
    """Return the speed-up with its interval; 1 for the reference."""
    if speedup is None:
        return "1"
    low, high = speedup.ratio_interval
    return gettext("{value} ({low} to {high})").format(
        value=f"{speedup.ratio:.2f}", low=f"{low:.2f}", high=f"{high:.2f}"
    )


def gate_words(variant: VariantResult, batch: int) -> str:
    """Return the speed verdict relative to float32, and relative to what the technique was applied to."""
    speedup, base = variant.times[batch].speedup, variant.base
    words = shown_verdict(speedup.verdict) if speedup else ""
    if base is not None and (own := base.speedups.get(batch)):
        words += gettext("; relative to {technique}: {verdict} ({ratio:.2f})").format(
            technique=base.technique, verdict=shown_verdict(own.verdict), ratio=own.ratio
        )
    return words


def accuracy_words(v: VariantResult) -> str:
    """Return the accuracy in percent with its interval, the perplexity of a language model, or the similarity of the outputs."""
    if v.accuracy is not None:
        low, high = v.accuracy.interval
        return gettext("{value} ({low} to {high})").format(
            value=f"{100 * v.accuracy.fraction:.2f}", low=f"{100 * low:.1f}", high=f"{100 * high:.1f}"
        )
    if v.perplexity is not None:
        return gettext("perplexity {value:.3f}").format(value=v.perplexity.value)
    return similarity_words(v.similarity) if v.similarity else gettext("not known")


def similarity_words(s: Similarity) -> str:
    """Return how near outputs are to those of the reference, and for embeddings whether the nearest texts are the same."""
    words = gettext("cosine {mean:.5f} (lowest {lowest:.4f}), difference {difference:.2g} %").format(
        mean=s.cosine_mean, lowest=s.cosine_lowest, difference=100 * s.difference_fraction
    )
    if s.same_nearest_fraction is not None and s.same_ten_nearest_fraction is not None:
        words += gettext("; nearest text the same for {one:.0f} %, ten nearest {ten:.0f} %").format(
            one=100 * s.same_nearest_fraction,
            ten=100 * s.same_ten_nearest_fraction,
        )
    return words


def flip_words(v: VariantResult) -> str:
    """Return how many answers differ from the reference's; a dash where the outputs are no classes."""
    return "–" if v.flips is None else gettext("{share} of {n:,}").format(share=f"{v.flips:,}", n=v.n)


def energy_mark(source: EnergySource | None) -> str:
    """Return the mark of a counter's energy, or of an estimated one."""
    return (Provenance.MEASURED if source == "counter" else Provenance.ESTIMATED).mark


def variant_rows(variants: Sequence[VariantResult], batch: int) -> list[tuple[str, ...]]:
    """Return the cells of ``VARIANT_HEAD`` for each technique."""
    return [_variant(v, batch) for v in variants]


def _variant(v: VariantResult, batch: int) -> tuple[str, ...]:
    times = v.times[batch]
    return (
        shown_label(v.label),
        gate_words(v, batch),
        ratio_words(times.speedup),
        shown_duration(times.p50_s),
        shown_p99(times.p99_s, n=times.n),
        accuracy_words(v),
        flip_words(v),
        "–" if v.accuracy is None or v.technique == "fp32" else f"{v.accuracy.mcnemar_p:.2g}",
        f"{v.n_bytes / 1e3:,.0f}" + (f" ({v.gzip_bytes / 1e3:,.0f})" if v.gzip_bytes else ""),
        "–" if v.peak_bytes is None else f"{v.peak_bytes / MIB:.1f} MiB",
        "–" if v.energy_j is None else f"{1e3 * v.energy_j:.3g} J {energy_mark(v.energy_source)}",
    )


def setting_rows(settings: Sequence[Setting]) -> list[tuple[str, ...]]:
    """Return the cells of ``SETTING_HEAD`` for each number of threads and batch size."""
    return [
        (
            gettext(TECHNIQUES[s.technique]),
            str(s.threads),
            str(s.batch),
            f"{s.inputs_per_s:,.0f}",
            shown_p99(s.times.p99_s, n=s.times.n),
            f"{s.peak_bytes / MIB:.1f} MiB",
            f"{s.power_w:.1f} W {energy_mark(s.power_source)}",
            gettext(", ").join(map(_limit, s.breaks)) or "–",
        )
        for s in settings
    ]


def adaptive_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``ADAPTIVE_HEAD``: a fixed choice and one that follows the machine, quiet and busy."""
    return [
        (
            PHASES[r.phase],
            CHOICES[r.choice],
            gettext(TECHNIQUES[r.model]),
            shown_duration(r.p50_s),
            shown_p99(r.p99_s, n=r.n),
        )
        for r in run.rows(AdaptiveResult)
    ]


def guarantee_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``GUARANTEE_HEAD`` for each cascade."""
    return [
        (
            gettext(TECHNIQUES[g.technique]),
            f"{g.threshold.confidence:.3f}",
            gettext("at most {limit:.1f} % ({level:.0f} % confidence)").format(
                limit=100 * g.threshold.limit_fraction, level=100 * g.threshold.level
            ),
            gettext("{lost:.2f} % of {n}").format(lost=100 * g.held_out.lost_fraction, n=g.held_out.n),
            f"{100 * g.held_out.exit_fraction:.1f} %",
        )
        for g in run.rows(Guarantee)
    ]


def gain_words(d: Distillation) -> str:
    """Return the gain of distillation in points, with its interval."""
    interval = ""
    if d.gain_interval:
        low, high = (100 * v for v in d.gain_interval)
        interval = gettext(" ({low} to {high})").format(low=f"{low:+.2f}", high=f"{high:+.2f}")
    return f"{100 * d.gain_fraction:+.2f}{interval}"


def distillation_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``DISTILLATION_HEAD`` for each teacher."""
    return [
        (
            gettext("trained on {labels}").format(labels=TEACHER_LABELS[d.teacher]),
            f"{100 * d.accuracy_alone_fraction:.2f} %",
            f"{100 * d.accuracy_distilled_fraction:.2f} %",
            gain_words(d),
        )
        for d in run.rows(Distillation)
    ]


def runtime_rows(run: Run) -> dict[str, list[tuple[str, ...]]]:
    """Return the cells of ``RUNTIME_HEAD`` by the network that ran."""
    rows = [r for r in run.rows(RuntimeResult) if r.state != "not run"]
    return {gettext(s): [_runtime(r) for r in rows if r.subject == s] for s in dict.fromkeys(r.subject for r in rows)}


def _runtime(r: RuntimeResult) -> tuple[str, ...]:
    if r.measured is None:
        return (
            r.runtime,
            gettext("failed: {reason}").format(reason=r.remedy) if r.state == "failed" else f"{r.state}: {r.remedy}",
        )
    times = r.measured.times
    shown = (shown_duration(times.p50_s), shown_p99(times.p99_s, n=times.n))
    return (r.runtime, str(r.measured.batch), *shown, ratio_words(times.speedup), f"{r.measured.cores_used:.1f}")


def missing_runtime_rows(run: Run) -> list[tuple[str, str]]:
    """Return the runtimes that did not run, each with its reason."""
    return [(r.runtime, gettext(r.remedy)) for r in run.rows(RuntimeResult) if r.state == "not run"]
