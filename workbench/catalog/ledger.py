"""The ledger of published claims: one vocabulary of outcomes, and the rules by which a measured value is compared with a claim.

Judges lie in ``claims.py`` of the question that measured; ``workbench.app.ledger`` collects them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias, TypeVar

from workbench.catalog.tables import Claim
from workbench.core.language import gettext, gettext_noop
from workbench.core.provenance import Provenance
from workbench.core.rows import Row
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.core.units import three_digits

R = TypeVar("R", bound=Row)

TOLERANCE = 0.1
"""Part of a claimed single number within which a value confirms it."""
IMMEDIATE_S = 1.0
"""Longest time that confirms a claim of an immediate effect."""
NOTICEABLE_RATIO, NOTICEABLE_PERCENT = 0.03, 3.0
"""Gains nearer to none than this are no gain, as in interleaved timings."""
SAVED_PERCENT = (
    "memory_saving", "cost_saving", "latency_reduction", "fragmentation_reduction", "kernel_count_reduction",
    "power_reduction", "performance_gain", "protection",
)  # fmt: skip
"""Metrics in percent whose value without a gain is 0."""
UNITS = {
    "percent": " %",
    "ratio": "×",
    "text": gettext("× the best other"),
    "seconds": " s",
    "requests per second": " requests/s",
    "billion parameters": gettext(" billion parameters"),
}
"""What stands behind a value; of a claim in words the value is the peak request rate over that of the best other engine."""
LESS_IS_BETTER = ("response_time", "time_to_find", "accuracy_loss")
SHOWN_TIMES = ("mean latency", "P99 latency", "error rate")
"""Techniques whose normal range is better the lower a value is."""


class Outcome(StrEnum):
    """How a claim stands. "Less" and "more" are about the benefit: a shorter time than claimed is more than claimed."""

    CONFIRMED = gettext_noop("confirmed")
    LESS = gettext_noop("less than claimed")
    MORE = gettext_noop("more than claimed")
    NO_GAIN = gettext_noop("no gain")
    OPPOSITE = gettext_noop("opposite")
    NOT_TESTABLE = gettext_noop("not testable")
    NOT_TESTED = gettext_noop("not tested yet")

    @property
    def shown(self) -> str:
        """Its words in the reader's language."""
        return gettext(self.value)


MEASURED_OUTCOMES = (Outcome.CONFIRMED, Outcome.LESS, Outcome.MORE, Outcome.NO_GAIN, Outcome.OPPOSITE)
TEXT, RECOMMENDATION = gettext_noop("text"), gettext_noop("recommendation")
"""Reasons for which no measurement could ever judge a claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How one claim stands, and what that stands on."""

    outcome: Outcome
    how: str
    """What was compared with what, or why nothing can be."""
    value: float | None = None
    """In the claim's unit."""
    interval: tuple[float, float] | None = None
    """95 % interval of the value, where the samples allow one."""
    runs: Sequence[Run] = ()
    provenance: Provenance | None = None
    reason: str = ""
    """Why a claim is not testable: a text, a recommendation, or what it needs."""
    command: str = ""
    """Command that tests a claim that is not tested yet."""

    @property
    def is_judged(self) -> bool:
        """Whether a value of a run was compared with the claim."""
        return self.outcome in MEASURED_OUTCOMES

    @property
    def device(self) -> str:
        """Devices of the runs; empty without one."""
        return ", ".join(dict.fromkeys(r.environment.device for r in self.runs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The runs that claims are judged by, newest first."""

    runs: Sequence[Run]
    _by_kind: dict[str, list[Run]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for run in sorted(self.runs, key=lambda r: r.finished_at, reverse=True):
            self._by_kind.setdefault(run.kind, []).append(run)

    def of(self, kind: str, *, on_gpu: bool = False) -> list[Run]:
        """Return the runs of a kind, newest first."""
        return [r for r in self._by_kind.get(kind, ()) if not on_gpu or r.environment.device_id != "cpu"]

    def with_rows(self, kind: str, row: type[R], *, on_gpu: bool = False) -> list[tuple[Run, list[R]]]:
        """Return the runs of a kind that have rows of a class, with these rows."""
        pairs = ((run, run.rows(row)) for run in self.of(kind, on_gpu=on_gpu))
        return [(run, rows) for run, rows in pairs if rows]

    def named(self, *ids: str) -> list[Run]:
        """Return the runs of these ids, in this order; those that are not there are left out."""
        by_id = {r.id: r for r in self.runs}
        return [by_id[i] for i in ids if i in by_id]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a decision rule of the FAQ says of a case, beside what the workbench says of the same inputs."""

    rule: str
    case: str
    """The inputs, in words."""
    faq: str
    ours: str
    is_same: bool
    provenance: Provenance
    """How our answer was obtained."""
    runs: Sequence[Run] = ()


Decisions: TypeAlias = Callable[[Evidence], Sequence[Decision]]
Judge: TypeAlias = Callable[[Claim, Evidence], Judgement]
Key: TypeAlias = tuple[int, str, str]
"""Question, technique and metric of a claim."""
Judges: TypeAlias = Mapping[Key, Judge]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A claim with its judgement."""

    claim: Claim
    judgement: Judgement


def key_of(claim: Claim) -> Key:
    """Return what the judge of a claim is registered by."""
    return claim.question, claim.technique, claim.metric


def claimed_range(claim: Claim) -> tuple[float, float]:
    """Return the ends between which a value confirms a claim; a single number has a tolerance, an open end is infinite."""
    low = float("-inf") if claim.low is None else claim.low
    high = float("inf") if claim.high is None else claim.high
    if low != high:
        return low, high
    return (0.0, IMMEDIATE_S) if low == 0 else ((1 - TOLERANCE) * low, (1 + TOLERANCE) * high)


def outcome_of(claim: Claim, value: float, interval: tuple[float, float] | None = None) -> Outcome:
    """Return how a value stands beside a claim; a value whose interval reaches into the claimed range confirms it."""
    low, high = claimed_range(claim)
    least, most = interval or (value, value)
    if least <= high and most >= low:
        return Outcome.CONFIRMED
    if (gain := _gain(claim, value, least, most)) is not None:
        return gain
    is_low = value < low
    if claim.metric in LESS_IS_BETTER or (claim.metric == "normal_range" and claim.technique in SHOWN_TIMES):
        is_low = not is_low
    return Outcome.LESS if is_low else Outcome.MORE


def _gain(claim: Claim, value: float, least: float, most: float) -> Outcome | None:
    """Return whether a gain is none, or a loss; None where there is a gain, or the metric is no gain."""
    is_ratio = claim.unit == "ratio"
    if not is_ratio and claim.metric not in SAVED_PERCENT:
        return None
    none, near = (1.0, NOTICEABLE_RATIO) if is_ratio else (0.0, NOTICEABLE_PERCENT)
    if least <= none <= most or abs(value - none) <= near:
        return Outcome.NO_GAIN
    return Outcome.OPPOSITE if value < none else None


def compared(
    claim: Claim,
    value: float,
    how: str,
    *,
    runs: Iterable[Run],
    interval: tuple[float, float] | None = None,
    provenance: Provenance = Provenance.MEASURED,
) -> Judgement:
    """Return the judgement of a value in the claim's unit."""
    return Judgement(
        outcome=outcome_of(claim, value, interval),
        how=how,
        value=value,
        interval=interval,
        runs=tuple(runs),
        provenance=provenance,
    )


def quotient(numerator: Interval, denominator: Interval) -> tuple[float, tuple[float, float]]:
    """Return a ratio of two times with an interval that holds at least the level of both: from their far ends."""
    ends = numerator.low / denominator.high, numerator.high / denominator.low
    return numerator.value / denominator.value, ends


def untested(command: str, why: str) -> Judge:
    """Return a judge that says by which command a claim would be tested, and why no run does."""
    verdict = Judgement(outcome=Outcome.NOT_TESTED, how=why, command=command)
    return lambda claim, evidence: verdict  # noqa: ARG005


def not_testable(reason: str, why: str) -> Judge:
    """Return a judge that says why a claim cannot be tested: a text, a recommendation, or what it needs."""
    verdict = Judgement(outcome=Outcome.NOT_TESTABLE, how=why, reason=reason)
    return lambda claim, evidence: verdict  # noqa: ARG005


def first_of(*judges: Callable[[Claim, Evidence], Judgement | None]) -> Judge:
    """Return a judge that asks one after the other until one has an answer; the last always has."""

    def judge(claim: Claim, evidence: Evidence) -> Judgement:
        answers = (j(claim, evidence) for j in judges)
        return next(a for a in answers if a is not None)

    return judge


def judged(claims: Iterable[Claim], judges: Judges, evidence: Evidence) -> list[Entry]:
    """Return each claim with its judgement; a claim without a judge is not tested yet."""
    return [Entry(claim=c, judgement=_judged(c, judges, evidence)) for c in claims]


def _judged(claim: Claim, judges: Judges, evidence: Evidence) -> Judgement:
    judge = judges.get(key_of(claim))
    if judge is None:
        return Judgement(outcome=Outcome.NOT_TESTED, how=gettext("Nothing judges this claim."))
    try:
        return judge(claim, evidence)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:  # a run from elsewhere
        how = gettext("A stored run cannot be compared: {error}.").format(error=f"{type(error).__name__}: {error}")
        return Judgement(outcome=Outcome.NOT_TESTED, how=how, command="workbench runs list")


def shown_value(claim: Claim, judgement: Judgement) -> str:
    """Return the value with its interval and unit as a reader would write it; a dash without one."""
    if judgement.value is None or judgement.provenance is None:
        return "–"
    unit = UNITS.get(claim.unit, "")
    ends = judgement.interval
    around = f" [{three_digits(ends[0])}, {three_digits(ends[1])}]" if ends else ""
    return f"{judgement.provenance.mark} {three_digits(judgement.value)}{around}{unit}"


def with_note(judgement: Judgement, note: str) -> Judgement:
    """Return a judgement with one more sentence."""
    return replace(judgement, how=f"{judgement.how} {note}".strip())
