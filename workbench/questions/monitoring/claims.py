"""Judges of the normal ranges of the FAQ: what healthy loads on real traffic show."""

from collections.abc import Callable

from workbench.catalog.ledger import (
    RECOMMENDATION,
    Evidence,
    Judge,
    Judgement,
    Judges,
    compared,
    first_of,
    not_testable,
    untested,
)
from workbench.catalog.tables import Claim
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.statistics import share_interval
from workbench.load.rows import LoadResult
from workbench.load.spec import LoadSpec

LOAD = "workbench load URL --arrivals trace --trace FILE"
Value = Callable[[LoadResult], tuple[float, tuple[float, float] | None] | None]


def easiest_load(evidence: Evidence) -> tuple[Run, LoadResult] | None:
    """Return the load of recorded arrivals without failures on a GPU that had the shortest latencies, with its result.

    A range that even this load misses is not normal for a language model.
    """
    loads = [
        (run, row)
        for run, rows in evidence.with_rows("load", LoadResult, on_gpu=True)
        for row in rows
        if run.asked(LoadSpec).arrivals == "trace" and row.counts.ok and not row.counts.failed and row.rates
    ]
    return min(loads, key=lambda pair: pair[1].e2e_s.from_due.mean or float("inf"), default=None)


def in_range(value: Value, words: str) -> Judge:
    """Return a judge of a normal range by the easiest load."""

    def judge(claim: Claim, evidence: Evidence) -> Judgement | None:
        found = easiest_load(evidence)
        figure = value(found[1]) if found else None
        if found is None or figure is None:
            return None
        run, row = found
        rate = row.rates.offered_per_s if row.rates else None
        how = gettext(
            "{measure} of the shipped load of recorded conversations with the shortest latencies and no failure: {model}, {rate} requests/s, {n} requests. FAQ: {condition}."
        ).format(
            measure=words,
            model=run.model,
            rate=f"{rate or 0:.1f}",
            n=f"{row.counts.ok:,}",
            condition=gettext(claim.condition),
        )
        return compared(claim, figure[0], how, runs=(run,), interval=figure[1])

    return first_of(judge, untested(LOAD, gettext("No load of recorded arrivals ran on a GPU without failures.")))


def _mean(row: LoadResult) -> tuple[float, tuple[float, float] | None] | None:
    latency = row.e2e_s.from_due
    return None if latency.mean is None else (latency.mean, (latency.interval or {}).get("mean"))


def _p99(row: LoadResult) -> tuple[float, tuple[float, float] | None] | None:
    latency = row.e2e_s.from_due
    return None if latency.p99 is None else (latency.p99, (latency.interval or {}).get("p99"))


def _rate(row: LoadResult) -> tuple[float, None] | None:
    return (row.rates.completed_per_s, None) if row.rates else None


def _errors(row: LoadResult) -> tuple[float, tuple[float, float]]:
    share = share_interval(row.counts.failed, row.counts.ok + row.counts.failed)
    return 100 * share.value, (100 * share.low, 100 * share.high)


JUDGES: Judges = {
    (7, "mean latency", "normal_range"): in_range(_mean, gettext("Mean end-to-end latency")),
    (7, "P99 latency", "normal_range"): in_range(_p99, gettext("p99 of the end-to-end latency")),
    (7, "QPS", "normal_range"): in_range(_rate, gettext("Answered requests per second")),
    (7, "error rate", "normal_range"): in_range(_errors, gettext("Failed requests")),
    (7, "model accuracy", "normal_range"): not_testable(
        RECOMMENDATION,
        gettext("A threshold of right answers depends on the gold questions that the service chooses."),
    ),
}
"""By question, technique and metric; that of GPU utilization is judged where GPUs are sampled."""
