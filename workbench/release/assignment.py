"""Assignment of requests to the two versions of a rollout, in the way that its tests assume: at random, each request or each user alone."""

import hashlib
import random

from msgspec import Struct

from workbench.release.canary import Rollout


class Assignment(Struct, frozen=True, kw_only=True):
    """Version that a request was assigned to."""

    version: str
    share: float
    """Share of the new version at that time."""
    user: str = ""
    """Digest of the user, where all requests of a user are assigned together."""


class Ending(Struct, frozen=True, kw_only=True):
    """How a request ended for its client."""

    failed: bool
    """Whether the client could not use the answer."""
    ttft_s: float | None = None
    tpot_s: float | None = None
    server: str = ""
    """Server that was asked; empty: none."""


class Assigner:
    """Assigns requests to the versions of a rollout, and records how they ended.

    Requests are drawn one by one, so that neither few users nor uneven ones can be taken for a difference between the versions. Where the rule
    assigns users, a user keeps the version, and changes only from old to new as the share grows; requests without a user are drawn one by one.

    Args:
        rollout: The rollout with its journal.
        salt: Text of this rollout that chooses which users get the new version first.
        rng: Source of the random numbers.
    """

    def __init__(self, rollout: Rollout, *, salt: str, rng: random.Random) -> None:
        self.rollout, self._salt, self._rng = rollout, salt, rng

    def assign(self, user: str | None) -> Assignment:
        """Return the version for a request of a user; None: the user is not known."""
        old, new = self.rollout.versions
        share = self.rollout.share
        if user is None or self.rollout.rule.assignment == "request":
            return Assignment(version=new if self._rng.random() < share else old, share=share)
        text = f"{self._salt}\x00{user}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, digest_size=8)
        is_new = int.from_bytes(digest.digest(), "big") / 2**64 < share
        return Assignment(version=new if is_new else old, share=share, user=digest.hexdigest())

    def record(self, assignment: Assignment, ending: Ending) -> None:
        """Record how an assigned request ended."""
        self.rollout.request(
            assignment.version,
            failed=ending.failed,
            ttft_s=ending.ttft_s,
            tpot_s=ending.tpot_s,
            share=assignment.share,
            server=ending.server,
            user=assignment.user,
        )
