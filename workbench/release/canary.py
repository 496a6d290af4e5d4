"""Canary rollouts: a new version gets more users step by step, or is rolled back as soon as the evidence shows that it is worse."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import msgspec

from workbench.core.errors import InvalidSpec, StoreError
from workbench.release.sequential import MoreThanAllowed, WorseThanBaseline


class Phase(StrEnum):
    """Phase of a rollout, the last two final."""

    RUNNING = "running"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRule:
    """Steps of a rollout, and how the new version is judged."""

    steps: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    """Rising shares of the users on the new version, the last of them 1."""
    least_requests: int = 200
    """Requests to the new version in each step before the next step."""
    alpha: float = 0.01
    """Largest probability of rolling back a version that is no worse, over all measures and the whole rollout."""
    late_ttft_s: float = 1.0
    """TTFT above which a request counts as late; use the 95th percentile of the old version."""
    late_tpot_s: float = 0.05
    """TPOT above which a request counts as slow; use the 95th percentile of the old version."""
    disagreement: float = 0.05
    """Share of the answers to the gold set that may differ from those of the old version."""

    @property
    def evidence_limit(self) -> float:
        """Evidence from which a version is rolled back: each measure has its part of alpha (Bonferroni)."""
        return len(MEASURES) / self.alpha

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in pairwise(self.steps))
        if not self.steps or not rising or not 0 < self.steps[0] <= 1 or self.steps[-1] != 1:
            raise InvalidSpec(f"The steps are {self.steps}.", remedy="Give rising shares that end at 1.")
        if self.least_requests < 1 or not 0 < self.alpha < 1:
            raise InvalidSpec(
                f"{self.least_requests} requests, alpha {self.alpha}.",
                remedy="Give one request or more, and an alpha between 0 and 1.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Evidence (e-values) that the new version is worse than the old one, by measure; 1 is none."""

    failures: float
    """Requests that fail more often than the old version's."""
    late_ttft: float
    """Requests whose TTFT exceeds the limit more often than the old version's."""
    slow_tpot: float
    """Requests whose TPOT exceeds the limit more often than the old version's."""
    disagreement: float
    """Next tokens that differ from the old version's more often than is tolerated."""

    @property
    def by_label(self) -> dict[str, float]:
        """Evidence by the label of its measure."""
        return {label: getattr(self, name) for name, label in MEASURES.items()}

    @property
    def largest(self) -> float:
        """Evidence of the measure that speaks most against the new version."""
        return max(self.by_label.values())


MEASURES = {
    "failures": "failures",
    "late_ttft": "late TTFT",
    "slow_tpot": "slow TPOT",
    "disagreement": "disagreement",
}
"""Label of each measure that a version is judged by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedAnswers:
    """Answers of both versions to the gold set."""

    n: int
    n_differ: int
    """Of these, answers that differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """State of a rollout at one moment."""

    phase: Phase
    step: int
    """Index of the present step."""
    shares: Mapping[str, float]
    """Share of the users by version, the old version first."""
    reason: str
    """Why the rollout ended; empty while it runs."""
    n_requests_in_step: int
    """Requests of the new version since the step began."""
    evidence: Evidence
    answers: ComparedAnswers


@dataclass(slots=True)
class Judge:
    """Tests of all measures, each at its part of alpha (Bonferroni)."""

    rule: CanaryRule
    failures: WorseThanBaseline = field(default_factory=WorseThanBaseline)
    late: WorseThanBaseline = field(default_factory=WorseThanBaseline)
    slow: WorseThanBaseline = field(default_factory=WorseThanBaseline)
    answers: MoreThanAllowed = field(init=False)

    def __post_init__(self) -> None:
        self.answers = MoreThanAllowed(self.rule.disagreement)

    def request(
        self, *, is_canary: bool, share: float, failed: bool, ttft_s: float | None = None, tpot_s: float | None = None
    ) -> None:
        """Record a request that has ended."""
        is_late = ttft_s is not None and ttft_s > self.rule.late_ttft_s
        is_slow = tpot_s is not None and tpot_s > self.rule.late_tpot_s
        for happened, test in ((failed, self.failures), (is_late, self.late), (is_slow, self.slow)):
            if happened:
                test.event(is_canary=is_canary, share=share)

    def answer(self, *, agrees: bool) -> None:
        """Record whether both versions answered a prompt of the gold set alike."""
        self.answers.outcome(is_bad=not agrees)

    @property
    def evidence(self) -> Evidence:
        """Evidence against the new version, by measure."""
        return Evidence(
            failures=self.failures.evidence,
            late_ttft=self.late.evidence,
            slow_tpot=self.slow.evidence,
            disagreement=self.answers.evidence,
        )

    @property
    def worse_in(self) -> str | None:
        """Label of the measure by which the new version is worse; None where there is none."""
        label, evidence = max(self.evidence.by_label.items(), key=lambda pair: pair[1])
        return label if evidence >= self.rule.evidence_limit else None


class Begin(msgspec.Struct, tag="begin", tag_field="what", frozen=True):
    """First line of a journal."""

    versions: tuple[str, str]
    rule: CanaryRule


class StepTaken(msgspec.Struct, tag="step", tag_field="what", frozen=True):
    """Line for each step after the first."""

    step: int


class End(msgspec.Struct, tag="end", tag_field="what", frozen=True):
    """Last line of a journal."""

    phase: Phase
    reason: str = msgspec.field(name="why")


Line: TypeAlias = Begin | StepTaken | End


class Journal:
    """File of JSON lines, each written to disk before its step is taken; an incomplete last line is dropped."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: list[Line] = []
        if file.exists():
            raw = file.read_bytes()
            whole = raw[: raw.rfind(b"\n") + 1]
            try:
                self.lines = [msgspec.json.decode(line, type=Line) for line in whole.splitlines()]
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise StoreError(
                    f"{file} is not a rollout journal: {error}.", remedy="Restore the file, or begin another rollout."
                ) from error
            if len(whole) < len(raw):
                os.truncate(file, len(whole))

    def write(self, line: Line) -> None:
        """Append a line, which is on the disk when this returns."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as out:
            out.write(msgspec.json.encode(line) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        self.lines.append(line)


class Rollout:
    """One rollout, which any process can resume from its journal.

    Args:
        journal: Journal of this rollout.
        rule: How the new version is judged; the rule of a resumed journal is kept.
        versions: Digests of the old and the new version.
        set_shares: Sets the shares of the users by version; it is idempotent, and called again after a crash.
    """

    def __init__(
        self,
        journal: Journal,
        rule: CanaryRule,
        *,
        versions: tuple[str, str],
        set_shares: Callable[[dict[str, float]], None],
    ) -> None:
        self._journal, self._set_shares = journal, set_shares
        begin = next((line for line in journal.lines if isinstance(line, Begin)), None)
        if begin is not None:
            if begin.versions != versions:
                raise InvalidSpec(
                    f"The journal belongs to a rollout of {list(begin.versions)}.",
                    remedy="Begin another rollout with a journal of its own for other versions.",
                )
            rule = begin.rule
        self.rule, self.versions = rule, versions
        self.judge = Judge(rule)
        self.phase, self.step, self.reason = Phase.RUNNING, 0, ""
        self.n_in_step = 0
        for line in journal.lines:
            if isinstance(line, StepTaken):
                self.step = line.step
            elif isinstance(line, End):
                self.phase, self.reason = line.phase, line.reason
        if begin is None:
            journal.write(Begin(versions, rule))
        self._set_shares(self.shares)

    @property
    def shares(self) -> dict[str, float]:
        """Shares of the users by version, the old version first."""
        old, new = self.versions
        share = {Phase.PROMOTED: 1.0, Phase.ROLLED_BACK: 0.0}.get(self.phase, self.rule.steps[self.step])
        return {old: 1 - share, new: share}

    @property
    def state(self) -> RolloutState:
        """State of the rollout at this moment."""
        return RolloutState(
            phase=self.phase,
            step=self.step,
            shares=self.shares,
            reason=self.reason,
            n_requests_in_step=self.n_in_step,
            evidence=self.judge.evidence,
            answers=ComparedAnswers(n=self.judge.answers.n, n_differ=self.judge.answers.n_bad),
        )

    def request(self, version: str, *, failed: bool, ttft_s: float | None = None, tpot_s: float | None = None) -> Phase:
        """Record how a request to a version ended; return the phase after it."""
        if self.phase is not Phase.RUNNING:
            return self.phase
        is_canary = version == self.versions[1]
        self.n_in_step += is_canary
        share = self.shares[self.versions[1]]
        self.judge.request(is_canary=is_canary, share=share, failed=failed, ttft_s=ttft_s, tpot_s=tpot_s)
        return self._decide()

    def answer(self, *, agrees: bool) -> Phase:
        """Record whether both versions answered a prompt alike; return the phase after it."""
        if self.phase is Phase.RUNNING:
            self.judge.answer(agrees=agrees)
            return self._decide()
        return self.phase

    def _decide(self) -> Phase:
        worse = self.judge.worse_in
        if worse is not None:
            self._end(Phase.ROLLED_BACK, f"worse in {worse} (evidence {self.judge.evidence.largest:.3g})")
        elif self.n_in_step >= self.rule.least_requests:
            if self.step + 1 < len(self.rule.steps):
                self._journal.write(StepTaken(self.step + 1))
                self.step, self.n_in_step = self.step + 1, 0
                self._set_shares(self.shares)
            else:
                self._end(Phase.PROMOTED, "no measure is worse")
        return self.phase

    def _end(self, phase: Phase, reason: str) -> None:
        self._journal.write(End(phase, reason))
        self.phase, self.reason = phase, reason
        self._set_shares(self.shares)


def verified_shares(seen: Sequence[str], shares: Mapping[str, float], *, tolerance: float = 0.02) -> bool:
    """Return whether the shares of the versions that answered match the shares that were set, within the tolerance."""
    if not seen:
        return False
    return all(
        abs(sum(v == name for v in seen) / len(seen) - share) <= tolerance + 1e-9 for name, share in shares.items()
    )
