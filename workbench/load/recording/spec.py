"""What to sample of this machine, and for how long."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.core.specs import Spec

LONGEST_S = 6 * 3600.0  # the samples of a run are kept in memory
LONGEST_HISTORY_S = 90 * 86400.0
LOWEST_HZ, HIGHEST_HZ = 0.1, 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingSpec(Spec):
    """Samples of this machine, its GPUs and, if one is named, a server's counters."""

    kind: ClassVar[str] = "recording"
    command: ClassVar[str] = "record"

    duration_s: float = knob(
        60.0,
        "Duration",
        "Seconds that are recorded; more than six hours need a history.",
        unit="s",
        low=1,
        high=LONGEST_S,
        option="seconds",
    )
    rate_hz: float = knob(
        10.0,
        "Sampling rate",
        "Samples of each signal in a second; a server's counters are read once a second.",
        unit="Hz",
        low=LOWEST_HZ,
        high=HIGHEST_HZ,
        option="rate",
    )
    url: str | None = knob(
        None, "Server URL", "Base URL of a server whose /metrics page is read too; none if left out."
    )
    pids: tuple[int, ...] = knob((), "Watched processes", "Process ids whose threads are watched.", is_advanced=True)
    history: str | None = knob(
        None,
        "History",
        "Name of a history on disk that gets a row each second, for days; 04_utilization shows it.",
        option="days",
        is_advanced=True,
    )
    """Folder of the history, which the command finds by its name; the run then holds the last minutes only."""

    def __post_init__(self) -> None:
        require_positive(self, "duration_s")
        longest = LONGEST_S if self.history is None else LONGEST_HISTORY_S
        if self.duration_s > longest:
            also = gettext(", or a folder for a history of days.") if self.history is None else "."
            raise InvalidSpec(
                gettext("duration_s is {seconds}.").format(seconds=f"{self.duration_s:g}"),
                remedy=gettext("Give at most {longest}{also}").format(longest=f"{longest:g}", also=also),
            )
        if not LOWEST_HZ <= self.rate_hz <= HIGHEST_HZ:
            raise InvalidSpec(
                gettext("rate_hz is {rate}.").format(rate=self.rate_hz),
                remedy=gettext("Give {least} to {most}.").format(least=f"{LOWEST_HZ:g}", most=f"{HIGHEST_HZ:g}"),
            )
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise InvalidSpec(
                gettext("{url} is not a URL.").format(url=repr(self.url)),
                remedy=gettext("Give one like http://localhost:8000, or none."),
            )
