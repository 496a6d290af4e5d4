"""Rollouts of versions with known faults, played through the assignment, the tests and the steps that the gateway uses."""

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.release.assignment import Assigner, Ending
from workbench.release.canary import Rollout
from workbench.release.journal import Journal, Line, Phase
from workbench.release.rule import CanaryRule

OLD, NEW = "old", "new"
SERVERS = tuple(tuple(f"{version} {i}" for i in range(16)) for version in (OLD, NEW))
USUAL_TTFT_S = 0.2
N_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests to two versions, and how each version answers them."""

    n_users: int = 1000
    """Users, who send requests as Zipf's law says: the second half as many as the first, the third a third."""
    has_user: bool = True
    """Whether requests name their user."""
    failures: tuple[float, float] = (0.01, 0.01)
    """Share of the requests that fail, of the old and of the new version."""
    burst: int = 1
    """Requests in a row of one server that fail together."""
    servers: int = 1
    """Servers of each version."""
    uneven: float = 0.0
    """Share of the users whose requests all fail, with either version."""
    slower: float = 1.0
    """TTFT of the new version over that of the old one."""
    spread: float = 0.5
    """Standard deviation of the logarithm of TTFT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """How one simulated rollout ended."""

    phase: Phase
    n_requests: int
    n_new: int
    n_new_failed: int
    step: int
    """Index of the step at the end."""
    reason: str


class NoJournal(Journal):
    """Journal that keeps nothing of a simulated rollout."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull))

    def write(self, line: Line) -> None:
        """Drop a line, as a simulated rollout is never resumed."""


def play(traffic: Traffic, rule: CanaryRule, *, seed: int, most: int = 200_000) -> Played:
    """Return how a rollout ends; it counts as running after ``most`` requests."""
    rng = np.random.default_rng(seed)
    rollout = Rollout(NoJournal(), rule, versions=(OLD, NEW), set_shares=lambda shares: None)  # noqa: ARG005
    assigner = Assigner(rollout, salt=str(seed), rng=random.Random(seed))
    weights = 1 / np.arange(1, traffic.n_users + 1)
    bounds, always = np.cumsum(weights / weights.sum()), rng.random(traffic.n_users) < traffic.uneven
    draws = _Draws(traffic, rng)
    n = n_new = n_failed = 0
    while rollout.phase is Phase.RUNNING and n < most:
        users = np.searchsorted(bounds, rng.random(N_AT_ONCE)).clip(max=traffic.n_users - 1)
        for user, fails_always in zip(users.tolist(), always[users].tolist(), strict=True):
            assignment = assigner.assign(str(user) if traffic.has_user else None)
            is_new = assignment.version == NEW
            ending = draws.ending(is_new=is_new, fails_always=fails_always)
            assigner.record(assignment, ending)
            n, n_new, n_failed = n + 1, n_new + is_new, n_failed + (ending.failed and is_new)
            if rollout.phase is not Phase.RUNNING:
                break
    return Played(
        phase=rollout.phase, n_requests=n, n_new=n_new, n_new_failed=n_failed, step=rollout.step, reason=rollout.reason
    )


class _Draws:
    """Draws how requests end, many at once."""

    def __init__(self, traffic: Traffic, rng: np.random.Generator) -> None:
        self._traffic, self._rng = traffic, rng
        self._rates = tuple(rate / traffic.burst for rate in traffic.failures)
        self._left_in_burst: dict[str, int] = {}
        self._drawn: Iterator[tuple[float, float, int]] = iter(())

    def ending(self, *, is_new: bool, fails_always: bool) -> Ending:
        """Return how the next request ends."""
        try:
            uniform, ttft_s, number = next(self._drawn)
        except StopIteration:
            self._draw()
            uniform, ttft_s, number = next(self._drawn)
        server = SERVERS[is_new][number]
        failed = fails_always or uniform < self._rates[is_new]
        if self._traffic.burst > 1:
            left = self._left_in_burst.get(server, 0)
            if left:
                failed, self._left_in_burst[server] = True, left - 1
            elif failed:
                self._left_in_burst[server] = self._traffic.burst - 1
        if failed:
            return Ending(failed=True, server=server)
        return Ending(failed=False, ttft_s=ttft_s * self._traffic.slower if is_new else ttft_s, server=server)

    def _draw(self) -> None:
        rng, n = self._rng, N_AT_ONCE
        ttfts_s = USUAL_TTFT_S * rng.lognormal(0.0, self._traffic.spread, n)
        numbers = rng.integers(self._traffic.servers, size=n)
        self._drawn = iter(list(zip(rng.random(n).tolist(), ttfts_s.tolist(), numbers.tolist(), strict=True)))


def share_of(played: Sequence[Played], phase: Phase) -> float:
    """Return the share of the rollouts that ended in a phase."""
    return sum(p.phase is phase for p in played) / len(played)
