"""International bank account numbers: the structure of each country in python-stdnum's copy of the IBAN registry, and the check digits of ISO 13616."""

import re
from functools import cache

import numpy as np
import numpy.typing as npt

from workbench.gateway.detectors.finding import Ints, Spans, kept, spans
from workbench.gateway.detectors.groups import ALNUM, DIGITS, LETTERS, Bytes, Text, table

LONGEST = 34
_CLASSES = {"n": "[0-9]", "a": "[A-Z]", "c": "[0-9A-Z]"}
_GAPS = table(" -.")
_VALUES = np.array([int(chr(c), 36) if ALNUM[c] else 0 for c in range(256)], np.int64)


def is_iban(text: str) -> bool:
    """Return whether a text is an IBAN (ISO 13616): its letters and digits as a number leave 1 when divided by 97."""
    plain = re.sub(r"[^0-9A-Za-z]", "", text).upper()
    if not 15 <= len(plain) <= LONGEST:
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


@cache
def _registry() -> tuple[dict[str, re.Pattern[str]], npt.NDArray[np.int64]]:
    """Return the pattern of each country, and the length of its numbers by the two letters."""
    from stdnum import numdb

    patterns, lengths = {}, np.zeros((26, 26), np.int64)
    for _, country, _, about, _ in numdb.get("iban").prefixes:
        parts = re.findall("([0-9]+)!([nac])", about["bban"])
        patterns[country] = re.compile(country + "[0-9]{2}" + "".join(f"{_CLASSES[kind]}{{{n}}}" for n, kind in parts))
        first, second = (ord(letter) - ord("A") for letter in country)
        lengths[first, second] = 4 + sum(int(n) for n, _ in parts)
    return patterns, lengths


def accounts(text: Text) -> Spans:
    """Return the account numbers of a text, with up to two blanks, hyphens or points between any two characters."""
    codes = text.codes
    is_letter = text.has(LETTERS)
    pairs = is_letter[:-1] & is_letter[1:]
    pairs[1:] &= ~text.is_word[:-2]
    signs = text.marked(ALNUM) if pairs.any() else np.zeros(0, np.int64)
    if signs.size < 15:
        return spans(())
    kinds = codes[signs]
    first = np.searchsorted(signs, np.flatnonzero(pairs))
    first = first[first <= signs.size - 15]
    first = first[DIGITS[kinds[first + 2]] & DIGITS[kinds[first + 3]]]
    patterns, lengths = _registry()
    length = lengths[(kinds[first] | 32) - 97, (kinds[first + 1] | 32) - 97]
    inside = (length > 0) & (first + length <= signs.size)
    first, length = first[inside], length[inside]
    # Gaps of one or two signs that may stand in a number count nothing, all others do.
    gaps = np.diff(signs) - 1
    at = signs[:-1]
    good = (gaps == 0) | ((gaps <= 2) & _GAPS[text.at(at + 1)] & ((gaps < 2) | _GAPS[text.at(at + 2)]))
    bad = np.concatenate(([0], np.cumsum(~good)))
    joined = (bad[first + length - 1] == bad[first]) & ~ALNUM[text.at(signs[first + length - 1] + 1)]
    first, length = first[joined], length[joined]
    check = (kinds[first + 2] - 48) * 10 + (kinds[first + 3] - 48)
    valid = (_remainders(kinds, first, length) == 1) & (check > 1) & (check < 99)
    first, length = first[valid], length[valid]
    places = signs[first], signs[first + length - 1] + 1
    written = [
        kinds[a : a + n].tobytes().decode().upper() for a, n in zip(first.tolist(), length.tolist(), strict=True)
    ]
    structured = {w: patterns[w[:2]].fullmatch(w) is not None for w in set(written)}
    return kept(places, np.array([structured[w] for w in written], np.bool_))


def _remainders(kinds: Bytes, first: Ints, length: Ints) -> Ints:
    """Return the remainders of the numbers divided by 97, their first four characters last."""
    rest = np.zeros(first.size, np.int64)
    for i in range(int(length.max(initial=0))):
        at = np.where(i + 4 < length, i + 4, i + 4 - length)
        value = _VALUES[kinds[np.minimum(first + at, kinds.size - 1)]]
        rest = np.where(i < length, (rest * np.where(value > 9, 100, 10) + value) % 97, rest)
    return rest
