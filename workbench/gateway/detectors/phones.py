"""Telephone numbers: international forms by country calling code, and national forms of the regions that are claimed, by libphonenumber's patterns."""

import re
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from workbench.gateway.detectors.cards import digits_of
from workbench.gateway.detectors.finding import Finding
from workbench.gateway.detectors.groups import Groups, Ints
from workbench.gateway.detectors.numbering_plans import is_international, national_regions
from workbench.gateway.detectors.words import PHONE_WORDS, REACH, has_word_before, places_of_phone_words

_BODY = r"[0-9](?:[ .\-/()_\u00b7]{0,3}[0-9]){6,16}"
INTERNATIONAL = re.compile(r"(?<![0-9A-Za-z_+])(?<![0-9][.\-])(?:\(\+[0-9]{1,3}\)|\+ ?)[ .\-]?\(?" + _BODY)
_ENDS = re.compile(r"(?![0-9A-Za-z_])(?![.\-/:_][0-9])(?!,[0-9]{1,2}(?![0-9]))")
_BEGINS = re.compile(r"(?<![0-9A-Za-z_+$#=])(?<![0-9][.\-/:])(?<![$€£#%&])(?<![A-Za-z]-)")
_DATE = re.compile(
    r"(?:(?:19|20)[0-9]{2}[-./ ][01]?[0-9][-./ ][0-3]?[0-9]|[0-3]?[0-9][-./ ][01]?[0-9][-./ ](?:19|20)[0-9]{2})(?![0-9])"
)
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}\Z")


def phones(groups: Groups, first: int) -> Iterator[Finding]:
    """Yield the telephone numbers that begin at a place or after it."""
    text = groups.text
    if "+" in text:
        yield from _international(groups, first)
    for i in _national_starts(groups).tolist():
        start = int(groups.starts[i])
        if start and text[start - 1] == "(":
            start -= 1
        if start >= first and (end := _national_end(groups, i, start)) is not None:
            yield Finding(kind="PHONE", start=start, end=end)


def _international(groups: Groups, first: int) -> Iterator[Finding]:
    text = groups.text
    for at in _pluses(groups).tolist():
        start = at - 1 if at > first and text[at - 1] == "(" else at
        m = (INTERNATIONAL.match(text, start) or INTERNATIONAL.match(text, at)) if at >= first else None
        if m and (end := _international_end(text, m)):
            yield Finding(kind="PHONE", start=m.start(), end=end)


def _pluses(groups: Groups) -> Ints:
    """Return every plus sign that at least seven digits follow before the next one."""
    at = np.flatnonzero(groups.codes == ord("+"))
    total = np.concatenate(([0], np.cumsum(groups.is_digit)))
    ends = np.minimum(at + 40, groups.codes.size)
    ends[:-1] = np.minimum(ends[:-1], at[1:])
    good: Ints = at[total[ends] - total[at] >= 7]
    return good


def _international_end(text: str, m: re.Match[str]) -> int | None:
    """Return the end of the longest number that begins with a match, leaving off groups from its end."""
    end = m.end()
    for _ in range(MOST_TRIES):
        part = text[m.start() : end]
        number = digits_of(part.replace("(0)", ""))
        if len(number) < 7:
            return None
        signs = re.findall(r"[^0-9+]+", part)
        is_decimal = len(signs) == 1 and signs[0] == "."
        if _ENDS.match(text, end) and len(number) <= 15 and is_international(number, strictly=is_decimal):
            return end
        shorter = re.search(r"[ .\-/()_\u00b7]+[0-9]+\Z", part)
        if shorter is None:
            return None
        end = m.start() + shorter.start()
    return None


MOST_TRIES = 7


MOBILE_SHAPES = ((11,), (3, 4, 4), (3, 8), (7, 4), (3, 3, 5), (4, 3, 4), (5, 6))
LANDLINE_SHAPES = ((3, 8), (4, 7), (4, 8), (3, 4, 4), (4, 4, 4), (4, 3, 4))
SHAPES = ((3, 3, 4), (1, 3, 3, 4), *MOBILE_SHAPES)
"""Lengths of the groups of numbers of North America and of Chinese numbers."""


def _national_starts(groups: Groups) -> Ints:
    """Return the groups with which a number without a plus sign can begin: the first and the second one of a row."""
    n = groups.starts.size
    is_first = np.ones(n, np.bool_)
    is_first[1:] = ~groups.is_next[:-1]
    before = np.full(n, 0, np.uint32)
    inside = groups.starts > 0
    before[inside] = groups.codes[groups.starts[inside] - 1]
    opens = before == ord("(")
    follows_first = np.zeros(n, np.bool_)
    follows_first[1:] = is_first[:-1] & (before[1:] == 32)
    single = is_first & ~groups.is_next
    fits = np.where(single, (groups.lengths >= 7) & (groups.lengths <= 17), groups.lengths <= 13)
    fits &= is_first | follows_first | opens
    has_form = (groups.codes[groups.starts] == 48) & (~single | (groups.lengths >= 10))
    for shape in SHAPES:
        of_shape = groups.of_shape(shape)
        has_form[of_shape[~single[of_shape] | (groups.codes[groups.starts[of_shape]] == 49)]] = True
    words = np.array(places_of_phone_words(groups.text), np.int64)
    if words.size:
        behind = np.searchsorted(words, groups.starts) - 1
        has_form |= (behind >= 0) & (groups.starts - words[np.maximum(behind, 0)] <= REACH)
    return np.flatnonzero(fits & has_form)


def _national_end(groups: Groups, i: int, start: int) -> int | None:
    """Return the end of the longest national number, or international one with 00, that begins with a group."""
    text, last, n_digits = groups.text, i, int(groups.lengths[i])
    if not _BEGINS.match(text, start) or _DATE.match(text, start):
        return None
    while last + 1 < groups.starts.size and last - i < MOST_TRIES and groups.is_next[last] and n_digits < 17:
        last += 1
        n_digits += int(groups.lengths[last])
    has_word: bool | None = None
    while last >= i:
        end = int(groups.ends[last])
        part = text[start:end]
        if 7 <= n_digits <= 17 and _ENDS.match(text, end):
            if _is_plain_phone(part):
                return end
            if has_word is None:
                has_word = has_word_before(text, start, PHONE_WORDS)
            if has_word and not groups.is_next[last] and _is_named_phone(part):
                return end
        n_digits -= int(groups.lengths[last])
        last -= 1
    return None


@lru_cache(maxsize=8192)
def _is_plain_phone(part: str) -> bool:
    """Return whether a text is a telephone number by its form alone."""
    number, lengths = digits_of(part), tuple(len(g) for g in re.findall("[0-9]+", part))
    if len(set(number)) < 3 or _ADDRESS.fullmatch(part) or "_" in part:
        return False
    if number.startswith("00"):
        return is_international(number[2:], strictly=len(lengths) == 1)
    if number.startswith("011") and len(lengths) > 1 and is_international(number[3:], strictly=True):
        return True
    return _is_north_american(number, lengths) or _is_chinese(number, lengths) or _has_prefix(part, number, lengths)


def _is_north_american(number: str, lengths: tuple[int, ...]) -> bool:
    if lengths not in {(3, 3, 4), (1, 3, 3, 4)} or (len(number) == 11 and number[0] != "1"):
        return False
    area, office = number[-10:-7], number[-7:-4]
    return area[0] in "23456789" and office[0] in "23456789" and area[1:] != "11"


def _is_chinese(number: str, lengths: tuple[int, ...]) -> bool:
    if lengths in MOBILE_SHAPES and len(number) == 11 and re.match("1[3-9]", number):
        return True
    return lengths in LANDLINE_SHAPES and re.match("0(?:10|2[0-9]|[3-9][0-9]{2})[2-8]", number) is not None


def _has_prefix(part: str, number: str, lengths: tuple[int, ...]) -> bool:
    """Return whether a number begins with the 0 of national calls and is one of a claimed region; a mobile one where it has no groups."""
    if not number.startswith("0"):
        return False
    if len(lengths) == 1:
        return 10 <= len(number) <= 11 and bool(national_regions(number, mobile=True))
    if lengths == (3, 2, 4) or (set(re.findall("[^0-9]", part)) == {"."} and len(lengths) < 4):
        return False
    return 9 <= len(number) <= 12 and len(lengths) <= 6 and bool(national_regions(number, mobile=False))


@lru_cache(maxsize=8192)
def _is_named_phone(part: str) -> bool:
    """Return whether a text that follows a word such as "phone" is a telephone number of a claimed region."""
    number = digits_of(part)
    if len(set(number)) < 3 or _ADDRESS.fullmatch(part) or not 7 <= len(number) <= 13:
        return False
    return bool(national_regions(number, mobile=False)) or is_international(number, strictly=True)
