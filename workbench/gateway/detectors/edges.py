"""What may stand before and after a number, for many numbers at once."""

import numpy as np

from workbench.gateway.detectors.finding import Ints
from workbench.gateway.detectors.groups import ALNUM, DIGITS, LETTERS, WORD, Bools, Bytes, Text, table

_JOINS_NUMBERS = table(".-/")
_POINTS = table("./")
_HYPHEN, _COMMA, _ZERO, _UNDERSCORE = (ord(sign) for sign in "-,0_")
_BEFORE_PHONE = WORD | table("+$#\u00a3%")
_BEFORE_PHONE_DIGIT = table(".-/:")
_AFTER_PHONE_DIGIT = table(".-/:_")


def is_joined(sign: Bytes, beyond: Bytes) -> Bools:
    """Return which signs beside numbers join them to a word; an underscore is a mark of emphasis where no word is beyond it."""
    result: Bools = WORD[sign] & ((sign != _UNDERSCORE) | WORD[beyond])
    return result


def begins(text: Text, starts: Ints) -> Bools:
    """Return which numbers are not the rest of a word, of a longer number or of a decimal fraction."""
    before, second, third = text.at(starts - 1), text.at(starts - 2), text.at(starts - 3)
    ok = ~is_joined(before, second)
    ok &= ~(_JOINS_NUMBERS[before] & DIGITS[second])
    ok &= ~((before == _HYPHEN) & LETTERS[second])
    ok &= ~((before == _COMMA) & (second == _ZERO) & ~DIGITS[third])
    return ok


def ends(text: Text, places: Ints) -> Bools:
    """Return which numbers are not the beginning of a word or of a longer number."""
    after, second = text.at(places), text.at(places + 1)
    ok: Bools = ~is_joined(after, second) & ~((after == _HYPHEN) & ALNUM[second]) & ~(_POINTS[after] & DIGITS[second])
    return ok


def phone_begins(text: Text, starts: Ints) -> Bools:
    """Return which numbers may be telephone numbers by what stands before them."""
    before, second = text.at(starts - 1), text.at(starts - 2)
    euro = np.zeros(starts.size, np.bool_) if text.wide is text.codes else (before == 255) & _is_euro(text, starts - 1)
    ok: Bools = ~_BEFORE_PHONE[before] & ~(_BEFORE_PHONE_DIGIT[before] & DIGITS[second])
    ok &= ~((before == _HYPHEN) & LETTERS[second]) & ~euro
    return ok


def _is_euro(text: Text, places: Ints) -> Bools:
    ok: Bools = text.wide[np.maximum(places, 0)] == ord("\u20ac")
    return ok


def international_begins(text: Text, starts: Ints) -> Bools:
    """Return which numbers with a plus sign are not part of something else."""
    before, second = text.at(starts - 1), text.at(starts - 2)
    ok: Bools = (
        ~is_joined(before, second)
        & (before != ord("+"))
        & ~(((before == _HYPHEN) | (before == ord("."))) & DIGITS[second])
    )
    return ok


def phone_ends(text: Text, places: Ints) -> Bools:
    """Return which telephone numbers end here."""
    after, second = text.at(places), text.at(places + 1)
    ok: Bools = ~is_joined(after, second) & ~(_AFTER_PHONE_DIGIT[after] & DIGITS[second])
    return ok
