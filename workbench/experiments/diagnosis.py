"""Why did latency change? Symptoms first, then causes ranked by what speaks for and against them, or no answer when that is thin.

A cause's score is the weighted mean of its clues, between -1 and 1. Clues that say nothing are left out; clues that could not be read count as
nothing with half their weight, so that a cause with one weak clue does not outrank one with several; and without any telling clue a cause is
no more than a hint. Scores become shares by a softmax whose steepness was
set on tuning loads (``workbench faults``, other seeds than those that are reported).
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from workbench.core.runs import Run
from workbench.experiments.cause_list import CAUSES
from workbench.experiments.causes import Cause, answers_differ, factor_alone
from workbench.experiments.observation import Observation, observe

STEEPNESS = 6.0
UNSEEN = 0.5
TELLING, HINT = 2.0, 0.25  # weight of a clue that can name a cause, and the score without any
LEAST_SCORE = 0.3
LEAST_SHARE = 0.4
EVIDENT = 0.5
# By how much each wait must grow to be noticed at all, and to be noticed whatever the evidence says; and by how many seconds at least. Bursts
# in short healthy loads triple waits now and then.
GROWN = {"ttft_s": (1.25, 5.0, 0.01), "tpot_s": (1.15, 2.0, 0.001), "e2e_s": (1.2, 3.0, 0.03)}
WAITS = {"ttft_s": "wait for the first token", "tpot_s": "time per token", "e2e_s": "time of a whole answer"}
STALLS = (0.1, 0.4)
ALONE = (1.25, 2.0)
SIGNIFICANCE = 0.01
LATE_QUANTILE, LATE = 0.95, 1.2  # of the healthy waits, and so many times that


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one clue says."""

    text: str
    speaks: float
    """From -1, against, to 1, for."""
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A cause with its standing."""

    key: str
    title: str
    remedy: str
    score: float
    share: float
    """Of the belief in all causes together."""
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """Something that users notice."""

    text: str
    is_strong: bool
    """Whether it is beyond what two short healthy loads differ by; others count only where the evidence names a cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was found between two loads."""

    symptoms: tuple[str, ...]
    """What users notice; without any there is nothing to explain."""
    causes: tuple[Ranked, ...]
    """The most likely first; all of them, also when the diagnosis abstains."""
    abstains: str | None
    """Why no cause is named although there are symptoms."""

    @property
    def alarm(self) -> bool:
        """Whether users notice anything."""
        return bool(self.symptoms)

    @property
    def named(self) -> str | None:
        """The cause that is named, if one is."""
        return self.causes[0].key if self.alarm and self.abstains is None else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"alarm": self.alarm, "named": self.named}


def diagnose(baseline: Run, current: Run) -> Diagnosis:
    """Compare two loads; raises ``NotAvailable`` for runs without requests."""
    return diagnosis_of(observe(baseline), observe(current))


def diagnosis_of(a: Observation, b: Observation) -> Diagnosis:
    """The same for what was observed of a healthy load and of the one in question."""
    scored = sorted((_scored(c, a, b) for c in CAUSES), key=lambda x: -x[0])
    top = scored[0][0]
    belief = [math.exp(STEEPNESS * (score - top)) for score, _, _ in scored]
    total = sum(belief)
    ranked = tuple(
        Ranked(key=c.key, title=c.title, remedy=c.remedy, score=score, share=x / total, evidence=evidence)
        for (score, c, evidence), x in zip(scored, belief, strict=True)
    )
    found = symptoms_of(a, b)
    abstains = _abstains(ranked)
    is_noticed = any(s.is_strong for s in found) or (found and abstains is None and ranked[0].score >= EVIDENT)
    return Diagnosis(
        symptoms=tuple(s.text for s in found) if is_noticed else (),
        causes=ranked,
        abstains=abstains if is_noticed else None,
    )


def symptoms_of(a: Observation, b: Observation) -> tuple[Symptom, ...]:
    """What users notice: waits that grew beyond chance, answers that stall, failures, other answers, and a server that is slower alone."""
    told = []
    for name, (least, strong, seconds) in GROWN.items():
        before, after = a.get(name), b.get(name)
        if before is None or after is None or after < least * before or after - before < seconds:
            continue
        if name == "ttft_s" and not _beyond_chance(a.waits_s, b.waits_s):
            continue
        text = f"{WAITS[name]} {1000 * before:.0f} → {1000 * after:.0f} ms"
        told.append(Symptom(text=text, is_strong=after >= strong * before))
    stalls = [o.get("stalls_per_answer") or 0.0 for o in (a, b)]
    if stalls[1] - stalls[0] >= STALLS[0]:
        text = f"stalls in an answer {stalls[0]:.2f} → {stalls[1]:.2f}"
        told.append(Symptom(text=text, is_strong=stalls[1] - stalls[0] >= STALLS[1]))
    alone = factor_alone(a, b)
    if alone is not None and alone[0] >= ALONE[0]:
        told.append(Symptom(text=alone[1], is_strong=alone[0] >= ALONE[1]))
    failed = (a.get("failed_fraction") or 0.0, b.get("failed_fraction") or 0.0)
    if len(b.errors) >= 2 and failed[1] - failed[0] >= 0.01:
        text = f"failed requests {100 * failed[0]:.1f} → {100 * failed[1]:.1f} %"
        told.append(Symptom(text=text, is_strong=True))
    differ = answers_differ(a, b)
    if differ is not None and differ[0] > 0:
        told.append(Symptom(text=differ[1], is_strong=True))
    return tuple(told)


def _beyond_chance(before: tuple[float, ...], after: tuple[float, ...]) -> bool:
    if len(before) < 5 or len(after) < 5:
        return False
    from scipy.stats import (  # takes a quarter of a second, which other commands need not wait for
        fisher_exact,
        mannwhitneyu,
    )

    a, b = np.array(before), np.array(after)
    if mannwhitneyu(b, a, alternative="greater").pvalue < SIGNIFICANCE:
        return True
    # A part of the requests that waits long moves few ranks: late ones are counted too.
    late = LATE * np.quantile(a, LATE_QUANTILE)
    n_late = [int((x > late).sum()) for x in (b, a)]
    table = [[n_late[0], b.size - n_late[0]], [n_late[1], a.size - n_late[1]]]
    return bool(fisher_exact(table, alternative="greater").pvalue < SIGNIFICANCE)


def _scored(cause: Cause, a: Observation, b: Observation) -> tuple[float, Cause, tuple[Evidence, ...]]:
    evidence: list[Evidence] = []
    total = weights = 0.0
    for weight, clue in cause.clues:
        reading = clue(a, b)
        if reading is None:
            weights += weight * UNSEEN
            continue
        total += weight * reading[0]
        weights += weight if reading[0] else 0.0
        evidence.append(Evidence(text=reading[1], speaks=round(reading[0], 3), weight=weight))
    is_weighed = evidence and (cause.needs is None or cause.needs in b.values)
    score = total / weights if is_weighed and weights else -1.0
    if not any(e.weight >= TELLING and e.speaks > 0.2 for e in evidence):
        score = min(score, HINT)  # side effects alone fit many causes
    return score, cause, tuple(sorted(evidence, key=lambda e: -abs(e.speaks * e.weight)))


def _abstains(ranked: tuple[Ranked, ...]) -> str | None:
    first, second = ranked[:2]
    if first.score < LEAST_SCORE:
        return f"nothing that was seen speaks clearly for a cause; the nearest is: {first.title.lower()}"
    if first.share < LEAST_SHARE:
        return f"two causes are as likely: {first.title.lower()}, or {second.title.lower()}"
    return None
