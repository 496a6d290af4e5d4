"""Port between the gateway and a rollout: which version serves a request, and how it ended."""

from workbench.release.assignment import Assignment, Ending
from workbench.release.canary import RolloutState


class Versions:
    """Choice of versions without a rollout: all replicas serve the same version."""

    silence_s = 30.0
    """Time without any content after which a streamed request counts as failed."""
    patience_s = 1.0
    """Time without any content after which a client that leaves a begun answer counts as one that gave up."""

    def assign(self, user: str | None) -> Assignment | None:  # noqa: ARG002
        """Return the version for a request of a user, where one is known; None: any."""
        return None

    def record(self, assignment: Assignment, ending: Ending) -> None:
        """Record how a request ended."""

    def state(self) -> RolloutState | None:
        """Return where a rollout is; None when there is none."""
        return None
