"""The characters of one class as bits, which are counted and found from many places at once without a pass over the text for each."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from workbench.gateway.detectors.finding import Ints

Words = npt.NDArray[np.uint64]
_ONE = np.uint64(1)


class Marks:
    """Which characters of a text belong to a class, 64 in a word.

    Args:
        which: Whether each character belongs to the class: (characters,).
    """

    def __init__(self, which: npt.NDArray[np.bool_]) -> None:
        self.which, self.size = which, which.size
        self._words: Words = np.zeros(self.size // 64 + 2, np.uint64)  # the last one is empty
        packed = np.packbits(which, bitorder="little")
        self._words.view(np.uint8)[: packed.size] = packed

    @cached_property
    def places(self) -> Ints:
        """All places of the class."""
        return np.flatnonzero(self.which)

    def count(self, places: Ints) -> Ints:
        """Return how many characters of the class stand before each place, from 0 to the length of the text."""
        below = (_ONE << (places & 63).astype(np.uint64)) - _ONE
        result: Ints = self._before[places >> 6] + np.bitwise_count(self._words[places >> 6] & below)
        return result

    def next(self, places: Ints) -> Ints:
        """Return the first place of the class from each place on; the length of the text where there is none."""
        words, following = self._ended
        rest = words[places >> 6] >> (places & 63).astype(np.uint64)
        result: Ints = places + _zeros_below(rest)
        far = np.flatnonzero(rest == 0)
        if far.size:
            index = following[(places[far] >> 6) + 1]
            result[far] = (index << 6) + _zeros_below(words[index])
        return np.minimum(result, self.size)

    def last(self, places: Ints) -> Ints:
        """Return the last place of the class before each place; -1 where there is none."""
        words, before = self._words, self._filled
        index = places >> 6
        rest = words[index] & ((_ONE << (places & 63).astype(np.uint64)) - _ONE)
        far = np.flatnonzero(rest == 0)
        if far.size:
            index[far] = before[index[far]]
            rest[far] = words[index[far]]
        for shift in (1, 2, 4, 8, 16, 32):
            rest |= rest >> np.uint64(shift)
        result: Ints = np.maximum((index << 6) + np.bitwise_count(rest).astype(np.int64) - 1, -1)
        return result

    @cached_property
    def _before(self) -> Ints:
        """Characters of the class before each word."""
        result = np.zeros(self._words.size + 1, np.int64)
        np.cumsum(np.bitwise_count(self._words), out=result[1:])
        return result

    @cached_property
    def _ended(self) -> tuple[Words, Ints]:
        """Words with the end of the text marked as well, and from each word on the first one that is not empty."""
        words = self._words.copy()
        words[self.size >> 6] |= _ONE << np.uint64(self.size & 63)
        index = np.arange(words.size)
        index[words == 0] = words.size - 1
        return words, np.minimum.accumulate(index[::-1])[::-1]

    @cached_property
    def _filled(self) -> Ints:
        """Index of the last word before each one that is not empty; -1, whose word is empty and ends before 0, where there is none."""
        index = np.arange(self._words.size)
        index[self._words == 0] = -1
        return np.concatenate(([-1], np.maximum.accumulate(index)[:-1]))


def _zeros_below(words: Words) -> npt.NDArray[np.uint8]:
    """Return how many zeros stand below the lowest one of each word."""
    return np.bitwise_count(~words & (words - _ONE))
