"""Card numbers: groups as they are written, first digits of an issuer, and the Luhn check digit."""

import re
from collections.abc import Iterator

import numpy as np

from workbench.gateway.detectors.finding import Finding
from workbench.gateway.detectors.groups import Bools, Groups, Ints

SHAPES = (
    *((n,) for n in range(13, 20)),
    *((4, 4, 4, n) for n in range(1, 8)),
    *((4, 4, 4, 4, n) for n in (1, 2, 3)),
    *(
        (4, 6, 5),
        (4, 6, 4),
        (4, 5, 6),
        (4, 4, 8),
        (8, 8),
        (4, 12),
        (6, 10),
        (4, 4, 6),
        (6, 13),
        (4, 6, 6),
        (12, 4),
        (4, 8, 4),
        (8, 4, 4),
    ),
    *((4, 11), (6, 9), (6, 6, 4), (5, 5, 5), (4, 4, 7), (4, 4, 4, 3), (6, 4, 6)),
)
"""Lengths of the groups of a card number: whole, in fours, as on cards of fourteen and fifteen digits, and in larger groups."""
BEGINS = re.compile(r"(?<![0-9A-Za-z_])(?<![0-9][.\-/])(?<![A-Za-z]-)(?<![^0-9]0,)(?<!^0,)")
ENDS = re.compile(r"(?![0-9A-Za-z_])(?!-[0-9A-Za-z])(?![./][0-9])")


def digits_of(text: str) -> str:
    """Return the ASCII digits of a text."""
    return "".join(c for c in text if "0" <= c <= "9")


def luhn_holds(text: str) -> bool:
    """Return whether the check digit is valid (ISO/IEC 7812-1, annex B): the sum over digits, every second one from the right doubled, ends in 0."""
    total = 0
    for i, char in enumerate(reversed(digits_of(text))):
        value = int(char) * (1 + i % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_card(text: str) -> bool:
    """Return whether a text is a card number: length and first digits of an issuer, and the Luhn check digit."""
    number = digits_of(text)
    if not 13 <= len(number) <= 19 or len(set(number)) < 2 or not luhn_holds(number):
        return False
    n, two, four = len(number), int(number[:2]), int(number[:4])
    return (
        (number[0] == "4" and n in {13, 16, 19})
        or (n == 16 and (51 <= two <= 55 or 2221 <= four <= 2720))
        or (n == 15 and two in {34, 37})
        or (16 <= n <= 19 and (two in {62, 65, 81} or four == 6011 or 644 <= int(number[:3]) <= 649))
        or (16 <= n <= 19 and (3528 <= four <= 3589 or 2200 <= four <= 2204))
        or (n in {14, 16, 19} and (300 <= int(number[:3]) <= 305 or two in {36, 38, 39} or number[:4] == "3095"))
        or (n in {16, 18, 19} and four in {5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763})
    )


def cards(groups: Groups, first: int) -> Iterator[Finding]:
    """Yield the card numbers that begin at a place or after it."""
    text = groups.text
    for start, end in _proposed(groups):
        if start >= first and BEGINS.match(text, start) and ENDS.match(text, end) and is_card(text[start:end]):
            yield Finding(kind="CARD", start=start, end=end)


def _proposed(groups: Groups) -> Iterator[tuple[int, int]]:
    """Yield beginning and end of every number of a card's shape whose check digit fits."""
    for shape in SHAPES:
        first = groups.of_shape(shape)
        if first.size:
            good = first[_luhn_of(groups, first, sum(shape))]
            yield from zip(groups.starts[good].tolist(), groups.ends[good + len(shape) - 1].tolist(), strict=True)


def _luhn_of(groups: Groups, first: Ints, length: int) -> Bools:
    """Return which numbers of one length have a valid check digit and may be of an issuer."""
    values, offsets = groups.digit_values, groups.digits_before[first]
    total = np.zeros(offsets.size, np.int16)
    for i in range(length):
        digit = values[offsets + length - 1 - i]
        total += digit if i % 2 == 0 else 2 * digit - 9 * (digit > 4)
    holds: Bools = (total % 10 == 0) & (values[offsets] >= 2) & (values[offsets] <= 8) & (values[offsets] != 7)
    return holds
