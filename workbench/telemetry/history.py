"""Days of samples on disk: appended once a second, read at the resolution that a plot can show.

A folder holds a list of signals and, for each grain, one file of rows: the start of the span, then least, mean and greatest
value of every signal in it (NaN where there was no sample), all little-endian. The file of the finest grain is
the truth; coarser ones are computed from it as it grows, also after a writer was killed. A row that was cut off is ignored.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from workbench.core.errors import InvalidSpec, StoreError, system_message
from workbench.core.language import gettext
from workbench.core.rows import plain
from workbench.telemetry.samples import Signal

GRAINS_S = (1, 10, 60, 600)
PARTS = ("low", "mean", "high")
ABOUT = "signals.json"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A signal over a span: starts of parts in seconds, and least, mean and greatest value in each."""

    at_s: Floats
    low: Floats
    mean: Floats
    high: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """What ``signals.json`` of a history holds."""

    signals: tuple[Signal, ...]
    grains_s: tuple[int, ...]


class History:
    """A folder of samples; many may read while one writes.

    Args:
        folder: Folder of the history; created when it does not exist and ``signals`` are given.
        signals: Signals of a new history; an existing history must have the same.

    Raises:
        StoreError: The folder is no history, or a history of other signals.
    """

    def __init__(self, folder: Path, signals: Sequence[Signal] | None = None) -> None:
        self.folder = folder
        about = folder / ABOUT
        if not about.exists():
            if not signals:
                raise StoreError(
                    gettext("{folder} is no history of samples.").format(folder=folder),
                    remedy=gettext("Record one, or name another folder."),
                )
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = about.with_suffix(".part")
            unfinished.write_text(json.dumps(plain(_About(signals=tuple(signals), grains_s=GRAINS_S))))
            os.replace(unfinished, about)
        try:
            kept = msgspec.json.decode(about.read_bytes(), type=_About)
        except (OSError, msgspec.MsgspecError) as error:
            raise StoreError(
                gettext("{file} cannot be read: {error}.").format(file=about, error=system_message(error)),
                remedy=gettext("Record into another folder."),
            ) from error
        self.signals = list(kept.signals)
        if kept.grains_s != GRAINS_S:
            raise StoreError(
                gettext("{folder} has the grains {grains}.").format(folder=folder, grains=kept.grains_s),
                remedy=gettext("Record into another folder."),
            )
        if signals is not None and [s.name for s in signals] != [s.name for s in self.signals]:
            raise StoreError(
                gettext("{folder} has other signals.").format(folder=folder),
                remedy=gettext("Record into another folder."),
            )
        self._index = {s.name: i for i, s in enumerate(self.signals)}
        self._type = np.dtype([("at_s", "<f8"), *((part, "<f4", (len(self.signals),)) for part in PARTS)])

    def append(self, at_s: float, values: Mapping[str, float]) -> None:
        """Add the samples of one second; times must not go back. Signals without a sample are NaN."""
        self.append_many(np.array([at_s]), np.array([[values.get(s.name, np.nan) for s in self.signals]]))

    def append_many(self, at_s: Floats, values: Floats) -> None:
        """Add samples, (rows, signals), one row for each second, ascending and later than all before; NaN: none."""
        if values.shape != (at_s.size, len(self.signals)) or np.any(np.diff(at_s) < 0):
            raise InvalidSpec(
                gettext("Rows of shape {shape} at {n} times.").format(shape=values.shape, n=at_s.size),
                remedy=gettext("Give a row for each time, in order."),
            )
        last = self._last(GRAINS_S[0])
        if last is not None and at_s.size and at_s[0] < last:
            raise InvalidSpec(
                gettext("{at} s is before {last} s.").format(at=at_s[0], last=last),
                remedy=gettext("Samples are added in the order of time."),
            )
        rows = np.empty(at_s.size, dtype=self._type)
        rows["at_s"] = at_s
        for part in PARTS:
            rows[part] = values
        self._write(GRAINS_S[0], rows)
        for fine, coarse in pairwise(GRAINS_S):
            self._catch_up(fine, coarse)

    def read(self, name: str, start_s: float, end_s: float, *, most_parts: int = 1000) -> Span:
        """Return a signal between two times, at the finest grain with at most ``most_parts`` parts, or the coarsest."""
        column = self._index.get(name)
        if column is None:
            raise StoreError(
                gettext("There is no signal {name}.").format(name=name),
                remedy=gettext("There are: {names}.").format(names=", ".join(list(self._index)[:20])),
            )
        grain = next((g for g in GRAINS_S if (end_s - start_s) / g <= most_parts), GRAINS_S[-1])
        rows = self._rows(grain)
        at = rows["at_s"]
        first, last = np.searchsorted(at, [start_s - grain * (grain > 1), end_s], side="left")
        chosen = rows[first : last + 1]
        chosen = chosen[(chosen["at_s"] + grain * (grain > 1) >= start_s) & (chosen["at_s"] <= end_s)]
        low, mean, high = (chosen[part][:, column].astype(float) for part in PARTS)
        kept = ~np.isnan(mean)
        return Span(at_s=np.array(chosen["at_s"])[kept], low=low[kept], mean=mean[kept], high=high[kept])

    @property
    def ends_s(self) -> tuple[float, float] | None:
        """Times of the first and the last sample; None for an empty history."""
        at = self._rows(GRAINS_S[0])["at_s"]
        return (float(at[0]), float(at[-1])) if at.size else None

    def _file(self, grain: int) -> Path:
        return self.folder / f"{grain}s.rows"

    def _rows(self, grain: int) -> npt.NDArray[np.void]:
        file = self._file(grain)
        n = file.stat().st_size // self._type.itemsize if file.exists() else 0
        return np.memmap(file, dtype=self._type, mode="r", shape=(n,)) if n else np.empty(0, dtype=self._type)

    def _last(self, grain: int) -> float | None:
        rows = self._rows(grain)
        return float(rows["at_s"][-1]) if rows.size else None

    def _write(self, grain: int, rows: npt.NDArray[np.void]) -> None:
        file = self._file(grain)
        size = self._type.itemsize
        if file.exists() and file.stat().st_size % size:  # a writer was killed in the middle of a row
            os.truncate(file, file.stat().st_size // size * size)
        with file.open("ab") as out:
            out.write(rows.tobytes())

    def _catch_up(self, fine: int, coarse: int) -> None:
        """Write the coarser rows of all parts that are complete."""
        done, rows = self._last(coarse), self._rows(fine)
        if not rows.size:
            return
        at = rows["at_s"]
        begin = 0 if done is None else int(np.searchsorted(at, done + coarse, side="left"))
        part = np.floor(at[begin:] / coarse) * coarse
        over = int(np.searchsorted(part, part[-1], side="left")) if part.size else 0  # the last part goes on
        if not over:
            return
        part, chosen = part[:over], rows[begin : begin + over]
        starts = np.flatnonzero(np.diff(part, prepend=-np.inf))
        coarse_rows = np.empty(starts.size, dtype=self._type)
        coarse_rows["at_s"] = part[starts]
        with np.errstate(invalid="ignore"):
            coarse_rows["low"] = np.fmin.reduceat(chosen["low"], starts, axis=0)
            coarse_rows["high"] = np.fmax.reduceat(chosen["high"], starts, axis=0)
            there = ~np.isnan(chosen["mean"])
            total = np.add.reduceat(np.where(there, chosen["mean"], 0.0), starts, axis=0)
            count = np.add.reduceat(there.astype(float), starts, axis=0)
            coarse_rows["mean"] = np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
        self._write(coarse, coarse_rows)


def history_folder(home: Path, name: str) -> Path:
    """Return the folder of a history; raises ``InvalidSpec`` for a name that is a path."""
    if not name or name != Path(name).name or name.startswith("."):
        raise InvalidSpec(
            gettext("{name} is no name of a history.").format(name=repr(name)),
            remedy=gettext("Give letters, digits and hyphens."),
        )
    return home / "history" / name


def histories_in(home: Path) -> list[str]:
    """Return the names of the histories, in alphabetical order."""
    folder = home / "history"
    return sorted(p.name for p in folder.iterdir() if (p / ABOUT).is_file()) if folder.is_dir() else []
