"""Judges of the claims about several modalities, by what was gained in throughput."""

from workbench.catalog.ledger import TEXT, Evidence, Judgement, Judges, compared, first_of, not_testable, untested
from workbench.catalog.tables import Claim
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.measuring.interleaved import BatchTimes
from workbench.questions.multimodal.fusion.findings import shown_towers
from workbench.questions.multimodal.fusion.rows import BASE, Precision, Routing, TwoThreads
from workbench.questions.multimodal.rows import Stream

FUSION = untested("workbench fusion", gettext("No run measured it."))
OWN_TOWERS = "the network's own towers"
USUAL_HIT_RATE = 0.75
"""Part of repeated images that counts as repeated inputs."""


def _percent(times: BatchTimes) -> tuple[float, tuple[float, float]] | None:
    """Return the gain in throughput in percent, with its interval."""
    if times.speedup is None:
        return None
    low, high = times.speedup.ratio_interval
    return 100 * (times.speedup.ratio - 1), (100 * (low - 1), 100 * (high - 1))


def _best(claim: Claim, run: Run, named: dict[str, BatchTimes], words: str) -> Judgement | None:
    gains = {name: gain for name, times in named.items() if (gain := _percent(times))}
    if not gains:
        return None
    best = max(gains, key=lambda name: gains[name][0])
    value, interval = gains[best]
    others = ", ".join(f"{name} {g:+.0f} %" for name, (g, _) in gains.items() if name != best)
    return compared(
        claim,
        value,
        gettext("{words}, {best}. Others: {others}.").format(words=words, best=best, others=others),
        runs=(run,),
        interval=interval,
    )


def parallel(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return what two threads gain for the network's own towers; those of towers of other widths are named beside it."""
    for run, rows in evidence.with_rows("fusion", TwoThreads):
        own = next((r for r in rows if r.towers == OWN_TOWERS), rows[0])
        judgement = _best(
            claim,
            run,
            {gettext("batch size {batch}").format(batch=b): t for b, t in own.times.items()},
            gettext("Two threads for {towers}").format(towers=shown_towers(own.towers)),
        )
        if judgement is None or judgement.value is None:
            continue
        widths = [
            f"{shown_towers(r.towers)} {g[0]:+.0f} %"
            for r in rows
            if r is not own and (g := _percent(r.times[max(r.times)]))
        ]
        how = (
            gettext("{how} At batch size {batch}: {widths}.").format(
                how=judgement.how, batch=max(own.times), widths=", ".join(widths)
            )
            if widths
            else judgement.how
        )
        return compared(claim, judgement.value, how, runs=(run,), interval=judgement.interval)
    return None


def precision(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the largest gain of towers in INT8."""
    for run, rows in evidence.with_rows("fusion", Precision):
        named = {
            gettext("{towers}, batch size {batch}").format(towers=shown_towers(r.towers), batch=b): t
            for r in rows
            if r.towers != BASE
            for b, t in r.times.items()
        }
        if judgement := _best(claim, run, named, gettext("Towers in INT8")):
            return judgement
    return None


def routing(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return what skipping the image gains where the caption is confident enough."""
    for run, rows in evidence.with_rows("fusion", Routing):
        words = gettext("Skipping {share:.0f} % of the images").format(share=100 * rows[0].held_out.exit_fraction)
        if judgement := _best(
            claim, run, {gettext("batch size {batch}").format(batch=b): t for b, t in rows[0].times.items()}, words
        ):
            return judgement
    return None


def feature_cache(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return how much more images a second are answered where most are in the cache, by the mean TTFT."""
    for run, rows in evidence.with_rows("images", Stream, on_gpu=True):
        without = {r.hit_rate: r for r in rows if r.cache == "none"}
        cached = [r for r in rows if r.cache != "none" and r.hit_rate in without and r.hit_rate >= USUAL_HIT_RATE]
        if not cached:
            continue
        least = min(r.hit_rate for r in cached)
        row = min((r for r in cached if r.hit_rate == least), key=lambda r: r.ttft_mean_s)
        base = without[least]
        (a, b), (c, d) = base.ttft_mean_interval_s, row.ttft_mean_interval_s
        value, interval = base.ttft_mean_s / row.ttft_mean_s - 1, (a / d - 1, b / c - 1)
        rest = ", ".join(
            gettext("{gain:+.0f} % at {hit_rate:g}").format(
                gain=100 * (without[r.hit_rate].ttft_mean_s / r.ttft_mean_s - 1), hit_rate=r.hit_rate
            )
            for r in rows
            if r.cache == row.cache and r.hit_rate in without and r.hit_rate != least
        )
        how = gettext(
            "Mean TTFT without a cache over that with the {cache} cache, hit rate {least:g}, {model}. Others: {rest}."
        ).format(cache=gettext(row.cache), least=least, model=run.model, rest=rest)
        return compared(claim, 100 * value, how, runs=(run,), interval=(100 * interval[0], 100 * interval[1]))
    return None


JUDGES: Judges = {
    (12, "modality fusion", "performance_gain"): not_testable(
        TEXT, gettext("The claim says neither what is gained nor which of early and late fusion gains it.")
    ),
    (12, "parallel modalities", "performance_gain"): first_of(parallel, FUSION),
    (12, "feature cache", "performance_gain"): first_of(
        feature_cache, untested("workbench images measure", gettext("No run on a GPU measured it."))
    ),
    (12, "per-modality quantization", "performance_gain"): first_of(precision, FUSION),
    (12, "dynamic routing", "performance_gain"): first_of(routing, FUSION),
}
"""By question, technique and metric."""
