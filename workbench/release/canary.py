"""Canary rollouts: a new version gets more requests step by step, or is rolled back as soon as the evidence shows that it is worse."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from workbench.core.errors import InvalidSpec
from workbench.release.journal import AnswersCompared, Begin, End, Journal, Line, Phase, RequestEnded, StepTaken
from workbench.release.judge import FEW_REQUESTS, NOTHING_WORSE, Evidence, Judge
from workbench.release.rule import CanaryRule

MOST_TIMES = 10
"""Times the planned requests after which a step ends at the latest, even with less power than was asked for."""


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
    """Share of the requests by version, the old version first."""
    reason: str
    """Why the rollout ended; empty while it runs."""
    n_requests_in_step: int
    """Requests that the new version answered since the step began; failed ones lead to no further step."""
    evidence: Evidence
    answers: ComparedAnswers
    least_requests: int | None = None
    """Requests of the new version in each step before the next step; null in runs of before 2026-11-30."""
    power: float | None = None
    """Probability with which the rise of the failures that the rule names is caught before the last step; null in runs of before 2026-11-30."""


class Rollout:
    """One rollout, which any process can resume from its journal, with all of its evidence.

    Args:
        journal: Journal of this rollout.
        rule: How the new version is judged; the rule of a resumed journal is kept.
        versions: Digests of the old and the new version.
        set_shares: Sets the shares of the requests by version; it is idempotent, and called again after a crash.
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
        self.judge, self._planned_requests = Judge(rule), rule.requests_per_step
        self.phase, self.step, self.reason = Phase.RUNNING, 0, ""
        self.n_in_step, self.share = 0, rule.share_at(0)
        self._passed: Counter[tuple[float, bool]] = Counter()
        self._in_step: Counter[tuple[float, bool]] = Counter()
        if begin is None:
            journal.write(Begin(versions, rule))
        for line in journal.lines:
            self._apply(line)
        self._set_shares(self.shares)
        if journal.lines:
            self._decide()

    @property
    def shares(self) -> dict[str, float]:
        """Shares of the requests by version, the old version first."""
        old, new = self.versions
        return {old: 1 - self.share, new: self.share}

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
            least_requests=self.least_requests,
            power=self.power,
        )

    @property
    def least_requests(self) -> int:
        """Requests of the new version in each step before the next: what the power needs, times the failures that count as one, unless it is given."""
        if self.rule.least_requests is not None:
            return self.rule.least_requests
        return ceil(self._planned_requests * self.judge.failures.n_bad_per_event)

    @property
    def power(self) -> float:
        """Probability with which the rise of the failures that the rule names is caught before the last step: in the steps passed and those planned."""
        if self.phase is not Phase.RUNNING:
            return self._power_so_far
        planned = self.rule.planned(self.least_requests / self.judge.failures.n_bad_per_event, first=self.step)
        return self.rule.power_of(self._passed + Counter(planned))

    @property
    def _power_so_far(self) -> float:
        """The same in the compared steps that are passed and the present one."""
        is_compared = self.step < self.rule.n_compared
        return self.rule.power_of(self._passed + self._counting if is_compared else self._passed)

    @property
    def _counting(self) -> Counter[tuple[float, bool]]:
        """Requests of this step whose failures would have counted one by one: exposure as of ``CanaryRule.power_of``."""
        n_bad = self.judge.failures.n_bad_per_event
        return Counter({key: n / n_bad for key, n in self._in_step.items()})

    @property
    def _is_enough(self) -> bool:
        """Whether the step has the planned requests that count, and the last compared one the power, unless neither comes in many times as many."""
        if self.rule.least_requests is not None:
            return self.n_in_step >= self.rule.least_requests
        if self.n_in_step < self._planned_requests:
            return False
        if self.n_in_step >= MOST_TIMES * self._planned_requests:
            return True
        n_counting = sum(n for (_, is_new), n in self._counting.items() if is_new)
        if n_counting < self._planned_requests:
            return False
        return self.step + 1 != self.rule.n_compared or self._power_so_far >= self.rule.power

    def request(
        self,
        version: str,
        *,
        failed: bool,
        ttft_s: float | None = None,
        tpot_s: float | None = None,
        share: float | None = None,
        server: str = "",
        user: str = "",
    ) -> Phase:
        """Record how a request to a version ended; return the phase after it.

        Args:
            version: Version that the request was assigned to.
            failed: Whether its client could not use the answer.
            ttft_s: Time to first token.
            tpot_s: TPOT.
            share: Share of the new version when the request was assigned; None: the present one.
            server: Server of the version, so that bursts of one server can be recognized; empty: not known.
            user: Where users are assigned and not requests, the user.
        """
        return self._record(
            RequestEnded(
                share=self.share if share is None else share,
                new=version == self.versions[1],
                failed=failed,
                ttft_s=ttft_s,
                tpot_s=tpot_s,
                server=server,
                user=user,
            )
        )

    def answer(self, *, agrees: bool, is_answered: bool = True) -> Phase:
        """Record how a prompt that the old version answered was answered by the new one; return the phase after it."""
        return self._record(AnswersCompared(agrees=agrees, is_answered=is_answered))

    def _record(self, line: Line) -> Phase:
        if self.phase is Phase.RUNNING:
            self._journal.write(line)
            self._apply(line)
            self._decide()
        return self.phase

    def _apply(self, line: Line) -> None:
        """Change the state as a line of the journal says."""
        match line:
            case RequestEnded():
                if not line.failed:
                    self.n_in_step += line.new
                    if 0 < (chance := self.judge.failures.chance(line.user, share=line.share)) < 1:
                        self._in_step[chance, line.new] += 1
                self.judge.request(
                    is_canary=line.new,
                    share=line.share,
                    failed=line.failed,
                    ttft_s=line.ttft_s,
                    tpot_s=line.tpot_s,
                    server=line.server,
                    user=line.user,
                )
            case AnswersCompared():
                if line.is_answered:
                    self.judge.answer(agrees=line.agrees)
                else:
                    self.judge.unanswered()
            case StepTaken():
                self._passed, self._in_step = self._passed + self._counting, Counter()
                self.step, self.n_in_step, self.share = line.step, 0, self.rule.share_at(line.step)
            case End():
                self.phase, self.reason, self.share = line.phase, line.reason, float(line.phase is Phase.PROMOTED)

    def _decide(self) -> None:
        """Take the step or the end that the evidence calls for: written first, then done."""
        if self.phase is not Phase.RUNNING:
            return
        if (reason := self.judge.verdict) is not None:
            self._take(End(Phase.ROLLED_BACK, reason))
        elif self._is_enough:
            is_last = self.step + 1 == len(self.rule.steps)
            self._take(End(Phase.PROMOTED, self._why_promoted) if is_last else StepTaken(self.step + 1))

    @property
    def _why_promoted(self) -> str:
        power = self._power_so_far
        return NOTHING_WORSE if power >= self.rule.power else FEW_REQUESTS.format(percent=int(100 * power))

    def _take(self, line: StepTaken | End) -> None:
        self._journal.write(line)
        self._apply(line)
        self._set_shares(self.shares)


def verified_shares(seen: Sequence[str], shares: Mapping[str, float], *, tolerance: float = 0.02) -> bool:
    """Return whether the shares of the versions that answered match the shares that were set, within the tolerance."""
    if not seen:
        return False
    return all(
        abs(sum(v == name for v in seen) / len(seen) - share) <= tolerance + 1e-9 for name, share in shares.items()
    )
