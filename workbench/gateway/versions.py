"""Which version of a model a request goes to, and who is told how it went: the seam for a rollout."""

from typing import Any, Protocol


class Versions(Protocol):
    """Chooses versions, and learns from what became of requests."""

    def choose(self, user: str) -> str | None:
        """The version for a user, always the same while shares do not change; None: any."""

    def ended(self, version: str, *, failed: bool, ttft_s: float | None, tpot_s: float | None) -> None:
        """A request that a version answered, or failed."""

    def told(self) -> dict[str, Any] | None:
        """Where a rollout is; None when there is none."""


class AnyVersion:
    """All replicas are alike."""

    def choose(self, user: str) -> str | None:  # noqa: ARG002
        """None."""
        return None

    def ended(self, version: str, *, failed: bool, ttft_s: float | None, tpot_s: float | None) -> None:
        """Nothing is learnt."""

    def told(self) -> dict[str, Any] | None:
        """There is none."""
        return None
