"""International bank account numbers: the structure of each country in python-stdnum's copy of the IBAN registry, and the check digits of ISO 13616."""

import re
from functools import cache

import numpy as np

from workbench.gateway.detectors.edges import is_joined
from workbench.gateway.detectors.finding import Ints, Spans, kept, neighbourhoods, spans
from workbench.gateway.detectors.groups import ALNUM, DIGITS, WORD, Bools, Bytes, Text, table

LONGEST = 34
MOST_AT_ONCE = 8
"""Characters by which a number grows before it is divided, so that it stays below 2^63."""
_GAPS = table(" -.")
_VALUES = np.array([int(chr(c), 36) if ALNUM[c] else 0 for c in range(256)], np.uint8)


def is_iban(text: str) -> bool:
    """Return whether a text is an IBAN (ISO 13616): its letters and digits as a number leave 1 when divided by 97."""
    plain = re.sub(r"[^0-9A-Za-z]", "", text).upper()
    if not 15 <= len(plain) <= LONGEST:
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


@cache
def _registry() -> tuple[Ints, Bools, Bools, Bools]:
    """Return by country the length of its numbers and for each of their places whether it is a digit, or a letter; and which pairs of letters are one."""
    from stdnum import numdb

    lengths = np.zeros(26 * 26, np.int64)
    kinds, is_country = np.zeros((2, 26 * 26, LONGEST), np.bool_), np.zeros(1 << 16, np.bool_)
    for _, country, _, about, _ in numdb.get("iban").prefixes:
        index = 26 * (ord(country[0]) - ord("A")) + ord(country[1]) - ord("A")
        written = "aann" + "".join(int(n) * kind for n, kind in re.findall("([0-9]+)!([nac])", about["bban"]))
        lengths[index] = len(written)
        is_country[ord(country[0].lower()) << 8 | ord(country[1].lower())] = True
        for which, kind in zip(kinds, "na", strict=True):
            which[index, : len(written)] = [k == kind for k in written]
    return lengths, kinds[0], kinds[1], is_country


def accounts(text: Text) -> Spans:
    """Return the account numbers of a text, with up to two blanks, hyphens or points between any two characters."""
    codes, (lengths, are_digits, are_letters, is_country) = text.codes, _registry()
    begins = np.flatnonzero(is_country.take(text.pairs))
    second, third, fourth = (text.at(begins + i) for i in (2, 3, 4))
    begins = begins[DIGITS[second] | (_GAPS[second] & (DIGITS[third] | (_GAPS[third] & DIGITS[fourth])))]
    begins = begins[~is_joined(text.at(begins - 1), text.at(begins - 2)) | _is_named(text, begins)]
    if 3 * LONGEST * begins.size < codes.size:
        signs = neighbourhoods(begins, codes.size, after=3 * LONGEST)
        signs = signs[text.has(ALNUM)[signs]]
    else:
        signs = text.marks(ALNUM).places
    if signs.size < 15:
        return spans(())
    kinds = codes.take(signs)
    first = np.searchsorted(signs, begins)
    first = first[first <= signs.size - 15]
    first = first[DIGITS[kinds[first + 2]] & DIGITS[kinds[first + 3]]]
    country = 26 * ((kinds[first] | 32).astype(np.int64) - 97) + (kinds[first + 1] | 32) - 97
    length = lengths[country]
    inside = first + length <= signs.size
    first, length, country = first[inside], length[inside], country[inside]
    if not first.size:
        return spans(())
    # Gaps of one or two signs that may stand in a number count nothing, all others do.
    gaps = np.flatnonzero(signs[1:] - signs[:-1] > 1)
    at, width = signs[gaps], signs[gaps + 1] - signs[gaps] - 1
    bad = gaps[~((width <= 2) & _GAPS[text.at(at + 1)] & ((width < 2) | _GAPS[text.at(at + 2)]))]
    joined = np.searchsorted(bad, first + length - 1) == np.searchsorted(bad, first)
    joined &= ~ALNUM[text.at(signs[first + length - 1] + 1)]
    first, length, country = first[joined], length[joined], country[joined]
    check = (kinds[first + 2] - 48) * 10 + (kinds[first + 3] - 48)
    valid = (_remainders(kinds, first, length) == 1) & (check > 1) & (check < 99)
    first, length, country = first[valid], length[valid], country[valid]
    padded = np.concatenate((DIGITS[kinds], np.zeros(LONGEST, np.bool_)))
    digits = np.ndarray((kinds.size, LONGEST), np.bool_, padded, strides=(1, 1))[first]
    structured = ~((are_digits[country] & ~digits) | (are_letters[country] & digits)).any(1)
    return kept((signs[first], signs[first + length - 1] + 1), structured)


def _is_named(text: Text, begins: Ints) -> Bools:
    """Return which numbers follow the word "IBAN" without a blank."""
    result: Bools = ~WORD[text.at(begins - 5)]
    for i, letter in enumerate(b"iban", -4):
        result &= text.at(begins + i) | 0x20 == letter
    return result


def _remainders(kinds: Bytes, first: Ints, length: Ints) -> Ints:
    """Return the remainders of the numbers divided by 97, their first four characters last."""
    padded = np.concatenate((_VALUES.take(kinds), np.zeros(LONGEST, np.uint8)))
    windows = np.ndarray((kinds.size, LONGEST), np.uint8, padded, strides=(1, 1))
    result = np.zeros(first.size, np.int64)
    for n in np.unique(length).tolist():
        those = np.flatnonzero(length == n)
        rest = np.zeros(those.size, np.int64)
        columns = np.ascontiguousarray(windows[first[those], :n].T)
        for i, values in enumerate(np.roll(columns, -4, 0)):
            rest = rest * np.where(values > 9, 100, 10) + values
            if i % MOST_AT_ONCE == 0:
                rest %= 97
        result[those] = rest % 97
    return result
