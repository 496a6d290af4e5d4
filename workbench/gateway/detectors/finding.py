"""What a detector finds in a text."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

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
