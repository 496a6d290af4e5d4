"""E-mail addresses: unquoted and quoted names before an @ and a domain name, also in letters beyond ASCII, and not code, packages or git remotes."""

import re

import numpy as np

from workbench.gateway.detectors.finding import Ints, Spans, spans
from workbench.gateway.detectors.groups import WORD, Bools, Text, table
from workbench.gateway.detectors.normal import Codes

_LETTER = r"a-zA-Z\u00c0-\u024f\u0370-\u052f\u0530-\u058f\u05d0-\u05ea\u0620-\u064a\u0900-\u097f"
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3"
LONGEST_NAME = 64
_LABEL = rf"[{_LETTER}0-9](?:[{_LETTER}0-9\-_]{{0,61}}[{_LETTER}0-9])?"
DOMAIN = re.compile(
    rf"@(?:(?:{_LABEL}|[{_CJK}]{{1,20}})\.){{1,6}}(?:xn--[A-Za-z0-9\-]{{2,59}}|[{_LETTER}]{{2,24}}|[{_CJK}]{{2,6}})(?![{_LETTER}0-9])"
    rf"|@\[(?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}\]"
)
_BEGINS, _INSIDE, _ENDS = (
    np.array([re.match(f"[{_LETTER}0-9{more}]", chr(code)) is not None for code in range(0x1000)])
    for more in ("_", r"._%+\-'&!#$*~^", r"_+\-%~'!*$#")
)
"""Characters of a name: the first, any, and the last one."""
QUOTED = re.compile(r'"[^"@\s]{1,62}"\Z')
_VERSION = re.compile(r"@[0-9]+\.[0-9]+\.")
_FILES = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "ico",
        "js",
        "mjs",
        "ts",
        "tsx",
        "jsx",
        "css",
        "scss",
        "json",
        "htm",
        "html",
        "txt",
        "pdf",
        "yml",
        "yaml",
        "toml",
        "lock",
        "csv",
        "exe",
        "dll",
        "tgz",
    ]
)
_CALLED = re.compile(r"\(|=[^=\s]|\.[A-Za-z_]+\(|:(?:[~/]|[\w.\-]+/)|/[\w.\-]+\.git")
_MARKS = tuple("(=.:/")
_SERVICES = {"git", "hg", "svn"}
_LABEL_BYTES = WORD | table("-") | (np.arange(256) > 0xBF)
_TAIL = _LABEL_BYTES | table(".")


def emails(text: Text) -> Spans:
    """Return the addresses of a text."""
    plain = text.plain
    found = []
    ats = _signs(text)
    for at, first in zip(ats.tolist(), _first_of_names(text, ats).tolist(), strict=True):
        start = _quoted(plain, at) if first < 0 else first
        if start is not None and (m := DOMAIN.match(plain, at)) and not _is_code(plain, start, m):
            found.append((start, m.end()))
    return spans(found)


def _signs(text: Text) -> Ints:
    """Return every @ that the label of a domain, a dot and one more character of a label follow, or a bracket."""
    ats = np.flatnonzero(text.codes == ord("@"))
    after = text.at(ats + 1)
    if not ats.size:
        return ats
    others = text.marked(~_LABEL_BYTES)
    ends = np.append(others, text.codes.size)[np.searchsorted(others, ats + 1)]
    named = (
        _LABEL_BYTES[after] & (text.at(ends) == ord(".")) & _LABEL_BYTES[text.at(ends + 1)] & _TAIL[text.at(ends + 2)]
    )
    numbered = (after == ord("[")) & ("]" in text.plain)
    good: Ints = ats[named | numbered]
    return good


def _first_of_names(text: Text, ats: Ints) -> Ints:
    """Return where the names before the signs begin; -1 where a name ends in what none ends in."""
    inside, begin, end = _classes(text.wide, _INSIDE), _classes(text.wide, _BEGINS), _classes(text.wide, _ENDS)
    if not ats.size:
        return ats
    last = ats - 1
    outside = np.concatenate(([-1], np.flatnonzero(~inside)))
    first = np.maximum(outside[np.searchsorted(outside, last, "right") - 1] + 1, ats - LONGEST_NAME)
    beginnings = np.append(np.flatnonzero(begin), text.codes.size)
    first = beginnings[np.searchsorted(beginnings, first)]
    return np.where((last >= 0) & (first <= last) & end[np.maximum(last, 0)], first, -1)


def _classes(codes: Codes, which: Bools) -> Bools:
    """Return which characters belong to a class of the first codes; none behind them does."""
    return which[codes if codes.dtype == np.uint8 else np.minimum(codes, which.size - 1)]


def _quoted(text: str, at: int) -> int | None:
    """Return the beginning of a name in quotation marks before an @."""
    before = text[max(0, at - LONGEST_NAME) : at]
    quoted = QUOTED.search(before) if before.endswith('"') else None
    return None if quoted is None else at - len(before) + quoted.start()


def _is_code(text: str, start: int, domain: re.Match[str]) -> bool:
    """Return whether an address is part of code: a call, a version of a package, a file, or the account of a version control."""
    at, end = domain.span()
    if at - start < 4 and text[start:at].lower() in _SERVICES:
        return True
    if text[at + 1] in "0123456789" and _VERSION.match(text, at):
        return True
    if text[text.rfind(".", at, end) + 1 : end].lower() in _FILES:
        return True
    return text[domain.end() : domain.end() + 1] in _MARKS and _CALLED.match(text, domain.end()) is not None
