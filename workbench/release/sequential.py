"""Sequential tests that may be evaluated after every request: the probability of any false alarm stays below alpha.

An e-process starts at 1 and, while the new version is no worse, is at most 1 on average; by Ville's inequality (1939) the probability that it
ever exceeds ``1 / alpha`` is at most ``alpha``. See Ramdas, Grünwald, Vovk and Shafer 2023 on such tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import exp, log

from workbench.core.errors import InvalidSpec

RATIOS = (1.5, 2.0, 3.0, 5.0, 10.0)
BETS = (0.05, 0.1, 0.2, 0.4, 0.8)


@lru_cache(maxsize=256)
def log_factors(ratio: float, share: float) -> tuple[float, float]:
    """Return the log evidence of an event of the canary and of one of the baseline, if the canary's are more frequent by a ratio."""
    alternative = ratio * share / (ratio * share + 1 - share)
    return log(alternative / share), log((1 - alternative) / (1 - share))


@dataclass(slots=True)
class WorseThanBaseline:
    """Test of whether events (failures, late answers) are more frequent with the canary than with the baseline that serves at the same time.

    If both are alike, the probability that an event belongs to the canary is the canary's share of the requests; it is higher if its events are more
    frequent by a ratio. A mixture over several ratios covers unknown ratios. No rate needs to be known.
    """

    ratios: Sequence[float] = RATIOS
    _logs: list[float] = field(default_factory=list)
    n_events: int = 0
    evidence: float = 1.0
    """E-value: at least ``1 / alpha`` means worse at level ``alpha``, whenever it is evaluated."""

    def __post_init__(self) -> None:
        if not self.ratios or any(r <= 1 for r in self.ratios):
            raise InvalidSpec(f"The ratios are {self.ratios}.", remedy="Give numbers above 1.")
        if not self._logs:
            self._logs = [0.0] * len(self.ratios)

    def event(self, *, is_canary: bool, share: float) -> None:
        """Record an event, with the canary's share of the requests at that time."""
        if not 0 < share < 1:
            return  # with one version alone nothing is compared
        self.n_events += 1
        for i, ratio in enumerate(self.ratios):
            new, old = log_factors(ratio, share)
            self._logs[i] += new if is_canary else old
        self.evidence = _mean_exp(self._logs)


@dataclass(slots=True)
class MoreThanAllowed:
    """Test of whether a share, such as of answers that differ, exceeds a tolerated share, by betting (Waudby-Smith and Ramdas 2024)."""

    allowed: float
    _logs: list[float] = field(default_factory=lambda: [0.0] * len(BETS))
    n: int = 0
    n_bad: int = 0
    evidence: float = 1.0
    """E-value against the tolerated share."""

    def __post_init__(self) -> None:
        if not 0 < self.allowed < 1:
            raise InvalidSpec(f"A tolerated share of {self.allowed}.", remedy="Give a number between 0 and 1.")

    def outcome(self, *, is_bad: bool) -> None:
        """Record one outcome, bad or not."""
        self.n += 1
        self.n_bad += is_bad
        for i, bet in enumerate(BETS):
            # A bet of the whole stake would be lost on the first good outcome.
            self._logs[i] += log(1 + bet / self.allowed * (is_bad - self.allowed)) if bet < 1 else 0.0
        self.evidence = _mean_exp(self._logs)


def _mean_exp(logs: Sequence[float]) -> float:
    top = max(logs)
    return exp(min(700.0, top)) * sum(exp(x - top) for x in logs) / len(logs)
