"""Places of a text where a number, an e-mail address or an IBAN can begin, from one vectorized pass over its characters.

Searching for each pattern reads every character of a text and, in hostile texts, the same characters again and again. Here characters are
classified once, and the patterns are tried only at the few places that remain.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
CARD_LENGTHS = tuple(range(13, 20))
# Countries of the IBAN registry (SWIFT, release 99).
IBAN_COUNTRIES = [
    "AD",
    "AE",
    "AL",
    "AT",
    "AZ",
    "BA",
    "BE",
    "BG",
    "BH",
    "BI",
    "BR",
    "BY",
    "CH",
    "CR",
    "CY",
    "CZ",
    "DE",
    "DJ",
    "DK",
    "DO",
    "EE",
    "EG",
    "ES",
    "FI",
    "FK",
    "FO",
    "FR",
    "GB",
    "GE",
    "GI",
    "GL",
    "GR",
    "GT",
    "HN",
    "HR",
    "HU",
    "IE",
    "IL",
    "IQ",
    "IS",
    "IT",
    "JO",
    "KW",
    "KZ",
    "LB",
    "LC",
    "LI",
    "LT",
    "LU",
    "LV",
    "LY",
    "MC",
    "MD",
    "ME",
    "MK",
    "MN",
    "MR",
    "MT",
    "MU",
    "NI",
    "NL",
    "NO",
    "OM",
    "PK",
    "PL",
    "PS",
    "PT",
    "QA",
    "RO",
    "RS",
    "RU",
    "SA",
    "SC",
    "SD",
    "SE",
    "SI",
    "SK",
    "SM",
    "SO",
    "ST",
    "SV",
    "TL",
    "TN",
    "TR",
    "UA",
    "VA",
    "VG",
    "XK",
    "YE",
]


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
    """Classified characters of one text in NFKC."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._codes = _codes(text)
        self._is_digit = (self._codes - 48) < 10  # below 48 wraps around

    @cached_property
    def groups(self) -> Groups:
        """Groups of digits, in the order of the text."""
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
        """Return the first groups of sequences with these lengths, each joined to the next by one separator."""
        g = self.groups
        n = g.starts.size - len(lengths) + 1
        if n <= 0:
            return np.zeros(0, np.int64)
        fits = np.ones(n, np.bool_)
        for i, allowed in enumerate(lengths):
            fits &= np.isin(g.lengths[i : i + n], allowed)
            if i + 1 < len(lengths):
                fits &= g.is_next[i : i + n]
        return np.flatnonzero(fits)

    @cached_property
    def identity_numbers(self) -> list[int]:
        """Places where a Chinese or a US identity number can begin."""
        g = self.groups
        long = g.starts[(g.lengths == 17) | (g.lengths == 18)]
        return sorted({*long.tolist(), *g.starts[self._sequence((3,), (2,), (4,))].tolist()})

    @cached_property
    def cards(self) -> list[tuple[int, int]]:
        """Beginning and end of every number of 13 to 19 digits, whole or in groups of four (or 4, 6 and 5), whose check digit fits."""
        g = self.groups
        if not g.starts.size:
            return []
        shapes = (CARD_LENGTHS,), (*[(4,)] * 3, (1, 2, 3, 4)), (*[(4,)] * 4, (1, 2, 3)), ((4,), (6,), (5,))
        offsets = np.concatenate(([0], np.cumsum(g.lengths)))
        values = (self._codes[self._is_digit] - 48).astype(np.int16)
        places: list[tuple[int, int]] = []
        for shape in shapes:
            first, n_groups = self._sequence(*shape), len(shape)
            n_digits = offsets[first + n_groups] - offsets[first]
            for length in np.unique(n_digits):
                own = first[n_digits == length]
                good = own[_luhn_holds(values, offsets[own], int(length))]
                last = good + n_groups - 1
                places += zip(g.starts[good].tolist(), (g.starts[last] + g.lengths[last]).tolist(), strict=True)
        return sorted(places, key=lambda p: (p[0], -p[1]))

    @cached_property
    def phones(self) -> list[int]:
        """Places where a telephone number can begin."""
        g = self.groups
        shapes = ((3,), (3,), (4,)), ((3,), (4,), (4,)), ((3,), (8,)), ((7,), (4,)), ((3, 4), (7, 8))
        eleven = g.starts[(g.lengths == 11) & (self._codes[g.starts] == 49)]
        places = set(np.concatenate([eleven, *(g.starts[self._sequence(*shape)] for shape in shapes)]).tolist())
        return sorted(places | self._before_many_digits(43, least=8) | self._before_many_digits(40, least=10))

    def _before_many_digits(self, code: int, *, least: int) -> set[int]:
        """Return the places of a character that at least ``least`` digits follow within 26 characters, before it occurs again."""
        at = np.flatnonzero(self._codes == code)
        if not at.size:
            return set()
        total = np.concatenate(([0], np.cumsum(self._is_digit)))
        ends = np.minimum(at + 26, self._codes.size)
        ends[:-1] = np.minimum(ends[:-1], at[1:])
        return set(at[total[ends] - total[at] >= least].tolist())

    @cached_property
    def accounts(self) -> list[int]:
        """Places where an IBAN can begin: a country code of the registry and two digits."""
        c = self._codes
        if c.size < 15:
            return []
        upper, digit = (c - 65) < 26, self._is_digit
        starts = np.flatnonzero(upper[:-3] & upper[1:-2] & digit[2:-1] & digit[3:])
        countries = np.array(sorted((ord(k[0]) << 8) + ord(k[1]) for k in IBAN_COUNTRIES), np.uint32)
        places: list[int] = starts[np.isin((c[starts] << 8) + c[starts + 1], countries)].tolist()
        return places

    @cached_property
    def addresses(self) -> list[int]:
        """Places where an e-mail address can begin: the first character of the run before an @ that a domain name follows."""
        c = self._codes
        at = np.flatnonzero(c == 64)
        if not at.size:
            return []
        lower = (c | 32) - 97 < 26
        label = lower | self._is_digit | (c == 45)
        place = np.arange(c.size)
        # The next character that is not of a label, for every place.
        following = np.minimum.accumulate(np.where(label, c.size, place)[::-1])[::-1]
        after = np.concatenate((following, [c.size]))[at + 1]
        at = at[(after > at + 1) & (after < c.size) & (c[np.minimum(after, c.size - 1)] == 46)]
        if not at.size:
            return []
        local = label | (c == 46) | (c == 95) | (c == 37) | (c == 43)
        begins = np.maximum.accumulate(np.where(local, -1, place)) + 1
        at = at[at > 0]
        return sorted(set(begins[at - 1][begins[at - 1] < at].tolist()))


def _luhn_holds(values: npt.NDArray[np.int16], offsets: Ints, length: int) -> Bools:
    """Return which numbers of one length have a valid check digit (ISO/IEC 7812-1, annex B)."""
    total = np.zeros(offsets.size, np.int16)
    for i in range(length):
        digit = values[offsets + length - 1 - i]
        total += digit if i % 2 == 0 else 2 * digit - 9 * (digit > 4)
    holds: Bools = total % 10 == 0
    return holds
