"""Private keys as blocks of text: from BEGIN to END with all between, or with what follows BEGIN of a key whose end is missing; and files of PuTTY."""

import re
from collections.abc import Callable

import numpy as np

from workbench.gateway.detectors.finding import Ints, Spans, joined, kept
from workbench.gateway.detectors.groups import CAPITALS, DIGITS, Bools, Bytes, Text, table

LONGEST_KEY = 65_536
SHORTEST_BODY = 8
LONGEST_NAME = 30
_OF_NAME = CAPITALS | DIGITS | table(" ")
_HEX = table("0123456789abcdef")
_BLANK, _HYPHEN = ord(" "), ord("-")
_NAME = r"[A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
_PUTTY, _MAC = "PuTTY-User-Key-File-", "Private-MAC: "
_FEWEST_OF_MAC, _MOST_OF_MAC = 40, 64
WORDS = ("BEGIN ", _PUTTY)
"""Words of which a text with a private key holds one."""
BEGIN = re.compile(rf"-{{4,5}} ?BEGIN {_NAME}|{_PUTTY}[0-9]:")
_END = re.compile(rf"END (?<=----END |--- END ){_NAME}|{_MAC}[0-9a-f]{{{_FEWEST_OF_MAC}}}")
_FIELDS = (
    "Proc-Type|DEK-Info|Version|Comment|Hash|Charset|Subject|Encryption|Public-Lines|Private-Lines|Private-MAC|Private-Hash|Key-Derivation|"
    "Argon2-Memory|Argon2-Passes|Argon2-Parallelism|Argon2-Salt"
)
_FIELD = rf"(?:{_FIELDS}): ?[^\n\\]{{0,120}}|(?:ssh|ecdsa)-[a-z0-9\-]{{2,40}}"
_BETWEEN = r"(?:[\s>\"'+,|#*\\/-]|(?<=\\)[nrt])"
_BODY = re.compile(rf"(?:{_BETWEEN}*+(?:{_FIELD}|[A-Za-z0-9+/=]{{16,4096}}))*+")
_BEHIND_BODY = re.compile(rf"{_BETWEEN}{{1,40}}")
_LAST = re.compile(
    r"=[A-Za-z0-9+/]{4}(?!\w)|[A-Za-z0-9+/]{1,23}=?=?(?:(?![\w ])|(?<=[0-9=])|(?<=[A-Z]{2})|(?<=[a-z][A-Z]))"
)
_GAP = " \t\r\n>\"'+,|#*\\/-"


def key_blocks(text: Text) -> Spans:
    """Return the private keys of a text."""
    begins, _, afters = _lines(text, b"BEGIN ")
    if _PUTTY in text.plain:
        begins, afters = _sorted(joined([(begins, afters), _puttys(text)]))
    if not begins.size:
        return begins, afters
    _, end_starts, end_afters = _lines(text, b"END ")
    if _MAC in text.plain:
        end_starts, end_afters = _sorted(joined([(end_starts, end_afters), _macs(text)]))
    limits = np.minimum(np.append(begins[1:], text.codes.size), begins + LONGEST_KEY)
    index = np.searchsorted(end_starts, afters)
    ends = np.append(end_afters, text.codes.size + 1)[index]
    ends = np.where((ends > limits) & (limits - afters < SHORTEST_BODY), limits, ends)
    open_ones = np.flatnonzero(ends > limits)
    ends[open_ones] = [
        _end_of_body(text.plain, after, limit)
        for after, limit in zip(afters[open_ones].tolist(), limits[open_ones].tolist(), strict=True)
    ]
    return begins, ends


def _sorted(places: Spans) -> Spans:
    order = np.argsort(places[0], kind="stable")
    return places[0][order], places[1][order]


def _puttys(text: Text) -> Spans:
    """Return the first words of the files of PuTTY."""
    begins = _places(text, _PUTTY.encode())
    after = begins + len(_PUTTY)
    good = DIGITS[text.at(after)] & (text.at(after + 1) == ord(":"))
    return begins[good], after[good] + 2


def _macs(text: Text) -> Spans:
    """Return the last lines of the files of PuTTY."""
    starts = _places(text, _MAC.encode())
    first = starts + len(_MAC)
    stop = np.minimum(text.marks(~_HEX).next(first), first + _MOST_OF_MAC)
    return kept((starts, stop), stop - first >= _FEWEST_OF_MAC)


def _lines(text: Text, word: bytes) -> tuple[Ints, Ints, Ints]:
    """Return where the lines that begin or end a key begin, where their word stands, and where they end."""
    at = text.at
    names = _places(text, b"PRIVATE KEY")
    first = text.marks(~_OF_NAME).last(names) + 1
    first = first + (at(first) == _BLANK)
    good = (names - first - len(word) >= 0) & (names - first - len(word) <= LONGEST_NAME)
    for i, letter in enumerate(word):
        good &= at(first + i) == letter
    names, first = names[good], first[good]
    hyphens = first - (at(first - 1) == _BLANK)
    dashes = sum((_run(at, hyphens - 1, i, step=-1) for i in range(5)), np.zeros(first.size, np.int64))
    after = names + len(b"PRIVATE KEY")
    block = np.ones(after.size, np.bool_)
    for i, letter in enumerate(b" BLOCK"):
        block &= at(after + i) == letter
    after = after + 6 * block
    after = after + (at(after) == _BLANK)
    closing = sum((_run(at, after, i, step=1) for i in range(5)), np.zeros(first.size, np.int64))
    good = (dashes > 3) & (closing > 3)
    return (hyphens - dashes)[good], first[good], (after + closing)[good]


def _run(at: Callable[[Ints], Bytes], places: Ints, n: int, *, step: int) -> Bools:
    """Return before or behind which places more than n hyphens stand in a row."""
    result = np.ones(places.size, np.bool_)
    for i in range(n + 1):
        result &= at(places + step * i) == _HYPHEN
    return result


def _places(text: Text, word: bytes) -> Ints:
    found = np.flatnonzero(text.codes[: max(0, text.codes.size - len(word) + 1)] == word[0])
    for i in range(1, len(word)):
        found = found[text.codes[found + i] == word[i]]
    return found


def _end_of_body(text: str, at: int, limit: int) -> int:
    """Return where the body of a key without an end stops."""
    body = _BODY.match(text, at, limit)
    end = at = body.end() if body else at
    while at < limit and (m := _BEHIND_BODY.match(text, at, limit)):
        at = m.end()
        if text[at - 1] not in _GAP or text[m.start()].isalnum():
            end = at
    last = _LAST.match(text, at, limit)
    return last.end() if last else end


def is_whole(text: str, begin: re.Match[str]) -> bool:
    """Return whether the end of a key block, or the beginning of the next one, stands in the text."""
    return _END.search(text, begin.end()) is not None or BEGIN.search(text, begin.end()) is not None
