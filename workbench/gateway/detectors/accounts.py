"""International bank account numbers: the structure of each country in python-stdnum's copy of the IBAN registry, and the check digits of ISO 13616."""

import re
from collections.abc import Iterator
from functools import cache

import numpy as np

from workbench.gateway.detectors.finding import Finding
from workbench.gateway.detectors.groups import Groups

_CLASSES = {"n": "[0-9]", "a": "[A-Za-z]", "c": "[0-9A-Za-z]"}
_GAP = r"[ \-.]{0,2}"


def is_iban(text: str) -> bool:
    """Return whether a text is an IBAN (ISO 13616): its letters and digits as a number leave 1 when divided by 97."""
    plain = re.sub(r"[^0-9A-Za-z]", "", text).upper()
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    """Return the pattern of each country of the registry, with blanks or hyphens at any place."""
    from stdnum import numdb

    result = {}
    for _, country, _, about, _ in numdb.get("iban").prefixes:
        parts = [_CLASSES[kind] + f"{{{n}}}" for n, kind in re.findall("([0-9]+)!([nac])", about["bban"])]
        body = "".join(f"(?:{_GAP}{part.partition('{')[0]})" + "{" + part.partition("{")[2] for part in parts)
        result[country] = re.compile(rf"[A-Za-z]{{2}}{_GAP}[0-9]{_GAP}[0-9]{body}(?![0-9A-Za-z])")
    return result


def accounts(groups: Groups, first: int) -> Iterator[Finding]:
    """Yield the account numbers that begin at a place or after it."""
    c = groups.codes
    if c.size < 15:
        return
    letter = ((c | 32) - 97) < 26
    places = groups.starts[(groups.starts >= 2)]
    places = places[letter[places - 1] & letter[places - 2]]
    word = letter | groups.is_digit
    at = places[places >= 3]
    glued = np.zeros(places.size, np.bool_)
    glued[places >= 3] = word[at - 3]
    for place in (places[~glued] - 2).tolist():
        if place < first:
            continue
        pattern = _patterns().get(groups.text[place : place + 2].upper())
        m = pattern.match(groups.text, place) if pattern else None
        if m and is_iban(m[0]):
            yield Finding(kind="IBAN", start=place, end=m.end())
