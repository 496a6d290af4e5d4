"""What a fault suite says: how well each method finds causes, and the rows of its tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workbench.core.columns import Columns
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.core.units import NOT_KNOWN, shown_percent
from workbench.core.verdict import Verdict, objections
from workbench.questions.latency.faults.rows import WORKBENCH, Episode, FaultsSamples, MethodAnswer, Score
from workbench.questions.latency.faults.spec import LAST_TUNING_SEED, FaultsSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultCounts:
    """Loads of one fault and dose, counted by the answer of the workbench's diagnosis."""

    fault: str
    dose: str
    cause: str | None
    """True cause; None for a healthy load."""
    n: int
    took_effect: int
    alarmed: int
    named: int


def by_fault(episodes: Sequence[Episode]) -> list[FaultCounts]:
    """Return how often each fault and dose took effect, raised an alarm, and was named by the workbench."""
    groups: dict[tuple[str, str], list[Episode]] = {}
    for e in episodes:
        groups.setdefault((e.fault, e.dose), []).append(e)
    return [
        FaultCounts(
            fault=fault,
            dose=dose,
            cause=group[0].cause,
            n=len(group),
            took_effect=sum(e.took_effect for e in group),
            alarmed=sum(e.answer.alarm for e in group),
            named=sum(e.answer.named == e.cause for e in group),
        )
        for (fault, dose), group in groups.items()
    ]


def _number(value: Callable[[Score], float | None], form: str) -> Callable[[Score], str]:
    """Return what a column shows of a score: a number in its form, a dash where it is not known."""

    def show(score: Score) -> str:
        number = value(score)
        return NOT_KNOWN if number is None else form.format(number)

    return show


def _percent(share: Interval | None) -> str:
    return shown_percent(None if share is None else share.value)


SCORES: Columns[Score] = {
    gettext("Method ●"): lambda s: gettext(s.method),
    gettext("cause named"): lambda s: _percent(s.top1),
    gettext("cause in first three"): lambda s: _percent(s.top3),
    gettext("false alarms"): lambda s: _percent(s.false_alarms),
    "macro-F1": _number(lambda s: s.macro_f1, "{:.2f}"),
    gettext("abstained"): lambda s: shown_percent(s.abstained_fraction),
    gettext("Brier score"): _number(lambda s: s.brier, "{:.2f}"),
    gettext("time to detect (s)"): _number(lambda s: s.time_to_detect_s, "{:.0f}"),
}
"""Columns of the table of scores, a row for each method."""
BY_FAULT: Columns[FaultCounts] = {
    gettext("Fault"): lambda c: gettext(c.fault),
    gettext("dose"): lambda c: gettext(c.dose),
    gettext("loads"): lambda c: str(c.n),
    gettext("took effect"): lambda c: str(c.took_effect),
    gettext("alarms"): lambda c: str(c.alarmed),
    gettext("cause named"): lambda c: str(c.named) if c.cause else NOT_KNOWN,
}
"""Columns of the table of faults, a row for each fault and dose."""


def label(run: Run) -> str:
    """Return the name of a suite in the list of runs."""
    spec = run.asked(FaultsSpec)
    when = run.finished_at[:16].replace("T", " ")
    return gettext("{engine}, seeds {seeds} · {device} · {when}").format(
        engine=spec.engine, seeds=", ".join(map(str, spec.seeds)), device=run.environment.device, when=when
    )


def verdict(run: Run) -> Verdict:
    """Return how often the workbench named the true cause, beside the best simple method."""
    own, *others = run.rows(Score)
    best = max(others, key=lambda s: s.top1.value if s.top1 else 0.0, default=None)
    interval = own.top1 or Interval(0.0, 0.0, 1.0)
    missed = [
        gettext("{fault} ({dose})").format(fault=gettext(e.fault), dose=gettext(e.dose))
        for e in run.sampled(FaultsSamples).episodes
        if e.cause is not None and e.took_effect and e.answer.named != e.cause
    ]
    is_unseen = all(seed > LAST_TUNING_SEED for seed in run.asked(FaultsSpec).seeds)
    points = (
        [gettext("the cause was not named for: {missed}").format(missed=gettext(", ").join(missed))] if missed else []
    )
    if not is_unseen:
        points.append(gettext("these seeds were used to tune the diagnosis"))
    if best is not None and (best.top1.value if best.top1 else 0.0) > interval.value:
        points.append(gettext("{method} names more causes").format(method=gettext(best.method)))
    beside = (
        ""
        if best is None
        else (
            gettext(
                " The best simple method, {method}, names {top1} of the causes and raises an alarm on {false_alarms} of the "
                "healthy loads."
            ).format(method=gettext(best.method), top1=_percent(best.top1), false_alarms=_percent(best.false_alarms))
        )
    )
    return Verdict(
        headline=gettext(
            "The true cause was named in {top1} of {n_faults} faults, and was among the first three in {top3}; "
            "{false_alarms} of {n_controls} healthy loads raised a false alarm."
        ).format(
            top1=_percent(own.top1),
            n_faults=own.n_faults,
            top3=_percent(own.top3),
            false_alarms=_percent(own.false_alarms),
            n_controls=own.n_controls,
        ),
        evidence=gettext("95 % interval of the first figure: {low} to {high}.{beside}").format(
            low=shown_percent(interval.low), high=shown_percent(interval.high), beside=beside
        ),
        objection=objections(points),
        scope=gettext("Seeds and loads were not used for tuning, but the kinds of faults were.") if is_unseen else None,
        answer="yes" if interval.low > 0.5 else "no",
    )


def load_name(episode: Episode) -> str:
    """Return the fault of a load and its dose."""
    return gettext("{fault}, {dose}").format(fault=gettext(episode.fault), dose=gettext(episode.dose))


def episode_table(episodes: Sequence[Episode]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return head and rows of a table with the true cause of each load, and what every method named."""
    methods = (WORKBENCH, *(name for name in episodes[0].answers if name != WORKBENCH))
    return (gettext("Load"), gettext("true cause"), *map(gettext, methods)), [
        (
            load_name(e),
            gettext(e.cause) if e.cause else gettext("healthy"),
            *(_named(e.answers[method]) for method in methods),
        )
        for e in episodes
    ]


def _named(answer: MethodAnswer) -> str:
    return (
        gettext("abstains") if answer.abstains else gettext(answer.causes[0]) if answer.alarm else gettext("no alarm")
    )
