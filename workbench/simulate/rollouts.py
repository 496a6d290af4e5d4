"""How often a way to judge a new version rolls a good one back, and a bad one forward: many rollouts with known error rates."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext, gettext_noop
from workbench.release.rule import MEASURES
from workbench.release.sequential import WorseThanBaseline

STEPS = (0.1, 0.25, 0.5, 1.0)
JUDGES = (
    gettext_noop("sequential test"),
    gettext_noop("success above 95 %"),
    gettext_noop("success above 99 %, five times"),
)
INTERVALS_PER_STEP = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """Shares of many simulated rollouts by their outcome."""

    rolled_back: float
    """Share of the rollouts that were rolled back."""
    bad_answers: float
    """Failed answers that users of the new version got, on average."""


def odds(
    judge: str, *, old_rate: float, new_rate: float, per_interval: int, alpha: float = 0.01, n: int = 400, seed: int = 0
) -> Odds:
    """Play rollouts over 10, 25, 50 and 100 % of the users, five intervals each.

    Args:
        judge: Of ``JUDGES``: the sequential test against the old version; the FAQ's rule, once for each step; and the threshold of Flagger's
            documentation (at least 99 %, five failed checks).
        old_rate: Share of the old version's requests that fail.
        new_rate: Likewise.
        per_interval: Requests to both versions together.
        alpha: Of our test, over all four measures.
        n: Rollouts.
        seed: Of the drawing.
    """
    if judge not in JUDGES or not (0 <= old_rate <= 1 and 0 <= new_rate <= 1) or per_interval < 1 or n < 1:
        raise InvalidSpec(
            f"{judge}, {old_rate}, {new_rate}, {per_interval}.", remedy=gettext("Give rates from 0 to 1.")
        )
    checks = _threshold(0.99, n_failed=5, per_step=INTERVALS_PER_STEP)
    play = {JUDGES[0]: _sequential(alpha), JUDGES[1]: _threshold(0.95, n_failed=1, per_step=1), JUDGES[2]: checks}[
        judge
    ]
    rng, back, bad = np.random.default_rng(seed), 0, 0
    for _ in range(n):
        is_back, n_bad = play(rng, old_rate, new_rate, per_interval)
        back, bad = back + is_back, bad + n_bad
    return Odds(rolled_back=back / n, bad_answers=bad / n)


Play = Callable[[np.random.Generator, float, float, int], tuple[bool, int]]


def _failures(rng: np.random.Generator, n: int, rate: float) -> int:
    return int(rng.binomial(n, rate))


def _sequential(alpha: float) -> Play:
    limit = len(MEASURES) / alpha

    def play(rng: np.random.Generator, old: float, new: float, per: int) -> tuple[bool, int]:
        test, bad = WorseThanBaseline(), 0
        for share in STEPS[:-1]:  # with everybody on the new version nothing is beside it
            for _ in range(INTERVALS_PER_STEP):
                n_new = round(per * share)
                failed = [True] * _failures(rng, n_new, new) + [False] * _failures(rng, per - n_new, old)
                rng.shuffle(failed)
                for is_new in failed:
                    test.event(is_canary=is_new, share=share)
                    bad += is_new
                    if test.evidence >= limit:
                        return True, bad
        return False, bad + _failures(rng, per * INTERVALS_PER_STEP, new)

    return play


def _threshold(success: float, *, n_failed: int, per_step: int) -> Play:
    """Return whether a rollout is rolled back: after so many checks with less success, whatever the old version does."""

    def play(rng: np.random.Generator, _old: float, new: float, per: int) -> tuple[bool, int]:
        bad = checks = 0
        for share in (share for share in STEPS for _ in range(per_step)):
            n_new = max(1, round(per * share * INTERVALS_PER_STEP / per_step))  # all rules see the same traffic
            failed = _failures(rng, n_new, new)
            bad += failed
            checks += 1 - failed / n_new < success
            if checks >= n_failed:
                return True, bad
        return False, bad

    return play
