"""E-mail addresses: unquoted and quoted names before an @ and a domain name, also in letters beyond ASCII, and not code, packages or git remotes."""

import re
from collections.abc import Iterator

import numpy as np

from workbench.gateway.detectors.finding import Finding
from workbench.gateway.detectors.groups import Ints, Text

_LETTER = r"a-zA-Z\u00c0-\u024f\u0370-\u052f\u0530-\u058f\u05d0-\u05ea\u0620-\u064a\u0900-\u097f"
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3"
LONGEST_NAME = 64
_LABEL = rf"[{_LETTER}0-9](?:[{_LETTER}0-9\-_]{{0,61}}[{_LETTER}0-9])?"
DOMAIN = re.compile(
    rf"@(?:(?:{_LABEL}|[{_CJK}]{{1,20}})\.){{1,6}}(?:xn--[A-Za-z0-9\-]{{2,59}}|[{_LETTER}]{{2,24}})(?![{_LETTER}0-9])"
    rf"|@\[(?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}\]"
)
NAME = re.compile(rf"[{_LETTER}0-9_](?:[{_LETTER}0-9._%+\-'&!#$*~^]{{0,62}}[{_LETTER}0-9_+\-%~'!*$])?\Z")
QUOTED = re.compile(r'"[^"@\s]{1,62}"\Z')
_NOT_A_DOMAIN = re.compile(
    r"@(?:[0-9]+\.[0-9]+\.|[^\s]*\.(?:png|jpe?g|gif|svg|webp|ico|js|mjs|ts|tsx|jsx|css|scss|json|html?|txt|pdf|yml|yaml|toml|lock|csv|exe|dll|tgz)\Z)",
    re.IGNORECASE,
)
_CALLED = re.compile(r"\(|=[^=\s]|\.[A-Za-z_]+\(|:(?:[~/]|[\w.\-]+/)|/[\w.\-]+\.git")
_SERVICES = {"git", "hg", "svn"}


def emails(text: Text, first: int) -> Iterator[Finding]:
    """Yield the addresses that begin at a place or after it."""
    for at in _signs(text).tolist():
        m = DOMAIN.match(text.plain, at) if at >= first else None
        if m is not None:
            start = _name_start(text.plain, at, first)
            if start is not None and not _is_code(text.plain, start, m):
                yield Finding(kind="EMAIL", start=start, end=m.end())


def _signs(text: Text) -> Ints:
    """Return every @ that the label of a domain, a dot and one more character of a label follow, or a bracket."""
    c = text.codes
    ats = np.flatnonzero(c == ord("@"))
    ats = ats[ats < c.size - 3]
    if not ats.size:
        return ats
    label = text.is_word | (c == 45) | (c > 0xBF)
    place = np.arange(c.size)
    following = np.minimum.accumulate(np.where(label, c.size, place)[::-1])[::-1]
    after = np.minimum(following[ats + 1], c.size - 2)
    good: Ints = ats[(label[ats + 1] & (c[after] == 46) & label[after + 1]) | (c[ats + 1] == ord("["))]
    return good


def _name_start(text: str, at: int, first: int) -> int | None:
    """Return the beginning of the name before an @."""
    before = text[max(first, at - LONGEST_NAME) : at]
    quoted = QUOTED.search(before) if before.endswith('"') else None
    if quoted is not None:
        return at - len(before) + quoted.start()
    m = NAME.search(before)
    return None if m is None else at - len(before) + m.start()


def _is_code(text: str, start: int, domain: re.Match[str]) -> bool:
    """Return whether an address is part of code: a call, a version of a package, a file, or the account of a version control."""
    name = text[start : domain.start()]
    return name.lower() in _SERVICES or bool(_NOT_A_DOMAIN.match(domain[0])) or bool(_CALLED.match(text, domain.end()))
