"""Card numbers: groups as they are written, first digits of an issuer, and the Luhn check digit."""

from functools import cache

import numpy as np

from workbench.gateway.detectors.edges import begins, ends
from workbench.gateway.detectors.finding import Ints, Spans, joined, kept, spans
from workbench.gateway.detectors.groups import DIGITS, Bools, Groups, code_of, luhn_sums

SHORTEST, LONGEST = 13, 19
SHAPES = (
    *((4, 4, 4, n) for n in range(1, 8)),
    *((4, 4, 4, 4, n) for n in (1, 2, 3)),
    *((4, 6, 5), (4, 6, 4), (4, 5, 6), (4, 4, 8), (8, 8), (4, 12), (6, 10), (4, 4, 6), (6, 13), (4, 6, 6), (12, 4)),
    *((4, 8, 4), (8, 4, 4), (4, 11), (6, 9), (6, 6, 4), (5, 5, 5), (4, 4, 7), (4, 4, 4, 3), (6, 4, 6)),
)
"""Lengths of groups that are a card number inside a longer row of groups too; any groups may hold one that stands alone."""
MOST_GROUPS = 5


def digits_of(text: str) -> str:
    """Return the ASCII digits of a text."""
    return "".join(c for c in text if "0" <= c <= "9")


def luhn_holds(text: str) -> bool:
    """Return whether the check digit is valid (ISO/IEC 7812-1, annex B): the sum over digits, every second one from the right doubled, ends in 0."""
    return bool(luhn_sums(np.array([[int(c) for c in digits_of(text)]], np.uint8))[0] % 10 == 0)


def is_issued(four: int, n: int) -> bool:
    """Return whether an issuer has numbers of this length with these first four digits."""
    one, two, three = four // 1000, four // 100, four // 10
    return (
        (one == 4 and n in {13, 16, 19})
        or (n == 16 and (51 <= two <= 55 or 2221 <= four <= 2720))
        or (n == 15 and two in {34, 37})
        or (16 <= n <= 19 and (two in {62, 65, 81} or four == 6011 or 644 <= three <= 649))
        or (16 <= n <= 19 and (3528 <= four <= 3589 or 2200 <= four <= 2204))
        or (n in {14, 16, 19} and (300 <= three <= 305 or two in {36, 38, 39} or four == 3095))
        or (n in {16, 18, 19} and (four in {5018, 5020, 5038, 5893, 6304, 6390} or two == 67))
        or (n == 16 and (two in {50, 57, 58, 60, 82} or four in {6362, 6363, 9792}))
    )


@cache
def _issued() -> Bools:
    """Return for each first four digits and length whether an issuer has such numbers."""
    return np.array([[is_issued(four, n) for n in range(LONGEST + 1)] for four in range(10_000)])


def is_card(text: str) -> bool:
    """Return whether a text is a card number: length and first digits of an issuer, and the Luhn check digit."""
    number = digits_of(text)
    return (
        SHORTEST <= len(number) <= LONGEST
        and len(set(number)) > 1
        and luhn_holds(number)
        and is_issued(int(number[:4]), len(number))
    )


def cards(groups: Groups) -> Spans:
    """Return the card numbers of a text."""
    return joined(_of(groups, n) for n in range(1, MOST_GROUPS + 1))


def _of(groups: Groups, n_groups: int) -> Spans:
    """Return the card numbers in so many groups."""
    first, packed = groups.rows(n_groups)
    if not first.size:
        return spans(())
    n_digits = groups.digits_before[first + n_groups] - groups.digits_before[first]
    inside = (n_digits >= SHORTEST) & (n_digits <= LONGEST)
    first, packed, n_digits = first[inside], packed[inside], n_digits[inside]
    if not first.size:
        return spans(())
    is_shape = np.isin(packed, [code_of(s) for s in SHAPES if len(s) == n_groups]) | (n_groups == 1)
    alone = ~groups.follows[first] & ~groups.is_next[first + n_groups - 1] & ((n_groups != 2) | (n_digits > SHORTEST))
    first, n_digits = first[is_shape | alone], n_digits[is_shape | alone]
    four = groups.digits(first, 4) @ np.array([1000, 100, 10, 1], np.int64)
    good = _issued()[four, n_digits]
    first, n_digits = first[good], n_digits[good]
    valid = np.zeros(first.size, np.bool_)
    for n in set(n_digits.tolist()):
        those = np.flatnonzero(n_digits == n)
        digits = groups.digits(first[those], n)
        valid[those] = (luhn_sums(digits) % 10 == 0) & (digits != digits[:, :1]).any(1)
    places = _places(groups, first[valid], n_groups)
    ended = ends(groups.text, places[1]) | _before_expiry(groups, places[1])
    return kept(places, (begins(groups.text, places[0]) | _on_track(groups, places[0])) & ended)


def _before_expiry(groups: Groups, places: Ints) -> Bools:
    """Return which numbers end before a slash and a month of two digits, as of "4111111111111111/09/28"."""
    at = groups.text.at
    tens, ones = at(places + 1), at(places + 2)
    result: Bools = (at(places) == ord("/")) & ((tens == ord("0")) | (tens == ord("1"))) & DIGITS[ones]
    return result


def _on_track(groups: Groups, starts: Ints) -> Bools:
    """Return which numbers the beginning of a magnetic track stands before (ISO/IEC 7813): "%B"."""
    result: Bools = (groups.text.at(starts - 1) == ord("B")) & (groups.text.at(starts - 2) == ord("%"))
    return result


def _places(groups: Groups, first: Ints, n_groups: int) -> Spans:
    return groups.starts[first], groups.ends[first + n_groups - 1]
