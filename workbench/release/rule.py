"""The rule of a canary rollout: its steps, how the new version is judged, and how many requests that takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, inf, log, sqrt
from statistics import NormalDist
from typing import Literal, TypeAlias

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext, gettext_noop
from workbench.release.sequential import RATIOS, log_factors

HELD_BACK = 0.1
"""Share of the requests that stay on the old version at the last step, so that it compares as well."""
MEASURES = {
    "failures": gettext_noop("failures"),
    "late_ttft": gettext_noop("late TTFT"),
    "slow_tpot": gettext_noop("slow TPOT"),
    "disagreement": gettext_noop("disagreement"),
}
"""Label of each measure that a version is judged by."""


Exposure: TypeAlias = Mapping[tuple[float, bool], float]
"""Number of requests, by the probability that a failure among them is the new version's if both are alike, and by whether they are the new version's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRule:
    """Steps of a rollout, and how the new version is judged."""

    steps: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    """Rising shares of the requests on the new version, the last of them 1."""
    least_requests: int | None = None
    """Requests to the new version in each step before the next step; None: as many as the power needs, more where failures come in bursts."""
    power: float = 0.98
    """Probability with which a rise of the failures, as below, is caught before the last step."""
    usual_failures: float = 0.01
    """Share of the old version's requests that fail, for the number of requests."""
    caught_failures: float = 0.03
    """Share of the new version's requests that fail in the rise that must be caught."""
    alpha: float = 0.01
    """Largest probability of rolling back a version that is no worse, over all measures and the whole rollout."""
    assignment: Literal["request", "user"] = "request"
    """What is assigned at random: each request, or each ``user``, who then keeps the version and counts once a step; needs hundreds of users."""
    late_ttft_s: float | None = None
    """TTFT above which a request counts as late; None: the 90th percentile of the old version's latest requests."""
    late_tpot_s: float | None = None
    """TPOT above which a request counts as slow; None: the 90th percentile of the old version's latest requests."""
    disagreement: float = 0.05
    """Share of the answers to the gold set that may differ from those of the old version."""

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in pairwise(self.steps))
        if not self.steps or not rising or not 0 < self.steps[0] <= 1 or self.steps[-1] != 1:
            raise InvalidSpec(
                gettext("The steps are {steps}.").format(steps=self.steps),
                remedy=gettext("Give rising shares that end at 1."),
            )
        if (self.least_requests is not None and self.least_requests < 1) or not 0 < self.alpha < 1:
            raise InvalidSpec(
                gettext("{n} requests, alpha {alpha}.").format(n=self.least_requests, alpha=self.alpha),
                remedy=gettext("Give one request or more, and an alpha between 0 and 1."),
            )
        if not 0 < self.usual_failures < self.caught_failures <= 1 or not 0.5 <= self.power < 1:
            raise InvalidSpec(
                gettext("A rise of the failures from {usual} to {risen} at a power of {power}.").format(
                    usual=self.usual_failures, risen=self.caught_failures, power=self.power
                ),
                remedy=gettext("Give rising shares between 0 and 1, and a power from 0.5 to below 1."),
            )

    @property
    def evidence_limit(self) -> float:
        """Evidence from which a version is rolled back: each measure has its part of alpha (Bonferroni)."""
        return len(MEASURES) / self.alpha

    @property
    def n_compared(self) -> int:
        """Steps before the last one, in which a worse version is to be caught; 1 where there is one step only."""
        return max(1, len(self.steps) - 1)

    @property
    def requests_per_step(self) -> int:
        """Requests to the new version in each step before the next step."""
        if self.least_requests is not None:
            return self.least_requests
        mean, deviation = self._log_evidence(self.planned(1))
        if mean <= 0:
            raise InvalidSpec(
                gettext("No number of requests tells {risen} from {usual}.").format(
                    risen=self.caught_failures, usual=self.usual_failures
                ),
                remedy=gettext("Give a larger rise, or least_requests."),
            )
        spread = NormalDist().inv_cdf(self.power) * deviation
        return ceil(((spread + sqrt(spread**2 + 4 * mean * self._needed)) / (2 * mean)) ** 2)

    @property
    def power_at_requests(self) -> float:
        """Probability with which the rise of the failures is caught before the last step, at these requests in each step."""
        return self.power_of(self.planned(self.requests_per_step))

    def planned(self, n_requests: float, *, first: int = 0) -> Exposure:
        """Return so many requests of the new version in each compared step from ``first`` on, and those of the old one meanwhile."""
        shares = [self.share_at(step) for step in range(first, self.n_compared)]
        return {(s, is_new): n_requests * (1 if is_new else (1 - s) / s) for s in shares for is_new in (True, False)}

    def power_of(self, exposure: Exposure) -> float:
        """Return the probability with which the rise of the failures is caught among requests whose failures count one by one."""
        mean, deviation = self._log_evidence(exposure)
        return NormalDist().cdf((mean - self._needed) / deviation) if deviation else 0.0

    def share_at(self, step: int) -> float:
        """Share of the requests on the new version in a step, from 0 to below 1: some stay on the old version to the end."""
        if self.steps[step] < 1:
            return self.steps[step]
        before = self.steps[step - 1] if step else 0.0
        return 1 - min(HELD_BACK, (1 - before) / 2)

    @property
    def _needed(self) -> float:
        """Log evidence at which the ratio that gains most alone ends a rollout; it stands for the mixture, which it has its share of."""
        return log(self.evidence_limit * len(RATIOS))

    def _log_evidence(self, exposure: Exposure) -> tuple[float, float]:
        """Return mean and standard deviation of the log evidence that the rise brings, failures counted as Poisson events."""
        best = (-inf, 1.0)
        for ratio in RATIOS:
            mean = variance = 0.0
            for (chance, is_new), n_requests in exposure.items():
                n_failures = n_requests * (self.caught_failures if is_new else self.usual_failures)
                gain = log_factors(ratio, chance)[not is_new]
                mean += n_failures * gain
                variance += n_failures * gain**2
            best = max(best, (mean, sqrt(variance)))
        return best
