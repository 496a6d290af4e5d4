"""Judgement of a new version by its requests: sequential tests that count a burst of failures once, and outages that end a rollout at once."""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from workbench.core.language import gettext, gettext_noop
from workbench.release.rule import MEASURES, CanaryRule
from workbench.release.sequential import MoreThanAllowed, WorseThanBaseline

GOOD_END_BURST = 2
"""Good requests of a server in a row that end a burst of bad ones."""
LEAST_OUTAGE = 16
"""Bad requests of the new version in a row that are an outage and no burst; more where the old version has long bursts."""
LEAST_USERS = 5
"""Different users that an outage must concern, where users are assigned."""
FORGOTTEN = 0.9999
"""Factor, for each request of the old version, on its longest row of bad requests; it lasts until the next burst of one request in thousands."""
TIMES_OLD_ROW = 3
"""An outage is a row that many times as long as the old version's longest one, since a second burst may begin where the first one ends."""
N_LATEST, N_FEWEST, N_BETWEEN = 1000, 100, 50
USUAL = 0.9
MOST_IN_EVENT = 10
"""Failures that one event stands for at most: a long outage does not say how failures come otherwise."""
FEWEST_EVENTS = 5
"""Events from which on it is known how many failures one stands for."""
UNANSWERED_AS_ONE = 5
"""Gold questions without an answer in a row that count as one."""
OUTAGE = gettext_noop("worse in {measure} (all of its last {n} requests)")
WORSE = gettext_noop("worse in {measure} (evidence {evidence})")
NOTHING_WORSE = gettext_noop("no measure is worse")
FEW_REQUESTS = gettext_noop("no measure is worse (power {percent} %)")
"""Reasons for which a rollout ends, as its journal keeps them."""


def shown_reason(reason: str) -> str:
    """Return what a reader sees of the reason for which a rollout ended."""
    if found := re.fullmatch(r"worse in (.+) \(all of its last (\d+) requests\)", reason):
        return gettext(OUTAGE).format(measure=gettext(found[1]), n=found[2])
    if found := re.fullmatch(r"worse in (.+) \(evidence (.+)\)", reason):
        return gettext(WORSE).format(measure=gettext(found[1]), evidence=found[2])
    if found := re.fullmatch(r"no measure is worse \(power (\d+) %\)", reason):
        return gettext(FEW_REQUESTS).format(percent=found[1])
    return gettext(reason)


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


@dataclass(slots=True)
class VersionCourse:
    """What the requests of one version went through lately, for one measure."""

    bursts: dict[str, int] = field(default_factory=dict)
    """Good requests since the last bad one, by server, while a burst lasts."""
    servers: set[str] = field(default_factory=set)
    n_bad_in_row: int = 0
    """Bad requests in a row, over all servers."""

    @property
    def is_calm(self) -> bool:
        """Whether fewer than half of the servers have a burst."""
        return not self.bursts or 2 * len(self.bursts) < len(self.servers)

    def note(self, server: str, *, is_bad: bool) -> None:
        """Note how a request to a server ended; a request that no server answered has none."""
        self.servers.add(server)
        if is_bad:
            self.n_bad_in_row += 1
            self.bursts[server] = 0
            return
        self.n_bad_in_row = 0
        self.bursts.pop("", None)
        if server in self.bursts:
            self.bursts[server] += 1
            if self.bursts[server] >= GOOD_END_BURST:
                del self.bursts[server]


@dataclass(slots=True)
class Comparison:
    """Comparison of both versions by one measure.

    A bad request counts as an event of the sequential test while neither its server nor the other version has a burst of them, so that a burst
    counts once, however long. As that would make a version without any good answer one event, a row of bad requests that no burst of the
    old version explains is an outage.
    """

    test: WorseThanBaseline = field(default_factory=WorseThanBaseline)
    old: VersionCourse = field(default_factory=VersionCourse)
    new: VersionCourse = field(default_factory=VersionCourse)
    counted: dict[str, float] = field(default_factory=dict)
    """Share of the new version when a user's latest event counted, 1 where that was the new version's: see ``chance``."""
    longest_old_row: float = 0.0
    n_merged: int = 0
    """Bad requests that count with the event before them, in each event up to a limit."""
    _n_merged_lately: int = 0
    _users_in_row: set[str] = field(default_factory=set)
    _old_since: list[int] = field(default_factory=lambda: [0, 0])
    """Good and bad requests of the old version since the new version's row of bad ones began."""

    def outcome(self, *, is_canary: bool, is_bad: bool, share: float, server: str, user: str) -> None:
        """Record how a request ended, with the new version's share when it was assigned."""
        own, other = (self.new, self.old) if is_canary else (self.old, self.new)
        if not is_bad and not own.bursts and not own.n_bad_in_row:  # as most requests
            own.servers.add(server)
            if not is_canary:
                self.longest_old_row *= FORGOTTEN
                self._old_since[0] += 1
            return
        chance = self.chance(user, share=share) if is_bad else 0.0
        if chance and server not in own.bursts and other.is_calm:
            self.test.event(is_canary=is_canary, share=chance)
            self._n_merged_lately = 0
            if user:
                self.counted[user] = 1.0 if is_canary else share
        elif chance and self._n_merged_lately + 1 < MOST_IN_EVENT:
            self._n_merged_lately += 1
            self.n_merged += 1
        own.note(server, is_bad=is_bad)
        if not is_canary:
            self.longest_old_row = max(own.n_bad_in_row, FORGOTTEN * self.longest_old_row)
            self._old_since[is_bad] += 1
        elif own.n_bad_in_row <= 1:  # the row began, or ended
            self._old_since, self._users_in_row = [0, 0], set()
        if is_canary and is_bad and user:
            self._users_in_row.add(user)

    def chance(self, user: str, *, share: float) -> float:
        """Return the probability that an event of a user is the new version's if both are alike; 0 where it says nothing.

        All requests of a user are assigned together, so that of a user's events in one step the first counts, and after one of the new version none.
        A user whose event was the old version's is assigned anew, among those on the old version, when the share grows, and counts again.
        """
        before = self.counted.get(user, 0.0)
        return (share - before) / (1 - before) if before < share else 0.0

    @property
    def n_bad_per_event(self) -> float:
        """Bad requests that one event stands for, where they come in bursts: so many times the requests are needed."""
        n_events = self.test.n_events
        return 1 + self.n_merged / n_events if n_events >= FEWEST_EVENTS else 1.0

    @property
    def is_outage(self) -> bool:
        """Whether the new version's latest requests are all bad while most of the old version's are good."""
        n, (n_good, n_bad) = self.new.n_bad_in_row, self._old_since
        if n < LEAST_OUTAGE or n <= TIMES_OLD_ROW * self.longest_old_row or n_good <= n_bad:
            return False
        return not self._users_in_row or len(self._users_in_row) >= LEAST_USERS


@dataclass(slots=True)
class UsualLimit:
    """Limit above which a latency is unusual: given, or the 90th percentile of the old version's latest requests."""

    given_s: float | None
    limit_s: float | None = None
    """Limit in seconds; None until the old version has answered enough requests."""
    _latest: deque[float] = field(default_factory=lambda: deque(maxlen=N_LATEST))
    _n_since: int = 0

    def __post_init__(self) -> None:
        self.limit_s = self.given_s

    def note(self, latency_s: float) -> None:
        """Note a latency of the old version, where the limit is not given."""
        self._latest.append(latency_s)
        self._n_since += 1
        if len(self._latest) >= N_FEWEST and self._n_since >= N_BETWEEN:
            self.limit_s, self._n_since = sorted(self._latest)[int(USUAL * len(self._latest))], 0


@dataclass(slots=True)
class Judge:
    """Comparisons by all measures, each at its part of alpha (Bonferroni)."""

    rule: CanaryRule
    failures: Comparison = field(default_factory=Comparison)
    late: Comparison = field(default_factory=Comparison)
    slow: Comparison = field(default_factory=Comparison)
    answers: MoreThanAllowed = field(init=False)
    usual_ttft: UsualLimit = field(init=False)
    usual_tpot: UsualLimit = field(init=False)
    _n_unanswered: int = 0
    _limit: float = field(init=False)
    _compared: Sequence[tuple[str, Comparison]] = field(init=False)

    def __post_init__(self) -> None:
        self._limit = self.rule.evidence_limit
        self._compared = tuple(zip(MEASURES, (self.failures, self.late, self.slow), strict=False))
        self.answers = MoreThanAllowed(self.rule.disagreement)
        self.usual_ttft, self.usual_tpot = UsualLimit(self.rule.late_ttft_s), UsualLimit(self.rule.late_tpot_s)

    def request(
        self,
        *,
        is_canary: bool,
        share: float,
        failed: bool,
        ttft_s: float | None = None,
        tpot_s: float | None = None,
        server: str = "",
        user: str = "",
    ) -> None:
        """Record a request that has ended: the new version's share when it was assigned, and its server and user where they are known."""
        self.failures.outcome(is_canary=is_canary, is_bad=failed, share=share, server=server, user=user)
        if failed:
            return
        for comparison, usual, latency_s in (
            (self.late, self.usual_ttft, ttft_s),
            (self.slow, self.usual_tpot, tpot_s),
        ):
            if latency_s is None:
                continue
            if (limit_s := usual.limit_s) is not None:
                late = latency_s > limit_s
                comparison.outcome(is_canary=is_canary, is_bad=late, share=share, server=server, user=user)
            if not is_canary and usual.given_s is None:
                usual.note(latency_s)

    def answer(self, *, agrees: bool) -> None:
        """Record whether both versions answered a prompt of the gold set alike."""
        self._n_unanswered = 0
        self.answers.outcome(is_bad=not agrees)

    def unanswered(self) -> None:
        """Record a prompt of the gold set that only the old version answered; of several in a row, every fifth counts."""
        if self._n_unanswered % UNANSWERED_AS_ONE == 0:
            self.answers.outcome(is_bad=True)
        self._n_unanswered += 1

    @property
    def evidence(self) -> Evidence:
        """Evidence against the new version, by measure."""
        return Evidence(
            failures=self.failures.test.evidence,
            late_ttft=self.late.test.evidence,
            slow_tpot=self.slow.test.evidence,
            disagreement=self.answers.evidence,
        )

    @property
    def verdict(self) -> str | None:
        """Why the new version is worse; None where it is not."""
        limit = self._limit
        for name, comparison in self._compared:
            if comparison.new.n_bad_in_row >= LEAST_OUTAGE and comparison.is_outage:
                n = comparison.new.n_bad_in_row
                return OUTAGE.format(measure=MEASURES[name], n=n)
        if (
            max(self.failures.test.evidence, self.late.test.evidence, self.slow.test.evidence, self.answers.evidence)
            < limit
        ):
            return None
        label, evidence = max(self.evidence.by_label.items(), key=lambda pair: pair[1])
        return WORSE.format(measure=label, evidence=f"{evidence:.3g}")
