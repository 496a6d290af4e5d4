"""What a search for the best batch says: the verdict, and the rows of its tables."""

from collections.abc import Sequence

from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.units import NOT_KNOWN, shown_bytes, shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict, objections
from workbench.estimate.best_batch import CLOSE
from workbench.questions.utilization.batch_size.rows import STATUSES, BatchChoice, BatchTrial, by_batch
from workbench.questions.utilization.batch_size.spec import BatchSearchSpec

COLD = 1.2  # times the step of a larger batch
BATCH_HEAD = (
    gettext("Batch size"),
    gettext("throughput, per second ●"),
    gettext("step time p50 / p90 ●"),
    gettext("peak memory ●"),
    gettext("predicted peak ◌"),
    gettext("limits"),
)
TRIAL_HEAD = (
    gettext("Trial"),
    gettext("batch size"),
    gettext("throughput, per second ●"),
    gettext("step time p50 ●"),
    gettext("peak memory ●"),
    gettext("predicted peak ◌"),
    gettext("limits"),
)


def choice_of(run: Run) -> BatchChoice:
    """Return what a search came to; raises ``NotAvailable`` for a run that does not say."""
    choice = run.row(BatchChoice)
    if choice is None:
        raise NotAvailable(
            gettext("Run {id} does not say which batch is best.").format(id=run.id), remedy=gettext("Measure again.")
        )
    return choice


def limits(run: Run) -> str:
    """Return the limits of a search in words."""
    memory, latency_ms = shown_bytes(choice_of(run).memory_limit_bytes), run.asked(BatchSearchSpec).latency_ms
    return (
        gettext("{latency} ms a step and {memory}").format(latency=f"{latency_ms:g}", memory=memory)
        if latency_ms
        else memory
    )


def unit_of(run: Run) -> str:
    """Return what a step finishes for each sequence: a token of its answer, or the reading of its whole prompt."""
    return gettext("tokens") if run.asked(BatchSearchSpec).work == "decode" else gettext("prompts")


def verdict(run: Run) -> Verdict | None:
    """Return the best batch and what binds; None where no batch size is within the limits."""
    choice, trials, spec = choice_of(run), run.rows(BatchTrial), run.asked(BatchSearchSpec)
    best, per_s = choice.best_batch, choice.sequences_per_s
    if best is None:
        return None
    of_best = by_batch(trials)[best]
    peak = max(t.peak_bytes for t in of_best)
    predicted = next((t.predicted_bytes for t in of_best if t.predicted_bytes), None)
    memory = gettext("peak {peak}").format(peak=shown_bytes(peak))
    if predicted:
        memory = gettext("peak {peak}, predicted {predicted} ({change})").format(
            peak=shown_bytes(peak),
            predicted=shown_bytes(predicted),
            change=shown_percent(predicted / peak - 1, sign=True),
        )
    over = [t for t in trials if t.status != "fits"]
    points = []
    if over:
        first = min(over, key=lambda t: t.batch)
        binds = {
            "latency": gettext("the latency limit binds from batch size {batch} on"),
            "memory": gettext("the memory limit binds from batch size {batch} on"),
        }[first.status].format(batch=first.batch)
    elif max(t.batch for t in trials) < spec.largest:
        binds = gettext("larger batches are predicted to need more memory than the limit")
    else:
        binds = gettext("the search ended at the largest batch size to try")
        if best == max(t.batch for t in trials):
            points.append(gettext("no larger batch size was tried"))
    smallest = min(per_s)
    if cold := cold_batches(trials):
        points.insert(
            0,
            gettext(
                "a step of batch size {batches} took longer than one of a larger batch: it was not warm, or the "
                "machine was busy"
            ).format(batches=gettext(", ").join(map(str, cold))),
        )
    gain = ""
    if smallest not in cold and smallest != best:
        gain = gettext(", {factor}x batch size {batch}").format(
            factor=f"{per_s[best] / per_s[smallest]:.1f}", batch=smallest
        )
    near = [b for b, rate in per_s.items() if b != best and rate > (1 - CLOSE) * per_s[best]]
    if near:
        points.append(
            gettext("batch size {batches} is within 10 % of it").format(
                batches=gettext(", ").join(map(str, sorted(near)))
            )
        )
    times = of_best[0].times
    tried = (
        gettext("; batch size {batch} was tried {n} times").format(batch=best, n=len(of_best))
        if len(of_best) > 1
        else ""
    )
    evidence = (
        gettext("One step takes {p50} at p50 ({p90} at p90); {memory}; {binds}.").format(
            p50=shown_duration(times.p50_s), p90=shown_duration(times.p90_s), memory=memory, binds=binds
        )
        if times
        else gettext("{memory}; {binds}.").format(memory=memory, binds=binds)
    )
    return Verdict(
        headline=gettext(
            "Batch size {batch} has the highest throughput within {limits}: {throughput} {unit}/s{gain}."
        ).format(batch=best, limits=limits(run), throughput=three_digits(per_s[best]), unit=unit_of(run), gain=gain),
        evidence=evidence,
        objection=objections(points),
        scope=gettext("{n} trials of {rounds} steps each{tried}.").format(
            n=len(trials), rounds=spec.rounds, tried=tried
        ),
        best=str(best),
    )


def cold_batches(trials: Sequence[BatchTrial]) -> list[int]:
    """Return the batch sizes whose steps took longer than those of a larger batch: something else than the batch took time there."""
    steps = {
        batch: min(t.times.p50_s for t in own if t.times)
        for batch, own in by_batch(trials).items()
        if any(t.times for t in own)
    }
    return sorted(
        b for b, s in steps.items() if any(larger > b and s > COLD * other for larger, other in steps.items())
    )


def batch_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``BATCH_HEAD`` for each batch: throughput over all its trials, the rest of the last one."""
    per_s = choice_of(run).sequences_per_s
    rows: list[tuple[str, ...]] = []
    for batch, trials in by_batch(run.rows(BatchTrial)).items():
        last, throughput, times = trials[-1], NOT_KNOWN, NOT_KNOWN
        if last.times:
            throughput = three_digits(per_s.get(batch) or last.times.sequences_per_s)
            times = f"{shown_duration(last.times.p50_s)} / {shown_duration(last.times.p90_s)}"
        rows.append((str(batch), throughput, times, *_memory(last), STATUSES[last.status]))
    return rows


def trial_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``TRIAL_HEAD`` for each trial, in order."""
    rows: list[tuple[str, ...]] = []
    for number, trial in enumerate(run.rows(BatchTrial), start=1):
        times = trial.times
        speed = NOT_KNOWN, NOT_KNOWN
        if times:
            speed = three_digits(times.sequences_per_s), shown_duration(times.p50_s)
        rows.append((str(number), str(trial.batch), *speed, *_memory(trial), STATUSES[trial.status]))
    return rows


def _memory(trial: BatchTrial) -> tuple[str, str]:
    return shown_bytes(trial.peak_bytes), shown_bytes(trial.predicted_bytes or None)
