"""Why did latency change? Symptoms first, then causes ranked by the evidence for and against them; no cause is named when the evidence is thin.

A cause's score is the weighted mean of its clues, between -1 and 1. Clues without a result are left out; clues that could not be read count as 0
with half their weight, so that a cause with one weak clue does not outrank one with several; and without any specific clue a cause is
no more than a hint. Scores become probabilities by a softmax whose steepness was
set on tuning loads (``workbench faults``, other seeds than those that are reported).
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from workbench.core.language import gettext_noop
from workbench.core.runs import Run
from workbench.questions.latency.findings.cause_list import CAUSES
from workbench.questions.latency.findings.causes import Cause, answers_differ, factor_alone
from workbench.questions.latency.findings.observation import GAVE_UP, Observation, observe
from workbench.questions.latency.rows import Evidence

STEEPNESS = 6.0
UNSEEN = 0.5
SPECIFIC, HINT = 2.0, 0.25  # weight of a clue that can name a cause, and the score without any
LEAST_SCORE = 0.3
LEAST_PROBABILITY = 0.4
EVIDENT = 0.5
# Where other programs compete with the server already in the healthy load, latencies change by chance from one load to the next, and with them
# what these causes are told by: there a latency is a symptom only with evidence that names its cause, and for these only with more of it.
UNSTEADY = frozenset({"processor taken by others", "slow network", "packets lost", "slow tokenizer", "server pauses"})
EVIDENT_IF_UNSTEADY = 0.8
# By how much each latency must grow to be a symptom at all, and to be one whatever the evidence says; and by how many
# seconds at least. Bursts in short healthy loads triple latencies now and then.
GROWN = {
    "ttft_s": ("TTFT", 1.25, 5.0, 0.01),
    "tpot_s": ("TPOT", 1.15, 2.0, 0.001),
    "e2e_s": (gettext_noop("end-to-end latency"), 1.2, 3.0, 0.03),
}
STALLS = (0.1, 0.4)
ALONE = (1.25, 2.0)
SIGNIFICANCE = 0.01
LATE_QUANTILE, LATE = 0.95, 1.2  # of the healthy TTFT, and so many times that


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A cause with its score, its probability and its evidence."""

    key: str
    title: str
    remedy: str
    score: float
    probability: float
    """Probability of the cause, from a softmax over all causes."""
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """A change that users notice."""

    text: str
    is_strong: bool
    """Whether it exceeds the differences between two short healthy loads; weaker symptoms count only where the evidence names a cause."""
    is_latency: bool = True
    """Whether it is a latency, which other programs on the machine change too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The change that users notice between two loads, and its causes."""

    symptoms: tuple[str, ...]
    """Changes that users notice; without any there is nothing to explain."""
    causes: tuple[Ranked, ...]
    """All causes, the most likely first, also when the diagnosis abstains."""
    abstains: str | None
    """Why no cause is named although there are symptoms."""
    withheld: str | None = None
    """Changes that other programs on the machine may have caused, as they compete with the server in the healthy load too; no alarm is raised."""

    differences: tuple[str, ...] = ()
    """What else than a cause differs between the two loads: model or machine; no cause is named then."""

    @property
    def alarm(self) -> bool:
        """Whether users notice a change."""
        return bool(self.symptoms)

    @property
    def named(self) -> str | None:
        """Cause that the diagnosis names; None where it names none."""
        is_open = self.abstains is not None or bool(self.differences)
        return self.causes[0].key if self.alarm and not is_open else None


def diagnose(baseline: Run, current: Run) -> Diagnosis:
    """Return the change that users notice between two loads, and its causes; raises ``NotAvailable`` for runs without requests."""
    return replace(diagnosis_of(observe(baseline), observe(current)), differences=differences_of(baseline, current))


def differences_of(baseline: Run, current: Run) -> tuple[str, ...]:
    """Return what keeps two loads from being compared: another model, device or number of cores."""
    sides = [
        {
            gettext_noop("model"): Path(r.model).name if r.model else None,
            gettext_noop("device"): r.environment.device,
            gettext_noop("processor"): r.environment.cpu,
            gettext_noop("cores"): str(r.environment.n_cpus),
        }
        for r in (baseline, current)
    ]
    return tuple(
        gettext_noop("{name}: {before} and {now}").format(name=name, before=before, now=now)
        for (name, before), now in zip(sides[0].items(), sides[1].values(), strict=True)
        if before and now and before != now
    )


def diagnosis_of(a: Observation, b: Observation) -> Diagnosis:
    """Return the diagnosis for the observations of a healthy load and of the load in question."""
    scored = sorted((_score(c, a, b) for c in CAUSES), key=lambda x: -x[0])
    top = scored[0][0]
    odds = [math.exp(STEEPNESS * (score - top)) for score, _, _ in scored]
    ranked = tuple(
        Ranked(key=c.key, title=c.title, remedy=c.remedy, score=score, probability=x / sum(odds), evidence=evidence)
        for (score, c, evidence), x in zip(scored, odds, strict=True)
    )
    symptoms, abstains, busy = symptoms_of(a, b), _abstains(ranked), _busy(a)
    is_unsteady = busy is not None and ranked[0].key in UNSTEADY
    is_evident = abstains is None and ranked[0].score >= (EVIDENT_IF_UNSTEADY if is_unsteady else EVIDENT)
    is_noticed = any(is_evident or (s.is_strong and not (busy and s.is_latency)) for s in symptoms)
    would_be = any(s.is_strong for s in symptoms) and not is_noticed
    return Diagnosis(
        symptoms=tuple(s.text for s in symptoms) if is_noticed else (),
        causes=ranked,
        abstains=abstains if is_noticed else None,
        withheld=gettext_noop("{busy}, so this may be chance: {symptoms}").format(
            busy=busy, symptoms="; ".join(s.text for s in symptoms)
        )
        if would_be
        else None,
    )


def _busy(a: Observation) -> str | None:
    """Return how other programs compete with the server in the healthy load; None where they do not."""
    text = gettext_noop("other programs used {others:.1f} cores in the healthy load too")
    return text.format(others=a.get("others_cores")) if a.is_busy else None


def symptoms_of(a: Observation, b: Observation) -> tuple[Symptom, ...]:
    """Return the symptoms: latencies that grew beyond chance, stalls, failures, different answers, and a server that is slower without load."""
    symptoms: list[Symptom] = []
    for name, (latency, least, strong, seconds) in GROWN.items():
        before, after = a.get(name), b.get(name)
        if before is None or after is None or after < least * before or after - before < seconds:
            continue
        if name == "ttft_s" and not _beyond_chance(a.ttfts_s, b.ttfts_s):
            continue
        text = gettext_noop("{latency} {before:.0f} → {after:.0f} ms").format(
            latency=latency, before=1000 * before, after=1000 * after
        )
        symptoms.append(Symptom(text=text, is_strong=after >= strong * before))
    stalls = [o.get("stalls_per_answer") or 0.0 for o in (a, b)]
    if stalls[1] - stalls[0] >= STALLS[0]:
        text = gettext_noop("stalls per answer {before:.2f} → {after:.2f}").format(before=stalls[0], after=stalls[1])
        symptoms.append(Symptom(text=text, is_strong=stalls[1] - stalls[0] >= STALLS[1]))
    if (alone := factor_alone(a, b)) is not None and alone[0] >= ALONE[0]:
        symptoms.append(Symptom(text=alone[1], is_strong=alone[0] >= ALONE[1]))
    # Where clients give up in both loads, fewer of them may hide as many answers that are errors.
    failed, refused = [o.get("failed_fraction") or 0.0 for o in (a, b)], [o.refused_fraction for o in (a, b)]
    before, now = max((failed, refused), key=lambda pair: pair[1] - pair[0])
    if len(b.errors) >= 2 and now - before >= 0.01:
        text = gettext_noop("failed requests {before:.1f} → {after:.1f} %").format(before=100 * before, after=100 * now)
        is_wait = all(e.startswith(GAVE_UP) for e in b.errors)
        symptoms.append(Symptom(text=text, is_strong=True, is_latency=is_wait))
    if (differ := answers_differ(a, b)) is not None and differ[0] > 0:
        symptoms.append(Symptom(text=differ[1], is_strong=True, is_latency=False))
    return tuple(symptoms)


def _beyond_chance(before: tuple[float, ...], after: tuple[float, ...]) -> bool:
    if len(before) < 5 or len(after) < 5:
        return False
    # Takes a quarter of a second, which other commands need not wait for.
    from scipy.stats import fisher_exact, mannwhitneyu

    a, b = np.array(before), np.array(after)
    if mannwhitneyu(b, a, alternative="greater").pvalue < SIGNIFICANCE:
        return True
    # A few very late requests move few ranks: late ones are counted too.
    late = LATE * np.quantile(a, LATE_QUANTILE)
    n_late = [int((x > late).sum()) for x in (b, a)]
    table = [[n_late[0], b.size - n_late[0]], [n_late[1], a.size - n_late[1]]]
    return bool(fisher_exact(table, alternative="greater").pvalue < SIGNIFICANCE)


def _score(cause: Cause, a: Observation, b: Observation) -> tuple[float, Cause, tuple[Evidence, ...]]:
    evidence: list[Evidence] = []
    total = weights = 0.0
    for weight, clue in cause.clues:
        reading = clue(a, b)
        if reading is None:
            weights += weight * UNSEEN
            continue
        total += weight * reading[0]
        weights += weight if reading[0] else 0.0
        evidence.append(Evidence(text=reading[1], score=round(reading[0], 3), weight=weight))
    is_weighed = evidence and (cause.needs is None or cause.needs in b.values)
    score = total / weights if is_weighed and weights else -1.0
    if not any(e.weight >= SPECIFIC and e.score > 0.2 for e in evidence):
        score = min(score, HINT)  # side effects alone fit many causes
    return score, cause, tuple(sorted(evidence, key=lambda e: -abs(e.score * e.weight)))


def _abstains(ranked: tuple[Ranked, ...]) -> str | None:
    first, second = ranked[:2]
    if first.score < LEAST_SCORE:
        text = gettext_noop("no evidence clearly supports one cause; the most likely one is: {first}")
        return text.format(first=_inline(first.title))
    if first.probability < LEAST_PROBABILITY:
        text = gettext_noop("two causes are about equally likely: {first}, or {second}")
        return text.format(first=_inline(first.title), second=_inline(second.title))
    return None


def _inline(title: str) -> str:
    """Return a title as part of a sentence; names such as KV cache keep their capitals."""
    return title if title[:2].isupper() else title[0].lower() + title[1:]
