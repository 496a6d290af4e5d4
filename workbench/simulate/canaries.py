"""Rollouts of versions with known faults, played through the assignment, the tests and the steps that the gateway uses."""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from workbench.release.assignment import Assigner, Ending
from workbench.release.canary import Rollout
from workbench.release.journal import Journal, Line, Phase
from workbench.release.rule import CanaryRule

OLD, NEW = "old", "new"


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
    """Journal that keeps nothing."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull))

    def write(self, line: Line) -> None:
        """Forget a line."""


def play(traffic: Traffic, rule: CanaryRule, *, seed: int, most: int = 200_000) -> Played:
    """Return how a rollout ends; it counts as running after ``most`` requests."""
    rng = random.Random(seed)
    rollout = Rollout(NoJournal(), rule, versions=(OLD, NEW), set_shares=lambda shares: None)  # noqa: ARG005
    assigner = Assigner(rollout, salt=str(seed), rng=rng)
    weights = list(accumulate(1 / rank for rank in range(1, traffic.n_users + 1)))
    always = [rng.random() < traffic.uneven for _ in range(traffic.n_users)]
    left_in_burst: dict[tuple[str, str], int] = {}
    n = n_new = n_failed = 0
    while rollout.phase is Phase.RUNNING and n < most:
        for user in rng.choices(range(traffic.n_users), cum_weights=weights, k=256):
            assignment = assigner.assign(f"user {user}" if traffic.has_user else None)
            is_new = assignment.version == NEW
            server = (
                f"{assignment.version} {rng.randrange(traffic.servers)}" if traffic.servers > 1 else assignment.version
            )
            failed = always[user] or _fails(traffic, is_new, (assignment.version, server), left_in_burst, rng)
            ttft_s = (
                None if failed else 0.2 * rng.lognormvariate(0.0, traffic.spread) * (traffic.slower if is_new else 1.0)
            )
            assigner.record(assignment, Ending(failed=failed, ttft_s=ttft_s, server=server))
            n, n_new, n_failed = n + 1, n_new + is_new, n_failed + (failed and is_new)
            if rollout.phase is not Phase.RUNNING:
                break
    return Played(
        phase=rollout.phase, n_requests=n, n_new=n_new, n_new_failed=n_failed, step=rollout.step, reason=rollout.reason
    )


def _fails(
    traffic: Traffic, is_new: bool, server: tuple[str, str], left: dict[tuple[str, str], int], rng: random.Random
) -> bool:
    if traffic.burst > 1 and left.get(server, 0):
        left[server] -= 1
        return True
    failed = rng.random() < traffic.failures[is_new] / traffic.burst
    if failed:
        left[server] = traffic.burst - 1
    return failed


def share_of(played: Sequence[Played], phase: Phase) -> float:
    """Return the share of the rollouts that ended in a phase."""
    return sum(p.phase is phase for p in played) / len(played)
