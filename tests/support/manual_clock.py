"""Time that goes on when it is told, for what is given a clock."""


class ManualClock:
    """Seconds; call it to read them, and add to ``now`` to let time pass."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Seconds of now."""
        return self.now
