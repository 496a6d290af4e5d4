"""Private keys as blocks of text: from BEGIN to END with all between, or with what follows BEGIN of a key whose end is missing."""

import re
from bisect import bisect_left

from workbench.gateway.detectors.finding import Spans, spans

LONGEST_KEY = 65_536
SHORTEST_BODY = 8
_NAME = r"[A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
BEGIN = re.compile(rf"-{{4,5}} ?BEGIN {_NAME}")
_BEGIN = re.compile(rf"BEGIN (?<=----BEGIN |--- BEGIN ){_NAME}")
_END = re.compile(rf"END (?<=----END |--- END ){_NAME}")
_FIELD = r"(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset|Subject): ?[^\n\\]{0,120}"
_GO_ON = re.compile(rf"(?:[\s>\"'+,|#*\\/-]|(?<=\\)[nrt]){{1,40}}|{_FIELD}|[A-Za-z0-9+/=]{{16,4096}}")
_LAST = re.compile(
    r"=[A-Za-z0-9+/]{4}(?!\w)|[A-Za-z0-9+/]{1,23}=?=?(?:(?![\w ])|(?<=[0-9=])|(?<=[A-Z]{2})|(?<=[a-z][A-Z]))"
)
_GAP = " \t\r\n>\"'+,|#*\\/-"


def key_blocks(text: str) -> Spans:
    """Return the private keys of a text."""
    begins = [(m.start() - _dashes_before(text, m.start()), m.end()) for m in _BEGIN.finditer(text)]
    if not begins:
        return spans(())
    all_ends = [(m.start(), m.end()) for m in _END.finditer(text)]
    end_starts = [start for start, _ in all_ends]
    found: list[tuple[int, int]] = []
    for i, (start, after) in enumerate(begins):
        limit = min(begins[i + 1][0] if i + 1 < len(begins) else len(text), start + LONGEST_KEY)
        j = bisect_left(end_starts, after)
        whole = j < len(all_ends) and all_ends[j][1] <= limit
        found.append((start, all_ends[j][1] if whole else _end_of_body(text, after, limit)))
    return spans(found)


def _dashes_before(text: str, place: int) -> int:
    """Return how many characters before BEGIN belong to it: four or five hyphens, and a blank."""
    blank = text[place - 1] == " "
    return 4 + blank + (text[max(0, place - 5 - blank) : place - 4 - blank] == "-")


def _end_of_body(text: str, at: int, limit: int) -> int:
    """Return where the body of a key without an end stops."""
    if limit - at < SHORTEST_BODY:
        return limit
    end = at
    while at < limit and (m := _GO_ON.match(text, at, limit)):
        at = m.end()
        if text[m.end() - 1] not in _GAP or text[m.start()].isalnum():
            end = at
    last = _LAST.match(text, at, limit)
    return last.end() if last else end


def is_whole(text: str, begin: re.Match[str]) -> bool:
    """Return whether the end of a key block, or the beginning of the next one, stands in the text."""
    return _END.search(text, begin.end()) is not None or BEGIN.search(text, begin.end()) is not None
