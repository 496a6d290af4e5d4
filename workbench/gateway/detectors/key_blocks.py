"""Private keys as blocks of text: from BEGIN to END with all between, or with what follows BEGIN of a key whose end is missing."""

import re
from collections.abc import Iterator

from workbench.gateway.detectors.finding import Finding

LONGEST_KEY = 65_536
BEGIN = re.compile(r"-{4,5} ?BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_END = re.compile(r"-{4,5} ?END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_GAP = r"(?:[\s>\"'+,|#*\\]|\\[nr])"
_BODY = re.compile(
    rf"(?:{_GAP}{{0,40}}+(?:(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset):[^\n\\]{{0,120}}+|[A-Za-z0-9+/=]{{24,}}+))*+(?:{_GAP}{{1,8}}+[A-Za-z0-9+/]{{1,23}}=?=?(?![\w ]))?"
)


def key_blocks(text: str, first: int) -> Iterator[Finding]:
    """Yield the private keys that begin at a place or after it."""
    at = text.find("BEGIN ", first)
    while at >= 0:
        m = BEGIN.search(text, max(first, at - 6), at + 60)
        if m is None or m.start() > at:
            at = text.find("BEGIN ", at + 6)
            continue
        end = _end(text, m)
        yield Finding(kind="PRIVATE KEY", start=m.start(), end=end)
        at = text.find("BEGIN ", end)


def _end(text: str, begin: re.Match[str]) -> int:
    """Return the end of a key block."""
    limit = min(len(text), begin.start() + LONGEST_KEY)
    following = BEGIN.search(text, begin.end(), limit) if text.find("BEGIN ", begin.end(), limit) >= 0 else None
    stop = following.start() if following else limit
    at = text.find("END ", begin.end(), stop)
    while at >= 0:
        m = _END.search(text, max(begin.end(), at - 6), min(stop, at + 60))
        if m and m.start() <= at:
            return m.end()
        at = text.find("END ", at + 4, stop)
    body = _BODY.match(text, begin.end(), stop)
    return body.end() if body else begin.end()


def is_whole(text: str, begin: re.Match[str]) -> bool:
    """Return whether the end of a key block, or the beginning of the next one, stands in the text."""
    return _END.search(text, begin.end()) is not None or BEGIN.search(text, begin.end()) is not None
