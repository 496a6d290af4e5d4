"""What stands between the name of a secret and its value: signs, blanks, quotation marks, and words such as "is"."""

import re
import string
from collections.abc import Callable
from functools import cache
from itertools import product, repeat

import numpy as np

from workbench.gateway.detectors.finding import Ints
from workbench.gateway.detectors.groups import LETTERS, Bools, Text, table
from workbench.gateway.detectors.words import pair_of

_QUOTE = r"(?:\\{0,3}[\"'`]|\*\*?)?+"
_IS = r"(?:is|ist|lautet|es|est|was) "
GAP = re.compile(
    rf"{_QUOTE}(?: (?:for|of|für|von) [\w.\-]{{1,16}})?+ {{0,3}}+(?:=>|[:?]{{0,3}}=|[:=：|]|是|为|- |{_IS})?+(?:\*\*)?(?<=[ :=：是为>\"'`|*]) {{0,3}}+"
    rf"(?:bearer |basic |token )?{_QUOTE}|>|\([\"'`]|[\"'`], ?[\"'`]|{_QUOTE},?\s{{0,8}}+{_QUOTE}value{_QUOTE} ?[:=] ?{_QUOTE}",
    re.IGNORECASE,
)
PARTED = re.compile(rf"[:=：|>是为(]|{_IS}", re.IGNORECASE)
"""What stands between a name and its value, and what it holds where these are parted by more than blanks."""
_PARTING = table(":=|>(")
_GAP_SIGNS, _ENDS_GAP = string.punctuation + " ", table(" :=>|*\"'`\xff")
_BEGINS_GAP_WORD = np.zeros(1 << 16, np.bool_)
_BEGINS_GAP_WORD[
    [
        pair_of(word)
        for word in ["for", "of", "für", "von", "is", "lautet", "es", "was", "bearer", "basic", "token", "value"]
    ]
] = True
_BEGINS_GAP_WORD[pair_of("s ")] = True  # of "İs", whose first letter is none of ASCII
"""Whether the first word in a gap may begin with two letters."""
_ALONE = 0x80
"""What stands for the first one of two signs where a gap is one sign."""


def are_gaps(text: Text, begins: Ints, ends: Ints, *, is_parted: bool) -> Bools:
    """Return which gaps stand between a name and its value, and part them by more than blanks where that is asked for."""
    first, last, n = text.at(begins), text.at(ends - 1), ends - begins
    pairs = (np.where(n == 1, _ALONE, first).astype(np.int64) << 8) | last
    is_short = (n <= 2) & (first < _ALONE) & (last < _ALONE)
    good: Bools = is_short & _short_gaps()[int(is_parted)][pairs]
    doubtful = np.flatnonzero(~is_short & _ENDS_GAP[last])
    letter = text.marks(LETTERS).next(begins[doubtful])
    has_word = np.flatnonzero(letter < ends[doubtful])
    may = np.ones(doubtful.size, np.bool_)
    may[has_word] = _BEGINS_GAP_WORD[text.pairs[letter[has_word]]]
    doubtful = doubtful[may]
    good[doubtful] = _each(GAP.fullmatch, text, begins[doubtful], ends[doubtful])
    if is_parted:
        doubtful = doubtful[good[doubtful] & (text.marks(_PARTING).next(begins[doubtful]) >= ends[doubtful])]
        good[doubtful] = _each(PARTED.search, text, begins[doubtful], ends[doubtful])
    return good


def _each(finds: Callable[[str, int, int], object], text: Text, begins: Ints, ends: Ints) -> Bools:
    """Return between which places something is found."""
    found = map(finds, repeat(text.plain), begins.tolist(), ends.tolist())
    return np.fromiter(map(bool, found), np.bool_, begins.size)


@cache
def _short_gaps() -> Bools:
    """Return for two signs in one number whether they are a gap, and whether one that parts by more than blanks: (2, signs)."""
    result = np.zeros((2, 1 << 16), np.bool_)
    for gap in (*_GAP_SIGNS, *map("".join, product(_GAP_SIGNS, repeat=2))):
        pair = (_ALONE if len(gap) == 1 else ord(gap[0])) << 8 | ord(gap[-1])
        result[0, pair] = GAP.fullmatch(gap) is not None
        result[1, pair] = result[0, pair] and PARTED.search(gap) is not None
    return result
