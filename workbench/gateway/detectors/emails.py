"""E-mail addresses: unquoted and quoted names before an @ and a domain name, also in letters beyond ASCII, and not code, packages or git remotes."""

from functools import cache

import numpy as np

from workbench.gateway.detectors.finding import Ints, Spans
from workbench.gateway.detectors.groups import (
    ALNUM,
    DIGITS,
    LETTERS,
    WORD,
    Bools,
    Bytes,
    Text,
    is_among,
    packed,
    packed_word,
    packed_words,
    table,
)
from workbench.gateway.detectors.marks import Marks

_LETTER, _DIGIT, _JOINS, _CJK, _INSIDE, _BEGINS, _ENDS = (1 << i for i in range(7))
"""Kinds of characters: of the label of a domain (letters, digits, hyphens, and letters of China, Japan and Korea), and of a name."""
_OUTER = _LETTER | _DIGIT
_LABEL = _OUTER | _JOINS | _CJK
_LETTERS = (
    *((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x370, 0x52F), (0x530, 0x58F)),
    *((0x5D0, 0x5EA), (0x620, 0x64A), (0x900, 0x97F)),
)
_CJK_LETTERS = ((0x3040, 0x30FF), (0x3400, 0x9FFF), (0xAC00, 0xD7A3))
_OF_NAMES = ((_BEGINS, "_-"), (_INSIDE, "._%+-'\u2019&!#$*~^}"), (_ENDS, "_+-%~'!*$#."))
LONGEST_NAME, LONGEST_LABEL, LONGEST_CJK, LONGEST_END, LONGEST_CJK_END = 64, 63, 20, 24, 6
LONGEST_CODED, MOST_LABELS = 59, 6
_FILES = (
    *("png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "js", "mjs", "ts", "tsx", "jsx", "css", "scss", "json", "htm"),
    *("html", "txt", "pdf", "yml", "yaml", "toml", "lock", "csv", "exe", "dll", "tgz", "service", "socket", "timer"),
)
LONGEST_FILE = max(map(len, _FILES))
_PACKED_FILES, _SERVICES = packed_words(_FILES), packed_words(("git", "hg", "svn"))
_IS_BLANK = table(" \n\r\x0b\x0c\x1c\x1d\x1e\x1f,:;")
_IS_LINE_BREAK = table("\n\r")
_IS_DOT, _IS_PLUS = table("."), table("+")
_PATH = WORD | table(".-") | (np.arange(256) > 0x7F)
_USER = WORD | table("-.+%")
_CODED = ALNUM | table("-")
_CALL = LETTERS | table("_")
_AT, _DOT, _QUOTE, _OPEN, _EQUALS, _COLON, _SLASH = (ord(c) for c in '@."(=:/')


@cache
def _kinds() -> Bytes:
    """Return the kinds of every character of the first plane."""
    result = np.zeros(0x10000, np.uint8)
    for first, last in _LETTERS:
        result[first : last + 1] |= _LETTER | _INSIDE | _BEGINS | _ENDS
    result[0x30:0x3A] |= _DIGIT | _INSIDE | _BEGINS | _ENDS
    result[[ord("-"), ord("_")]] |= _JOINS
    for first, last in _CJK_LETTERS:
        result[first : last + 1] |= _CJK
    for kind, signs in _OF_NAMES:
        result[[ord(sign) for sign in signs]] |= kind
    return result


def _kinds_of(text: Text) -> Bytes:
    """Return the kinds of the characters of a text, and one of none at its end."""
    if text.wide is text.codes:
        kinds = np.frombuffer(text.codes.tobytes().translate(_kinds()[:256].tobytes()), np.uint8)
    else:
        kinds = _kinds().take(np.minimum(text.wide, 0xFFFF))
    return np.concatenate((kinds, np.zeros(1, np.uint8)))


def emails(text: Text) -> Spans:
    """Return the addresses of a text."""
    _, starts, ends, _ = addresses(text, np.flatnonzero(text.codes == _AT))
    return starts, ends


def addresses(text: Text, ats: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Return the addresses around these signs: the sign, the beginning, the end, and where the last label begins (0 for a number in brackets)."""
    after = text.at(ats + 1)
    ats = ats[(after == ord("[")) | WORD[after] | (after > 0x7F)]
    if not ats.size:
        return ats, ats, ats, ats
    kinds = _kinds_of(text)
    ends, last = _domains(text, kinds, ats)
    found = ends > 0
    ats, ends, last = ats[found], ends[found], last[found]
    starts = _names(text, kinds, ats)
    found = starts >= 0
    ats, starts, ends, last = ats[found], starts[found], ends[found], last[found]
    good = ~_is_code(text, ats, starts, ends, last) & ~_is_password(text, starts)
    return ats[good], starts[good], ends[good], last[good]


def _domains(text: Text, kinds: Bytes, ats: Ints) -> tuple[Ints, Ints]:
    """Return where the longest domain behind each @ ends, or 0, and where its last label begins."""
    best, last = np.zeros(ats.size, np.int64), np.zeros(ats.size, np.int64)
    others, no_letters = Marks((kinds & _LABEL) == 0), Marks((kinds & _LETTER) == 0)
    cjk = Marks((kinds & _CJK) > 0) if text.wide is not text.codes else None
    live, start = np.arange(ats.size), ats + 1
    for n_labels in range(MOST_LABELS + 1):
        stop = others.next(start)
        if n_labels:
            ends = _last_labels(text, kinds, no_letters, start, stop)
            ended = ends > 0
            best[live[ended]], last[live[ended]] = ends[ended], start[ended]
        length = stop - start
        ok = (text.at(stop) == _DOT) & (length > 0)
        first, final = kinds[start], kinds[np.maximum(stop - 1, 0)]
        named = ((first & _OUTER) > 0) & ((final & _OUTER) > 0) & (length <= LONGEST_LABEL)
        if cjk is not None:
            of_cjk = cjk.count(stop) - cjk.count(start)
            named = (named & (of_cjk == 0)) | ((of_cjk == length) & (length <= LONGEST_CJK))
        ok &= named
        live, start = live[ok], stop[ok] + 1
        if not live.size:
            break
    numbered = np.flatnonzero(text.at(ats + 1) == ord("["))
    if numbered.size:
        best[numbered] = _numbered(text, ats[numbered])
    return best, last


def _last_labels(text: Text, kinds: Bytes, no_letters: Marks, start: Ints, stop: Ints) -> Ints:
    """Return where the labels that begin in these runs end as the last ones of a domain; 0 for none."""
    ends = np.zeros(start.size, np.int64)
    first = kinds[start]
    letters = np.flatnonzero((first & _LETTER) > 0)
    if letters.size:
        end = no_letters.next(start[letters])
        length = end - start[letters]
        ok = (length > 1) & (length <= LONGEST_END) & ((kinds[end] & _DIGIT) == 0)
        ends[letters[ok]] = end[ok]
        coded = letters[(length == 2) & (stop[letters] - start[letters] > 5)]
        if coded.size:
            ends[coded] = np.where((end_of := _coded(text, kinds, start[coded])) > 0, end_of, ends[coded])
    cjk = np.flatnonzero((first & _CJK) > 0)
    if cjk.size:
        end = np.minimum(Marks((kinds & _CJK) == 0).next(start[cjk]), start[cjk] + LONGEST_CJK_END)
        end = end - ((kinds[end] & _OUTER) > 0)
        ends[cjk] = np.where(end - start[cjk] > 1, end, 0)
    return ends


def _coded(text: Text, kinds: Bytes, start: Ints) -> Ints:
    """Return where labels that hold other letters in Punycode end; 0 for those that do not begin with "xn--"."""
    end = np.minimum(text.marks(~_CODED).next(start), start + 4 + LONGEST_CODED)
    # The last place that no letter and no digit follows.
    end = Marks((kinds & _OUTER) == 0).last(end + 1)
    good = (end - start >= 6) & (packed(text, start, start + 4) == packed_word("xn--"))
    return np.where(good, end, 0)


def _numbered(text: Text, ats: Ints) -> Ints:
    """Return where numbered addresses in brackets end; 0 for none."""
    place, good = ats + 2, np.ones(ats.size, np.bool_)
    for sign in "...]":
        place = np.minimum(place, text.codes.size)
        one, two, three = (DIGITS[text.at(place + i)] for i in range(3))
        place = place + one + (one & two) + (one & two & three)
        good &= one & (text.at(place) == ord(sign))
        place = place + 1
    return np.where(good, place, 0)


def _names(text: Text, kinds: Bytes, ats: Ints) -> Ints:
    """Return where the names before the signs begin; -1 where there is none."""
    last = np.maximum(ats - 1, 0)
    first = np.maximum(Marks((kinds & _INSIDE) == 0).last(last + 1) + 1, ats - LONGEST_NAME)
    moved = np.flatnonzero((kinds[np.minimum(first, kinds.size - 1)] & _BEGINS) == 0)
    if moved.size:
        first[moved] = Marks((kinds & _BEGINS) > 0).next(first[moved])
    first = np.where((ats > 0) & (first <= last) & ((kinds[last] & _ENDS) > 0), first, -1)
    parted = np.flatnonzero((first > 0) & (text.at(first - 1) == _SLASH))
    if parted.size:
        first[parted] = _parted(text, kinds, ats[parted], first[parted])
    returned = np.flatnonzero((first > 3) & (text.at(first - 1) == _EQUALS))
    if returned.size:
        first[returned] = _returned(text, kinds, first[returned])
    quoted = np.flatnonzero((first < 0) & (text.at(ats - 1) == _QUOTE))
    if quoted.size:
        first[quoted] = _quoted(text, ats[quoted])
    return first


def _parted(text: Text, kinds: Bytes, ats: Ints, first: Ints) -> Ints:
    """Return where names with slashes begin: none of a path or an address of the web, whose first part is empty or holds a point but no plus sign."""
    inside = (kinds & _INSIDE) > 0
    inside[:-1] |= text.codes == _SLASH
    start = Marks(~inside).last(first) + 1
    has_dot, has_plus = (text.marks(which).next(start) < first for which in (_IS_DOT, _IS_PLUS))
    good = (ats - start <= LONGEST_NAME) & ((kinds[start] & _BEGINS) > 0) & (~has_dot | has_plus)
    return np.where(good, start, first)


def _returned(text: Text, kinds: Bytes, first: Ints) -> Ints:
    """Return where names with an equals sign begin that hold the address of another: in angle brackets, or behind a number."""
    inside = (kinds & _INSIDE) > 0
    inside[:-1] |= text.codes == _EQUALS
    start = Marks(~inside).last(first) + 1
    digits = text.marks(DIGITS)
    good = (first - start < LONGEST_NAME) & ((kinds[start] & _BEGINS) > 0)
    good &= (text.at(start - 1) == ord("<")) | (digits.count(first) - digits.count(start) > 2)
    return np.where(good, start, first)


def _quoted(text: Text, ats: Ints) -> Ints:
    """Return the beginnings of names in quotation marks before signs; -1 where there is none."""
    quotes = np.flatnonzero(text.codes == _QUOTE)
    index = np.searchsorted(quotes, ats - 1) - 1
    first = quotes[np.maximum(index, 0)]
    good = (index >= 0) & (ats - first <= LONGEST_NAME) & (ats - first > 2)
    good &= text.marks(_IS_LINE_BREAK).next(np.minimum(first, ats)) >= ats
    good &= ~_IS_BLANK[text.at(first + 1)] & ~_IS_BLANK[text.at(ats - 2)]
    return np.where(good, first, -1)


def _is_code(text: Text, ats: Ints, starts: Ints, ends: Ints, last: Ints) -> Bools:
    """Return which addresses are part of code: a call, a version of a package, a file, or the account of a version control."""
    return (
        _is_service(text, ats, starts)
        | _is_operand(text, ats)
        | _is_version(text, ats)
        | _is_file(text, last, ends)
        | _is_called(text, ends, text.at(ends))
    )


def _is_password(text: Text, starts: Ints) -> Bools:
    """Return which names are the password of a URL, with a user of letters and digits before it."""
    result = np.zeros(starts.size, np.bool_)
    those = np.flatnonzero(text.at(starts - 1) == _COLON)
    if those.size and "://" in text.plain:
        before = text.marks(~_USER).last(starts[those] - 1)
        result[those] = (text.at(before) == _SLASH) & (text.at(before - 1) == _SLASH) & (text.at(before - 2) == _COLON)
    return result


def _is_service(text: Text, ats: Ints, starts: Ints) -> Bools:
    """Return which names are those of a version control."""
    result = np.zeros(ats.size, np.bool_)
    short = np.flatnonzero(ats - starts < 4)
    if short.size:
        result[short] = is_among(packed(text, starts[short], ats[short]), _SERVICES)
    return result


def _is_operand(text: Text, ats: Ints) -> Bools:
    """Return which signs are the product of a matrix and an attribute of the object itself."""
    result: Bools = packed(text, ats + 1, ats + 6) == packed_word("self.")
    return result


def _is_version(text: Text, ats: Ints) -> Bools:
    """Return which domains begin with two numbers and points: a version of a package."""
    result = np.zeros(ats.size, np.bool_)
    those = np.flatnonzero(DIGITS[text.at(ats + 1)])
    if those.size:
        others = text.marks(~DIGITS)
        first = others.next(ats[those] + 1)
        second = others.next(first + 1)
        result[those] = (text.at(first) == _DOT) & (text.at(second) == _DOT) & (second - first > 1)
    return result


def _is_file(text: Text, last: Ints, ends: Ints) -> Bools:
    """Return which domains end as the name of a file does."""
    result = np.zeros(ends.size, np.bool_)
    short = np.flatnonzero((last > 0) & (ends - last <= LONGEST_FILE))
    if short.size:
        result[short] = is_among(packed(text, last[short], ends[short]), _PACKED_FILES)
    return result


def _is_called(text: Text, ends: Ints, after: Bytes) -> Bools:
    """Return which domains a call, an assignment or a path follows."""
    result: Bools = after == _OPEN
    second = text.at(ends + 1)
    result |= (after == _EQUALS) & (second != _EQUALS) & ~_IS_BLANK[second] & (ends + 1 < text.codes.size)
    dots = np.flatnonzero((after == _DOT) & _CALL[second])
    if dots.size:
        result[dots] = text.at(text.marks(~_CALL).next(ends[dots] + 1)) == _OPEN
    paths = np.flatnonzero(
        ((after == _COLON) | (after == _SLASH)) & (_PATH[second] | (second == _SLASH) | (second == ord("~")))
    )
    if paths.size:
        stop = text.marks(~_PATH).next(ends[paths] + 1)
        remote = np.flatnonzero(_at_word(text, b".git"))
        nearest = np.append(remote, text.codes.size)[np.searchsorted(remote, ends[paths] + 2)]
        of_path = (
            (second[paths] == _SLASH)
            | (second[paths] == ord("~"))
            | ((text.at(stop) == _SLASH) & (stop > ends[paths] + 1))
        )
        result[paths] = np.where(after[paths] == _COLON, of_path, nearest < stop)
    return result


def _at_word(text: Text, word: bytes) -> Bools:
    """Return where a word of ASCII stands."""
    codes, n = text.codes, text.codes.size - len(word) + 1
    result = np.zeros(codes.size, np.bool_)
    if n > 0 and word.decode() in text.plain:
        result[:n] = True
        for i, byte in enumerate(word):
            result[:n] &= codes[i : i + n] == byte
    return result
