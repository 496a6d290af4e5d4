"""What to sample of this machine, and for how long."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec

LONGEST_S = 6 * 3600.0  # the samples of a run are kept in memory
LONGEST_HISTORY_S = 90 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingSpec(Spec):
    """Samples of this machine, its GPUs and, if one is named, a server's counters."""

    experiment: ClassVar[str] = "recording"

    duration_s: float = 60.0
    rate_hz: float = 10.0
    url: str | None = None
    """Base URL of a server with ``/metrics``; it is read once a second."""
    pids: tuple[int, ...] = ()
    """Processes whose threads are watched."""
    history: str | None = None
    """Folder that gets a row every second, for days; the run then holds the last minutes only."""

    def __post_init__(self) -> None:
        require_positive(self, "duration_s")
        longest = LONGEST_S if self.history is None else LONGEST_HISTORY_S
        if self.duration_s > longest:
            raise InvalidSpec(
                f"duration_s is {self.duration_s:g}.",
                remedy=f"Give at most {longest:g}"
                + (", or a folder for a history of days." if not self.history else "."),
            )
        if not 0.1 <= self.rate_hz <= 50:
            raise InvalidSpec(f"rate_hz is {self.rate_hz}.", remedy="Give 0.1 to 50.")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise InvalidSpec(f"{self.url!r} is not a URL.", remedy="Give one like http://localhost:8000, or none.")
