"""Port between the gateway and a rollout: which version serves a user, and how its requests ended."""

from workbench.release.canary import RolloutState


class Versions:
    """Choice of versions without a rollout: all replicas serve the same version."""

    def choose(self, user: str) -> str | None:  # noqa: ARG002
        """Return the version for a user, which is the same while shares do not change; None: any."""
        return None

    def record(self, version: str, *, failed: bool, ttft_s: float | None, tpot_s: float | None) -> None:
        """Record how a request to a version ended."""

    def state(self) -> RolloutState | None:
        """Return where a rollout is; None when there is none."""
        return None
