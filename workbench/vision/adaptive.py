"""A choice among models that follows the machine: a smaller model while other processes need the processor or the memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.vision.sessions import Floats, Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """Memory that is free on the machine, and processor time that other processes take."""

    free_bytes: int
    others_fraction: float
    """Share of the processor's time that other processes took since the last reading; 0 at the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A model with the memory and the threads that it needs."""

    name: str
    graph: Path
    needs_bytes: int
    threads: int
    most_others_fraction: float
    """Share of the processor that others may take while this level is used."""


class HostPressure:
    """Reader of the machine's free memory and processor time; what this process takes is not pressure."""

    def __init__(self) -> None:
        self._own = psutil.Process()
        self._before = self._look()

    def _look(self) -> tuple[float, float, float]:
        times, own = psutil.cpu_times(), self._own.cpu_times()
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0)
        return sum(times), busy, own.user + own.system

    def __call__(self) -> Pressure:
        """Return the pressure since the last call."""
        now = self._look()
        total, busy, own = (a - b for a, b in zip(now, self._before, strict=True))
        self._before = now
        others = max(0.0, busy - own) / total if total > 0 else 0.0
        return Pressure(free_bytes=psutil.virtual_memory().available, others_fraction=min(1.0, others))


class Adaptive:
    """A model that is chosen among levels before each batch. Its threads belong to its sessions: nothing of the process is set.

    Use it in a ``with`` block; sessions of levels that are not in use are closed, so that their memory is really given back.
    """

    def __init__(self, levels: Sequence[Level], *, pressure: Callable[[], Pressure], patience: int = 3) -> None:
        """Take levels from the best to the smallest, which answers where none fits.

        A better level must fit for ``patience`` batches before it is taken again, so that the choice does not oscillate.
        """
        if not levels:
            raise InvalidSpec(gettext("There is no level to choose."), remedy=gettext("Give at least one."))
        self.levels, self._pressure, self._patience = tuple(levels), pressure, patience
        self._at, self._better_for = 0, 0
        self._open: Graph | None = None
        self.used_levels: list[str] = []
        """Name of the level of each batch."""

    def _fits(self, level: Level, p: Pressure) -> bool:
        return p.free_bytes >= level.needs_bytes and p.others_fraction <= level.most_others_fraction

    def _choose(self, p: Pressure) -> int:
        best = next((i for i, level in enumerate(self.levels) if self._fits(level, p)), len(self.levels) - 1)
        if best >= self._at:
            self._better_for = 0
            return best
        self._better_for += 1
        return best if self._better_for >= self._patience else self._at

    def __call__(self, inputs: Floats) -> Floats:
        """Return the logits of the best level that fits now."""
        choice = self._choose(self._pressure())
        level = self.levels[choice]
        if choice != self._at or self._open is None:
            self._at, self._better_for, self._open = choice, 0, None  # closed before the next is opened
            self._open = Graph(level.graph, threads=level.threads)
        self.used_levels.append(level.name)
        return self._open.logits(inputs)

    def __enter__(self) -> "Adaptive":
        return self

    def __exit__(self, *_error: object) -> None:
        self._open = None
