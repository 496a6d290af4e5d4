"""Answers with the model and the threads that the machine has room for at this moment, and goes back when it has more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from workbench.core.errors import InvalidSpec
from workbench.vision.sessions import Floats, Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """What is left on the machine."""

    free_bytes: int
    others_fraction: float
    """Of the processor's time that other processes took since the last look; 0 at the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A model and what it needs."""

    name: str
    graph: Path
    needs_bytes: int
    threads: int
    most_others_fraction: float
    """Share of the processor that others may take while this level is used."""


class HostPressure:
    """Reads the machine; what this process takes itself is not pressure."""

    def __init__(self) -> None:
        self._own = psutil.Process()
        self._before = self._look()

    def _look(self) -> tuple[float, float, float]:
        times, own = psutil.cpu_times(), self._own.cpu_times()
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0)
        return sum(times), busy, own.user + own.system

    def __call__(self) -> Pressure:
        """Since the last call."""
        now = self._look()
        total, busy, own = (a - b for a, b in zip(now, self._before, strict=True))
        self._before = now
        others = max(0.0, busy - own) / total if total > 0 else 0.0
        return Pressure(free_bytes=psutil.virtual_memory().available, others_fraction=min(1.0, others))


class Adaptive:
    """Chooses among levels before each batch. Its threads belong to its sessions: nothing of the process is set.

    Use it in a ``with`` block; sessions of levels that are not in use are closed, so that their memory is really given back.
    """

    def __init__(self, levels: Sequence[Level], *, pressure: Callable[[], Pressure], patience: int = 3) -> None:
        """Levels from the best to the smallest.

        Args:
            levels: The last is taken where none fits.
            pressure: Tells what is left.
            patience: Batches for which a better level must fit before it is taken again, so that it does not flutter.
        """
        if not levels:
            raise InvalidSpec("There is no level to choose.", remedy="Give at least one.")
        self.levels, self._pressure, self._patience = tuple(levels), pressure, patience
        self._at, self._better_for = 0, 0
        self._open: Graph | None = None
        self.taken: list[str] = []
        """Name of the level of each batch."""

    def _fits(self, level: Level, p: Pressure) -> bool:
        return p.free_bytes >= level.needs_bytes and p.others_fraction <= level.most_others_fraction

    def _choose(self, p: Pressure) -> int:
        wanted = next((i for i, level in enumerate(self.levels) if self._fits(level, p)), len(self.levels) - 1)
        if wanted >= self._at:
            self._better_for = 0
            return wanted
        self._better_for += 1
        return wanted if self._better_for >= self._patience else self._at

    def __call__(self, inputs: Floats) -> Floats:
        """Logits of the level that fits now."""
        chosen = self._choose(self._pressure())
        if chosen != self._at or self._open is None:
            self._at, self._better_for, self._open = chosen, 0, None  # closed before the next is opened
            self._open = Graph(self.levels[chosen].graph, threads=self.levels[chosen].threads)
        self.taken.append(self.levels[chosen].name)
        return self._open.logits(inputs)

    def __enter__(self) -> "Adaptive":
        return self

    def __exit__(self, *_error: object) -> None:
        self._open = None
