"""A text as arrays, and its groups of digits, each joined to the next or not, from a few vectorized passes."""

from collections.abc import Iterable
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from workbench.gateway.detectors.finding import Ints
from workbench.gateway.detectors.marks import Marks
from workbench.gateway.detectors.normal import Codes, text_of

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
LONGEST_GROUP = 31
MOST_GROUPS = 9
MOST_DIGITS = 40
FEWEST, FEWEST_OF_MANY = 6, 11
"""Digits of a number in up to three groups, and in more, that rows of groups are given for."""
SEPARATORS = " -./_()\u00b7"
"""Signs that join groups of digits to one number, one to three of them in a row."""
_EDGE = 24
_POWERS = np.array([0, *(n.bit_length() - 1 for n in range(1, LONGEST_GROUP + 1))])
"""The largest power of 2 in a number of digits."""
MOST_COMPARED = 8
"""Ranges of bytes of a class up to which a text is compared with each of them."""
LAST_FOLDED = 0xFFFF
"""Code as which all codes from it on count where capital letters do not."""


def table(signs: str) -> Bools:
    """Return for each byte whether it is one of the signs."""
    result = np.zeros(256, np.bool_)
    result[[ord(sign) for sign in signs]] = True
    return result


LETTERS = table("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
CAPITALS = table("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
DIGITS = table("0123456789")
ALNUM = LETTERS | DIGITS
WORD = ALNUM | table("_")
_IS_SEPARATOR = table(SEPARATORS)


def folded(codes: Codes) -> Bytes:
    """Return one byte for each code: those of ASCII as they are, all others among the other 128."""
    if codes.dtype == np.uint8:
        return codes  # type: ignore[return-value]
    return np.where(codes < 128, codes, (codes ^ (codes >> np.uint32(7))) | np.uint32(128)).astype(np.uint8)


@cache
def _ranges(key: bytes) -> tuple[list[tuple[int, int]], bool]:
    """Return the first bytes and numbers of the ranges of a class, or of what is outside of it where those are fewer; and which of both."""
    found = []
    for is_inside in (True, False):
        edges = np.flatnonzero(np.diff(np.frombuffer(key, np.bool_) == is_inside, prepend=False, append=False))
        found.append((list(zip(edges[::2].tolist(), (edges[1::2] - edges[::2]).tolist(), strict=True)), is_inside))
    return min(found, key=lambda each: len(each[0]))


@cache
def _small() -> npt.NDArray[np.uint32]:
    """Return the small letter of every code of the first plane."""
    lower = np.arange(LAST_FOLDED + 1, dtype=np.uint32)
    for first, last in ((65, 90), (0xC0, 0xDE), (0x391, 0x3A9), (0x410, 0x42F)):
        lower[first : last + 1] += 32
    return lower


@cache
def _folded() -> Bytes:
    """Return one byte for the small letter of every code of the first plane."""
    return folded(_small())


class Text:
    """A text in its plain form, as codes."""

    def __init__(self, wide: Codes, plain: str | None = None) -> None:
        if plain is not None:
            self.plain = plain
        self._classes: dict[bytes, Bools] = {}
        self._marks: dict[bytes, Marks] = {}
        self.words: dict[object, tuple[Ints, Ints]] = {}
        self.likely: tuple[Ints, npt.NDArray[np.uint16], npt.NDArray[np.uint64]] | None = None
        """Where words may begin that say what follows them, in the order of their first two bytes, which are the second array, and eight bytes each."""
        self.wide = wide
        self.codes: Bytes = wide if wide.dtype == np.uint8 else np.minimum(wide, 255).astype(np.uint8)  # type: ignore[assignment]

    @cached_property
    def plain(self) -> str:
        """The characters as one string, in their order."""
        return text_of(self.wide)

    @cached_property
    def _raw(self) -> bytes:
        return self.codes.tobytes()

    def has(self, which: Bools) -> Bools:
        """Return for each character whether its byte belongs to a class, which is kept."""
        key = which.tobytes()
        if key not in self._classes:
            self._classes[key] = self._belonging(key)
        return self._classes[key]

    def begins_row(self, which: Bools, n: int) -> Bools:
        """Return where at least n characters of a class stand in a row; for each character but the last n - 1."""
        row, length = self.has(which), 1
        while length < n:
            step = min(length, n - length)
            row = row[: max(0, row.size - step)] & row[step:]
            length += step
        return row

    def _belonging(self, key: bytes) -> Bools:
        """Return for each character whether its byte belongs to a class: by comparisons, which take less than a table, where these are few."""
        ranges, is_inside = _ranges(key)
        if len(ranges) > MOST_COMPARED:
            return np.frombuffer(self._raw.translate(key), np.bool_)
        result = np.full(self.codes.size, not is_inside)
        for first, n in ranges:
            result ^= self.codes == first if n == 1 else (self.codes - np.uint8(first)) < n
        return result

    @cached_property
    def _padded(self) -> Bytes:
        edge = np.full(_EDGE, 10, np.uint8)
        return np.concatenate((edge, self.codes, edge))

    def at(self, places: Ints) -> Bytes:
        """Return the bytes at places, which may lie a few characters outside of the text, where line breaks are assumed."""
        return self._padded.take(places + _EDGE)

    def marks(self, which: Bools) -> Marks:
        """Return the characters of a class of bytes, which are kept."""
        key = which.tobytes()
        if key not in self._marks:
            self._marks[key] = Marks(self.has(which))
        return self._marks[key]

    @cached_property
    def is_word(self) -> Bools:
        """Whether each character is a letter or digit of ASCII, or an underscore."""
        return self.has(WORD)

    def lower_at(self, places: Ints) -> Codes:
        """Return the codes at places, with the capital letters of ASCII, of Latin-1, of Greek and of Cyrillic as small ones."""
        codes = self.wide[places]
        result: Codes = _small()[codes if codes.dtype == np.uint8 else np.minimum(codes, LAST_FOLDED)]
        return result

    @cached_property
    def _low(self) -> Bytes:
        """One byte for each small character, and eight line breaks."""
        result = np.full(self.codes.size + 8, ord("\n"), np.uint8)
        result[:-8] = np.frombuffer(self._raw.lower(), np.uint8)
        if self.wide is not self.codes:
            others = np.flatnonzero(self.codes > 127)
            result[others] = _folded()[np.minimum(self.wide[others], LAST_FOLDED)]
        return result

    @cached_property
    def pairs(self) -> npt.NDArray[np.uint16]:
        """A byte of each small character and one of the character after it in one number."""
        lower = self._low[: self.codes.size]
        pairs = lower[:-1].astype(np.uint16)
        pairs <<= 8
        pairs |= lower[1:]
        return pairs

    def eight_at(self, places: Ints) -> npt.NDArray[np.uint64]:
        """Return a byte of each of the eight small characters from places on in one number, the first one lowest."""
        eights: npt.NDArray[np.uint64] = np.ndarray((self.codes.size + 1,), "<u8", self._low, strides=(1,))
        return eights[places]

    @cached_property
    def line_breaks(self) -> Marks:
        """Where lines end (line feeds alone)."""
        return Marks(self.codes == 10)

    @cached_property
    def capital_pairs(self) -> Marks:
        """Every second one of the capital letters in a row, by which pairs of them are counted."""
        padded = np.concatenate(([False], self.has(CAPITALS), [False]))
        edges = np.flatnonzero(padded[1:] != padded[:-1])
        starts, n = edges[::2], (edges[1::2] - edges[::2]) // 2
        which = np.zeros(self.codes.size, np.bool_)
        which[2 * np.arange(n.sum()) + 1 + np.repeat(starts - 2 * (np.cumsum(n) - n), n)] = True
        return Marks(which)


Eights = npt.NDArray[np.uint64]
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)


def packed(text: Text, starts: Ints, ends: Ints) -> Eights:
    """Return the small letters between places, of which the first eight count, as one number each."""
    result: Eights = text.eight_at(np.minimum(starts, text.codes.size)) & _MASKS[np.clip(ends - starts, 0, 8)]
    return result


def packed_word(word: str) -> int:
    """Return what ``packed`` returns for a word of small letters of ASCII."""
    return int.from_bytes(word.encode()[:8], "little")


def packed_words(words: Iterable[str]) -> Eights:
    """Return what ``packed`` returns for words, in order."""
    return np.unique(np.array([packed_word(word) for word in words], np.uint64))


def is_among(values: Eights, words: Eights) -> Bools:
    """Return which words are among some in order."""
    result: Bools = words[np.minimum(np.searchsorted(words, values), words.size - 1)] == values
    return result


class Groups:
    """Groups of digits in the order of a text."""

    def __init__(self, text: Text) -> None:
        self.text = text
        padded = np.zeros(text.codes.size + 2, np.int8)
        padded[1:-1] = text.has(DIGITS)
        edges = np.flatnonzero(padded[1:] != padded[:-1])
        self.starts: Ints = edges[::2]
        self.ends: Ints = edges[1::2]
        self.lengths: Ints = np.minimum(self.ends - self.starts, LONGEST_GROUP)
        self._rows: list[tuple[Ints, Ints]] = []
        self._are_joined = np.ones(self.starts.size, np.bool_)
        self._packed = self.lengths

    @cached_property
    def is_next(self) -> Bools:
        """Whether one to three separators, and nothing else, stand between a group and the next."""
        result = np.zeros(self.starts.size, np.bool_)
        if self.starts.size > 1:
            ends, gap = self.ends[:-1], self.starts[1:] - self.ends[:-1]
            near = gap <= 3
            ends, gap = ends[near], gap[near]
            at = self.text.at
            ok = _IS_SEPARATOR[at(ends)]
            ok &= (gap <= 1) | _IS_SEPARATOR[at(ends + 1)]
            ok &= (gap <= 2) | _IS_SEPARATOR[at(ends + 2)]
            result[:-1][near] = ok
        return result

    @cached_property
    def follows(self) -> Bools:
        """Whether each group is joined to the one before it."""
        result = np.zeros(self.starts.size, np.bool_)
        result[1:] = self.is_next[:-1]
        return result

    @cached_property
    def last_of_row(self) -> Ints:
        """Index of the last group of the row of joined groups to which each belongs."""
        n = self.starts.size
        last = np.arange(n)
        last[self.is_next] = n
        return np.minimum.accumulate(last[::-1])[::-1]

    def rows(self, n_groups: int) -> tuple[Ints, Ints]:
        """Return the first groups of all rows of so many joined groups with digits enough for a number, and the lengths of their groups in one number."""
        for n in range(len(self._rows) + 1, n_groups + 1):
            if n > 1 and self._are_joined.size:
                self._are_joined = self._are_joined[:-1] & self.is_next[n - 2 : -1]
                self._packed = self._packed[:-1] | (self.lengths[n - 1 :] << (5 * (n - 1)))
            n_digits = self.digits_before[n:] - self.digits_before[:-n]
            first = np.flatnonzero(self._are_joined & (n_digits >= (FEWEST if n < 4 else FEWEST_OF_MANY)))
            self._rows.append((first, self._packed[first]))
        return self._rows[n_groups - 1]

    def n_digits(self, first: Ints, most_groups: int) -> Ints:
        """Return how many digits the rows that begin with these groups hold, in so many groups at most."""
        last = np.minimum(self.last_of_row[first] + 1, first + most_groups)
        result: Ints = self.digits_before[last] - self.digits_before[first]
        return result

    def packed(self, first: Ints, n_groups: int) -> Ints:
        """Return the lengths of the groups of rows of so many in one number."""
        packed = self.lengths[first]
        for k in range(1, n_groups):
            packed = packed | (self.lengths[first + k] << (5 * k))
        return packed

    def of_shape(self, *shapes: tuple[int, ...]) -> Ints:
        """Return the first groups of sequences with lengths of one of the shapes, all of one number of groups, each joined to the next."""
        codes = [code_of(shape) for shape in shapes]
        first, packed = self.rows(len(shapes[0]))
        if not first.size:
            return first
        return first[packed == codes[0]] if len(codes) == 1 else first[np.isin(packed, codes)]

    @cached_property
    def digits_before(self) -> Ints:
        """Number of digits before each group, and of all at the end."""
        return np.concatenate(([0], np.cumsum(self.ends - self.starts)))

    @cached_property
    def digit_values(self) -> Bytes:
        """All digits of the text, in order, and a few more zeros."""
        values = self.text.codes[self.text.has(DIGITS)] - 48
        return np.concatenate((values, np.zeros(MOST_DIGITS, np.uint8)))

    @cached_property
    def _digits_among(self) -> npt.NDArray[np.uint16]:
        """A bit for each of the different digits among 1, 2, 4, 8 and 16 digits from each digit of the text on: (5, digits)."""
        result = np.empty((5, self.digit_values.size), np.uint16)
        np.left_shift(1, self.digit_values, out=result[0], dtype=np.uint16)
        for i in range(4):
            result[i + 1] = result[i]
            result[i + 1, : -(1 << i)] |= result[i, 1 << i :]
        return result

    def n_distinct(self, first: Ints, n: Ints | int) -> Bytes:
        """Return how many different digits the numbers hold that begin with these groups and have n digits, from 1 to 31."""
        places, power = self.digits_before[first], _POWERS[n]
        among = self._digits_among
        bits = among[power, places] | among[power, places + n - (1 << power)]
        result: Bytes = np.bitwise_count(bits)
        return result

    @cached_property
    def is_pointed(self) -> Bools:
        """Whether a single point joins a group to the next."""
        result = np.zeros(self.starts.size, np.bool_)
        result[:-1] = self.starts[1:] - self.ends[:-1] == 1
        result[:-1] &= self.text.at(self.ends[:-1]) == ord(".")
        return result

    def digits(self, first: Ints, n: int) -> Bytes:
        """Return the first digits of the numbers that begin with these groups: (numbers, n)."""
        return self.digits_from(self.digits_before[first], n)

    def digits_from(self, places: Ints, n: int) -> Bytes:
        """Return so many digits from places among all digits of the text on: (places, n)."""
        values = self.digit_values
        windows: Bytes = np.ndarray((values.size - n + 1, n), np.uint8, values, strides=(1, 1))
        return windows[places]


def code_of(shape: tuple[int, ...]) -> int:
    """Return the lengths of groups in one number."""
    return sum(length << (5 * i) for i, length in enumerate(shape))


def weighted(digits: Bytes, weights: tuple[int, ...]) -> Ints:
    """Return the sum of the first digits, each times its weight."""
    return digits[:, : len(weights)].astype(np.int64) @ np.array(weights, np.int64)


def luhn_sums(digits: Bytes) -> Ints:
    """Return the sums of ISO/IEC 7812-1 of numbers of one length: every second digit from the right is doubled, and its digits are added."""
    doubled = np.where(digits > 4, 2 * digits - 9, 2 * digits)
    n = digits.shape[1]
    total: Ints = digits[:, n - 1 :: -2].sum(1, dtype=np.int64) + doubled[:, n - 2 :: -2].sum(1, dtype=np.int64)
    return total
