"""What a detector finds in a text."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from workbench.gateway.detectors.normal import Codes, codes_of, text_of

MANY = 1000
"""Findings from which on they are replaced as arrays."""
Ints = npt.NDArray[np.int64]
Spans = tuple[Ints, Ints]
"""First places of findings of one class, and the places after their last characters."""


class Finding(NamedTuple):
    """A place in a text that is replaced; a tuple, because a text may hold a hundred thousand of them."""

    kind: str
    start: int
    end: int


def spans(pairs: Iterable[tuple[int, int]]) -> Spans:
    """Return places that were found one by one as two arrays."""
    rows = np.array(list(pairs), np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def kept(places: Spans, which: npt.NDArray[np.bool_]) -> Spans:
    """Return the places for which something holds."""
    return places[0][which], places[1][which]


def joined(parts: Iterable[Spans]) -> Spans:
    """Return the places of several lists."""
    every = [p for p in parts if p[0].size]
    if not every:
        return spans(())
    return np.concatenate([a for a, _ in every]), np.concatenate([b for _, b in every])


def neighbourhoods(places: Ints, size: int, *, before: int = 0, after: int) -> Ints:
    """Return all places of a text of a size that lie near some, which are sorted: so many before them, and so many from them on."""
    if not places.size:
        return places
    starts, ends = np.maximum(places - before, 0), np.minimum(places + after, size)
    begins = np.flatnonzero(np.concatenate(([True], starts[1:] > ends[:-1])))
    starts, ends = starts[begins], ends[np.append(begins[1:], places.size) - 1]
    n = ends - starts
    result: Ints = np.arange(n.sum()) + np.repeat(starts - np.cumsum(n) + n, n)
    return result


class Findings(Sequence[Finding]):
    """The findings of a text in its order, which become objects only when they are read."""

    def __init__(self, names: Sequence[str], kinds: Ints, places: Spans) -> None:
        self._names, self._kinds = names, kinds
        self.starts, self.ends = places

    def __len__(self) -> int:
        return int(self.starts.size)

    @overload
    def __getitem__(self, index: int) -> Finding: ...

    @overload
    def __getitem__(self, index: slice) -> list[Finding]: ...

    def __getitem__(self, index: int | slice) -> Finding | list[Finding]:
        if isinstance(index, slice):
            return list(self)[index]
        return Finding(self._names[self._kinds[index]], int(self.starts[index]), int(self.ends[index]))

    def __iter__(self) -> Iterator[Finding]:
        kinds = map(self._names.__getitem__, self._kinds.tolist())
        return map(Finding._make, zip(kinds, self.starts.tolist(), self.ends.tolist(), strict=True))

    def replaced_in(self, text: str, marks: Sequence[str]) -> str:
        """Return the text with the mark of its class instead of each finding."""
        if not self.starts.size:
            return text
        if self.starts.size > MANY:
            return self._replaced_at_once(codes_of(text), marks)
        kept = map(slice, [0, *self.ends[:-1].tolist()], self.starts.tolist())
        parts = [""] * (2 * len(self) + 1)
        parts[:-1:2] = map(text.__getitem__, kept)
        parts[1::2] = map(marks.__getitem__, self._kinds.tolist())
        parts[-1] = text[self.ends[-1] :]
        return "".join(parts)

    def _replaced_at_once(self, codes: Codes, marks: Sequence[str]) -> str:
        """Return what ``replaced_in`` does for many findings, as arrays."""
        lengths = np.array([len(mark) for mark in marks])[self._kinds]
        removed, added = np.cumsum(self.ends - self.starts), np.cumsum(lengths)
        outside = ~_covered(codes.size, self.starts, self.ends)
        first = self.ends - removed + added - lengths
        is_mark = _covered(codes.size + int(added[-1] - removed[-1]), first, first + lengths)
        longest = max(map(len, marks))
        written = np.array([[*mark.ljust(longest).encode()] for mark in marks], np.uint8)[self._kinds]
        result = np.empty(is_mark.size, codes.dtype)
        result[~is_mark] = codes[outside]
        result[is_mark] = written[np.arange(longest) < lengths[:, None]]
        return text_of(result)


def _covered(size: int, starts: Ints, ends: Ints) -> npt.NDArray[np.bool_]:
    """Return which places of so many lie inside of spans, which do not overlap."""
    changes = np.zeros(size + 1, np.int8)
    changes[starts] += 1
    changes[ends] -= 1
    return np.cumsum(changes[:-1], dtype=np.int8).view(np.bool_)
