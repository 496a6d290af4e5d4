"""Where in a text a number, an address or an account can begin at all: one pass over its characters, in C.

A search for each pattern looks at every character of a text and, in hostile ones, at the same characters again and again. Here characters are
classified once; what remains are few places, at which the patterns are tried.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
SEPARATORS = " -.\u2010\u2011\u2012\u2013\u2014\u2015"
CARD_LENGTHS = range(13, 20)
# Countries of the IBAN registry (SWIFT, release 99) with the length of theirs.
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28, "CH": 21,
    "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18,
    "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23,
    "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27,
    "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28,
    "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip


def _codes(text: str) -> npt.NDArray[np.uint32]:
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8).astype(np.uint32)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Groups of digits in the order of the text."""

    starts: Ints
    lengths: Ints
    is_next: Bools
    """Whether one separator, and nothing else, stands between a group and the next."""


class CharacterScan:
    """One text.

    Args:
        text: In NFKC.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._codes = _codes(text)
        self._is_digit = (self._codes - 48) < 10  # below 48 wraps around

    @cached_property
    def groups(self) -> Groups:
        """Of digits."""
        edges = np.flatnonzero(np.diff(np.concatenate(([False], self._is_digit, [False])).view(np.int8)))
        starts, ends = edges[::2].astype(np.int64), edges[1::2].astype(np.int64)
        is_next = np.zeros(starts.size, np.bool_)
        if starts.size > 1:
            close = np.flatnonzero(starts[1:] - ends[:-1] == 1)
            between = self._codes[ends[close]]
            ok = (between == 32) | (between == 45) | (between == 46) | ((between >= 0x2010) & (between <= 0x2015))
            is_next[close[ok]] = True
        return Groups(starts=starts, lengths=ends - starts, is_next=is_next)

    def _sequence(self, *lengths: tuple[int, ...]) -> Ints:
        """First groups of sequences with these lengths, each joined to the next."""
        g = self.groups
        n = g.starts.size - len(lengths) + 1
        if n <= 0:
            return np.zeros(0, np.int64)
        fits = np.ones(n, np.bool_)
        for i, allowed in enumerate(lengths):
            own = g.lengths[i : i + n]
            fits &= np.isin(own, allowed) if len(allowed) > 1 else own == allowed[0]
            if i + 1 < len(lengths):
                fits &= g.is_next[i : i + n]
        return np.flatnonzero(fits)

    @cached_property
    def identity_numbers(self) -> list[int]:
        """Where a Chinese or an American identity number can begin."""
        g = self.groups
        long = g.starts[(g.lengths == 17) | (g.lengths == 18)]
        return sorted({*long.tolist(), *g.starts[self._sequence((3,), (2,), (4,))].tolist()})

    @cached_property
    def cards(self) -> list[tuple[int, int]]:
        """Beginning and end of every number of 13 to 19 digits, whole or in groups of four (or 4, 6 and 5), whose check digit fits."""
        g = self.groups
        if not g.starts.size:
            return []
        found: list[tuple[Ints, int]] = []  # first groups, and how many groups
        found.append((np.flatnonzero((g.lengths >= CARD_LENGTHS[0]) & (g.lengths <= CARD_LENGTHS[-1])), 1))
        found.append((self._sequence((4,), (4,), (4,), (1, 2, 3, 4)), 4))
        found.append((self._sequence((4,), (4,), (4,), (4,), (1, 2, 3)), 5))
        found.append((self._sequence((4,), (6,), (5,)), 3))
        offsets = np.concatenate(([0], np.cumsum(g.lengths)))
        values = (self._codes[self._is_digit] - 48).astype(np.int16)
        places: list[tuple[int, int]] = []
        for first, n_groups in found:
            if first.size:
                n_digits = offsets[first + n_groups] - offsets[first]
                for length in np.unique(n_digits):
                    own = first[n_digits == length]
                    good = own[_luhn_holds(values, offsets[own], int(length))]
                    last = good + n_groups - 1
                    places += zip(g.starts[good].tolist(), (g.starts[last] + g.lengths[last]).tolist(), strict=True)
        return sorted(places, key=lambda p: (p[0], -p[1]))

    @cached_property
    def phones(self) -> list[int]:
        """Where a telephone number can begin."""
        g = self.groups
        first = self._codes[g.starts] if g.starts.size else np.zeros(0, np.uint32)
        plain = [g.starts[self._sequence((3,), (3,), (4,))]]
        eleven = np.flatnonzero((g.lengths == 11) & (first == 49))
        plain.append(g.starts[eleven])
        shapes = (((3,), (4,), (4,)), ((3,), (8,)), ((7,), (4,)), ((3, 4), (7, 8)))
        plain += [g.starts[self._sequence(*shape)] for shape in shapes]
        places = set(np.concatenate(plain).tolist())
        places |= self._before_many_digits(43, least=8) | self._before_many_digits(40, least=10)
        return sorted(places)

    def _before_many_digits(self, code: int, *, least: int) -> set[int]:
        """Places of a character after which so many digits follow before another one of it, within 26 characters."""
        at = np.flatnonzero(self._codes == code)
        if not at.size:
            return set()
        total = np.concatenate(([0], np.cumsum(self._is_digit)))
        ends = np.minimum(at + 26, self._codes.size)
        ends[:-1] = np.minimum(ends[:-1], at[1:])
        return set(at[total[ends] - total[at] >= least].tolist())

    @cached_property
    def accounts(self) -> list[int]:
        """Where an IBAN can begin: a country that has them, two digits, and nothing of a word before."""
        c = self._codes
        if c.size < 15:
            return []
        upper, digit = (c - 65) < 26, self._is_digit
        starts = np.flatnonzero(upper[:-3] & upper[1:-2] & digit[2:-1] & digit[3:])
        countries = np.array(sorted((ord(k[0]) << 8) + ord(k[1]) for k in IBAN_LENGTHS), np.uint32)
        places: list[int] = starts[np.isin((c[starts] << 8) + c[starts + 1], countries)].tolist()
        return places

    @cached_property
    def addresses(self) -> list[int]:
        """Where an e-mail address can begin: the run of characters before an @ that a name with a point follows."""
        c = self._codes
        at = np.flatnonzero(c == 64)
        if not at.size:
            return []
        lower = (c | 32) - 97 < 26
        label = lower | self._is_digit | (c == 45)
        place = np.arange(c.size)
        # The next character that is not of a label, for every place.
        following = np.where(label, c.size, place)[::-1]
        following = np.minimum.accumulate(following)[::-1]
        after = np.concatenate((following, [c.size]))[at + 1]
        at = at[(after > at + 1) & (after < c.size) & (c[np.minimum(after, c.size - 1)] == 46)]
        if not at.size:
            return []
        local = label | (c == 46) | (c == 95) | (c == 37) | (c == 43)
        begins = np.maximum.accumulate(np.where(local, -1, place)) + 1
        at = at[at > 0]
        found = begins[at - 1]
        return sorted(set(found[found < at].tolist()))


def _luhn_holds(values: npt.NDArray[np.int16], offsets: Ints, length: int) -> Bools:
    """ISO/IEC 7812-1, annex B, for many numbers of one length at once."""
    total = np.zeros(offsets.size, np.int16)
    for i in range(length):
        digit = values[offsets + length - 1 - i]
        total += digit if i % 2 == 0 else 2 * digit - 9 * (digit > 4)
    holds: Bools = total % 10 == 0
    return holds
