"""Groups of digits of a text, and the places where groups of given lengths follow one another, from a few vectorized passes."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from workbench.gateway.detectors.normal import Codes

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
LONGEST_GROUP = 31
MOST_GROUPS = 8
SEPARATORS = " -./_()\u00b7"
"""Signs that join groups of digits to one number, one to three of them in a row."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text in its plain form."""

    plain: str
    codes: Codes

    @cached_property
    def is_digit(self) -> Bools:
        """Whether each character is a digit."""
        is_digit: Bools = (self.codes - 48) < 10  # below 48 wraps around
        return is_digit

    @cached_property
    def is_letter(self) -> Bools:
        """Whether each character is a letter of ASCII."""
        is_letter: Bools = ((self.codes | 32) - 97) < 26
        return is_letter

    @cached_property
    def is_word(self) -> Bools:
        """Whether each character is a letter or digit of ASCII, or an underscore."""
        is_word: Bools = self.is_digit | self.is_letter | (self.codes == 95)
        return is_word


class Groups:
    """Groups of digits in the order of a text."""

    def __init__(self, text: Text) -> None:
        self.text = text.plain
        self.codes = text.codes
        self.is_digit = text.is_digit
        self.is_letter = text.is_letter
        padded = np.zeros(text.codes.size + 2, np.int8)
        padded[1:-1] = self.is_digit
        edges = np.flatnonzero(np.diff(padded))
        self.starts: Ints = edges[::2].astype(np.int64)
        self.ends: Ints = edges[1::2].astype(np.int64)
        self.lengths: Ints = np.minimum(self.ends - self.starts, LONGEST_GROUP)

    @cached_property
    def is_next(self) -> Bools:
        """Whether one to three separators, and nothing else, stand between a group and the next."""
        joined = np.zeros(self.starts.size, np.bool_)
        if self.starts.size > 1:
            gap = self.starts[1:] - self.ends[:-1]
            is_separator = np.zeros(self.codes.size, np.bool_)
            for sign in SEPARATORS:
                is_separator |= self.codes == ord(sign)
            last = self.codes.size - 1
            ok = (gap <= 3) & is_separator[self.ends[:-1]]
            for i in (1, 2):
                ok &= (gap <= i) | is_separator[np.minimum(self.ends[:-1] + i, last)]
            joined[:-1] = ok
        return joined

    @cached_property
    def _windows(self) -> list[Ints]:
        """Packed lengths of one to eight groups from each on; -1 where they are not joined."""
        packed: list[Ints] = [self.lengths]
        n = self.starts.size
        for k in range(1, MOST_GROUPS):
            before = packed[-1]
            window = np.full(n, -1, np.int64)
            if n > k:
                fits = (before[: n - k] >= 0) & self.is_next[k - 1 : n - 1]
                window[: n - k] = np.where(fits, before[: n - k] | (self.lengths[k:] << (5 * k)), -1)
            packed.append(window)
        return packed

    def of_shape(self, shape: tuple[int, ...]) -> Ints:
        """Return the first groups of sequences with these lengths, each joined to the next."""
        code = sum(length << (5 * i) for i, length in enumerate(shape))
        return np.flatnonzero(self._windows[len(shape) - 1] == code)

    @cached_property
    def digits_before(self) -> Ints:
        """Number of digits before each group, and of all at the end."""
        return np.concatenate(([0], np.cumsum(self.ends - self.starts)))

    @cached_property
    def digit_values(self) -> npt.NDArray[np.int16]:
        """All digits of the text, in order."""
        return (self.codes[self.is_digit] - 48).astype(np.int16)
