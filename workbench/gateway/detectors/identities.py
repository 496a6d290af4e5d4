"""National identity numbers with check digits, judged by python-stdnum; those without letters and groups of their own need a word that names them."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module

import numpy as np

from workbench.gateway.detectors.cards import digits_of
from workbench.gateway.detectors.finding import Finding
from workbench.gateway.detectors.groups import Groups, Ints
from workbench.gateway.detectors.words import ID_WORDS, has_word_before

BEGINS = re.compile(r"(?<![0-9A-Za-z_])(?<![0-9][.\-/])(?<![A-Za-z]-)(?<![0-9]\.)")
ENDS = re.compile(r"(?![0-9A-Za-z_])(?![.\-/][0-9A-Za-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A national number, the forms in which it is written, and who judges it."""

    module: str
    """Module of python-stdnum; empty: the workbench judges it."""
    shapes: tuple[tuple[int, ...], ...]
    """Lengths of its groups of digits."""
    before: str = ""
    """Pattern of the letters before its digits."""
    after: str = ""
    """Pattern of what follows its digits."""
    needs_word: bool = False


def is_chinese_id(text: str) -> bool:
    """Return whether a text is a Chinese identity number (GB 11643-1999): region, date of birth, check digit by ISO 7064 MOD 11-2."""
    body, check = text[:17], text[17].upper()
    month, day, year = int(body[10:12]), int(body[12:14]), int(body[6:10])
    if not (1900 <= year <= 2099 and 1 <= month <= 12 and 1 <= day <= 31 and body[0] in "12345678"):
        return False
    total = sum(int(digit) * (2 ** (17 - i) % 11) for i, digit in enumerate(body))
    return "10X98765432"[total % 11] == check


def is_us_ssn(text: str) -> bool:
    """Return whether a text is a valid US social security number: no area 000, 666 or 9xx, no group 00, no serial 0000."""
    area, group, serial = text[:3], text[3:5], text[5:]
    return area not in {"000", "666"} and area[0] != "9" and group != "00" and serial != "0000"


_X = "[ -]?[Xx]"
IDENTITIES = (
    Identity(
        module="cn",
        shapes=(
            (18,),
            (6, 8, 4),
            (6, 4, 4, 4),
            (3, 3, 4, 4, 4),
            (6, 4, 2, 2, 4),
            (4, 4, 4, 6),
            (6, 12),
            (14, 4),
            (4, 4, 4, 4, 2),
            (3, 3, 8, 4),
            (6, 6, 6),
        ),
    ),
    Identity(
        module="cn",
        shapes=(
            (17,),
            (6, 8, 3),
            (6, 4, 4, 3),
            (3, 3, 4, 4, 3),
            (6, 4, 2, 2, 3),
            (4, 4, 4, 5),
            (6, 11),
            (14, 3),
            (4, 4, 4, 4, 1),
            (3, 3, 8, 3),
            (6, 6, 5),
        ),
        after=_X,
    ),
    Identity(module="us", shapes=((3, 2, 4),)),
    Identity(module="us", shapes=((9,),), needs_word=True),
    Identity(module="fr.nir", shapes=((15,), (13, 2), (1, 2, 2, 2, 3, 3, 2), (1, 2, 2, 2, 3, 3))),
    Identity(module="es.dni", shapes=((8,), (2, 3, 3)), after="[ -]?[A-Za-z]"),
    Identity(module="es.nie", shapes=((7,),), before="[XYZxyz][ -]?", after="[ -]?[A-Za-z]"),
    Identity(module="de.idnr", shapes=((11,), (2, 3, 3, 3)), needs_word=True),
    Identity(module="nl.bsn", shapes=((9,), (4, 2, 3), (3, 3, 3)), needs_word=True),
    Identity(module="br.cpf", shapes=((3, 3, 3, 2),)),
    Identity(module="in_.aadhaar", shapes=((4, 4, 4),)),
    Identity(module="in_.aadhaar", shapes=((12,),), needs_word=True),
    Identity(module="pl.pesel", shapes=((11,),), needs_word=True),
    Identity(module="se.personnummer", shapes=((6, 4), (8, 4))),
    Identity(module="kr.rrn", shapes=((6, 7),)),
    Identity(module="gb.nhs", shapes=((3, 3, 4), (10,)), needs_word=True),
)
"""National numbers that are claimed, beside the Italian codice fiscale and the British national insurance number, which are mostly letters."""
CODICE = re.compile(r"(?<![0-9A-Za-z_])[A-Za-z]{6} ?[0-9]{2}[A-Za-z][0-9]{2} ?[A-Za-z][0-9]{3}[A-Za-z](?![0-9A-Za-z_])")
NINO = re.compile(
    r"(?<![0-9A-Za-z_])[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D](?![0-9A-Za-z_])"
)


@lru_cache(maxsize=4096)
def _holds(module: str, number: str) -> bool:
    if module == "cn":
        return is_chinese_id(number)
    if module == "us":
        return is_us_ssn(number)
    judge: Callable[[str], bool] = import_module(f"stdnum.{module}").is_valid
    return len(set(number)) > 2 and judge(number)


def identities(groups: Groups, first: int) -> Iterator[Finding]:
    """Yield the identity numbers that begin at a place or after it."""
    yield from _lettered(groups, first)
    for identity in IDENTITIES:
        for shape in identity.shapes:
            for i in _proposed(groups, identity, shape).tolist():
                found = _whole(groups, identity, i, len(shape))
                if found is not None and found.start >= first:
                    yield found


def _proposed(groups: Groups, identity: Identity, shape: tuple[int, ...]) -> Ints:
    """Return the first groups of numbers of a shape: for Chinese ones with a year in its place, for most others with no group around them."""
    first = groups.of_shape(shape)
    if identity.module == "us" or not first.size:
        return first
    if identity.module == "cn":
        values, century = groups.digit_values, groups.digits_before[first] + 6
        dated: Ints = first[
            ((values[century] == 1) & (values[century + 1] == 9))
            | ((values[century] == 2) & (values[century + 1] == 0))
        ]
        return dated
    joined_before = np.concatenate(([False], groups.is_next[:-1]))
    alone: Ints = first[~joined_before[first] & ~groups.is_next[first + len(shape) - 1]]
    return alone


def _whole(groups: Groups, identity: Identity, i: int, n_groups: int) -> Finding | None:
    """Return the identity number of which these groups are the digits."""
    text, start, end = groups.text, int(groups.starts[i]), int(groups.ends[i + n_groups - 1])
    if identity.after:
        m = re.compile(identity.after).match(text, end)
        if m is None:
            return None
        end = m.end()
    if identity.before:
        front = text[max(0, start - 2) : start]
        m = re.search(identity.before + r"\Z", front)
        if m is None:
            return None
        start -= len(m[0])
    number = re.sub("[^0-9A-Za-z]", "", text[start:end])
    if identity.module == "fr.nir" and len(digits_of(number)) != 15:
        return None
    if not BEGINS.match(text, start) or not ENDS.match(text, end) or not _holds(identity.module, number):
        return None
    if identity.needs_word and not has_word_before(text, start, ID_WORDS):
        return None
    return Finding(kind="ID", start=start, end=end)


def _lettered(groups: Groups, first: int) -> Iterator[Finding]:
    """Yield the identity numbers of letters and digits, looked for around the groups of digits that they hold."""
    text = groups.text
    places = groups.starts[(groups.lengths == 2) & (groups.starts >= 7) & (groups.ends + 10 <= len(text))]
    is_letter = groups.is_letter
    for back in (2, 3, 4, 5, 6):
        places = places[is_letter[places - back]]
    for place in places[is_letter[places + 2]].tolist():
        for back in (6, 7):
            m = CODICE.match(text, place - back) if place - back >= first else None
            if m and _holds("it.codicefiscale", m[0].replace(" ", "")):
                yield Finding(kind="ID", start=m.start(), end=m.end())
    for i in np.concatenate((groups.of_shape((2, 2, 2)), groups.of_shape((6,)))).tolist():
        for back in (2, 3):
            place = int(groups.starts[i]) - back
            if place >= first and text[place + 1].isalpha() and (m := NINO.match(text, place)):
                yield Finding(kind="ID", start=m.start(), end=m.end())
