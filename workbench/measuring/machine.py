"""Whether the machine was quiet while something was timed: what other processes took of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from workbench.core.language import gettext

BUSY = 0.2
"""Share of the processor time from which on other processes count as a disturbance."""
DRIFT = 0.05
"""Change from the first to the last third of the rounds that counts as drift."""


class OtherLoad:
    """The processor time that processes other than this one and its children take from now on."""

    def __init__(self) -> None:
        self._began_s, self._busy_s, self._own_s = time.monotonic(), _busy_s(), _own_s()
        self._ended_s = 0.0

    def fraction(self) -> float:
        """Return the share of all processor time, from 0 to 1, that others took since this was made."""
        available = (time.monotonic() - self._began_s) * (psutil.cpu_count() or 1)
        others = (_busy_s() - self._busy_s) - (_own_s() - self._own_s + self._ended_s)
        return min(1.0, max(0.0, others / available)) if available > 0 else 0.0

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Keep what processes have used that are ended meanwhile: nobody counts those whose parent is killed with them."""
        before_s = _own_s()
        yield
        self._ended_s += max(0.0, before_s - _own_s())


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _own_s() -> float:
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        try:
            used = process.cpu_times()
        except psutil.Error:  # it ended meanwhile
            continue
        ended = (getattr(used, name, 0.0) for name in ("children_user", "children_system"))
        total += used.user + used.system + sum(ended)
    return total


def busy_text(other_load_fraction: float | None) -> str | None:
    """Return how much of the machine others took; None where that is little, or not known."""
    if other_load_fraction is None or other_load_fraction <= BUSY:
        return None
    return gettext("other processes took {share:.0%} of the processors meanwhile").format(share=other_load_fraction)


def timing_caution(*, drift_fraction: float | None, other_load_fraction: float | None) -> str | None:
    """Return why times may not hold: they drifted from the first to the last rounds, or others used the machine."""
    reasons = []
    if drift_fraction is not None and abs(drift_fraction) > DRIFT:
        text = gettext("times changed by {drift:+.0%} from the first to the last rounds")
        reasons.append(text.format(drift=drift_fraction))
    if busy := busy_text(other_load_fraction):
        reasons.append(busy)
    return gettext(" and ").join(reasons) or None
