"""National identity numbers with check digits, judged by python-stdnum; those without letters and groups of their own need a word that names them."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module

import numpy as np

from workbench.gateway.detectors.edges import begins, ends
from workbench.gateway.detectors.finding import Ints, Spans, joined, kept, spans
from workbench.gateway.detectors.groups import LETTERS, WORD, Bools, Bytes, Groups, luhn_sums, table, weighted
from workbench.gateway.detectors.words import ID_WORDS, TAX_WORDS, Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A national number, the forms in which it is written, and who judges it."""

    module: str
    """Module of python-stdnum; "cn" and "us": the workbench judges it, the latter by its digits alone."""
    shapes: tuple[tuple[int, ...], ...]
    """Lengths of its groups of digits."""
    before: str = ""
    """Letters of which one stands before its digits."""
    after: str = ""
    """Letters of which one stands after its digits."""
    words: Words | None = None
    """Words of which one must stand before it."""


def is_chinese_id(text: str) -> bool:
    """Return whether a text is a Chinese identity number (GB 11643-1999): region, date of birth, check digit by ISO 7064 MOD 11-2."""
    body, check = text[:17], text[17].upper()
    month, day, year = int(body[10:12]), int(body[12:14]), int(body[6:10])
    if not (1900 <= year <= 2099 and 1 <= month <= 12 and 1 <= day <= 31 and body[0] in "12345678"):
        return False
    total = sum(int(digit) * (2 ** (17 - i) % 11) for i, digit in enumerate(body))
    return "10X98765432"[total % 11] == check


_X = "Xx"
_ANY = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
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
    Identity(module="us", shapes=((9,),), words=TAX_WORDS),
    Identity(module="fr.nir", shapes=((15,), (13, 2), (1, 2, 2, 2, 3, 3, 2))),
    Identity(module="es.dni", shapes=((8,), (2, 3, 3)), after=_ANY),
    Identity(module="es.nie", shapes=((7,),), before="XYZxyz", after=_ANY),
    Identity(module="de.idnr", shapes=((11,), (2, 3, 3, 3)), words=ID_WORDS),
    Identity(module="nl.bsn", shapes=((9,), (4, 2, 3), (3, 3, 3)), words=ID_WORDS),
    Identity(module="br.cpf", shapes=((3, 3, 3, 2),)),
    Identity(module="in_.aadhaar", shapes=((4, 4, 4),)),
    Identity(module="in_.aadhaar", shapes=((12,),), words=ID_WORDS),
    Identity(module="pl.pesel", shapes=((11,),), words=ID_WORDS),
    Identity(module="se.personnummer", shapes=((6, 4), (8, 4))),
    Identity(module="kr.rrn", shapes=((6, 7),)),
    Identity(module="gb.nhs", shapes=((3, 3, 4), (10,)), words=ID_WORDS),
)
"""National numbers that are claimed, beside the Italian codice fiscale and the British national insurance number, which are mostly letters."""
CODICE = re.compile(r"(?<![0-9A-Za-z_])[A-Za-z]{6} ?[0-9]{2}[A-Za-z][0-9]{2} ?[A-Za-z][0-9]{3}[A-Za-z](?![0-9A-Za-z_])")
NINO = re.compile(
    r"(?<![0-9A-Za-z_])[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D](?![0-9A-Za-z_])"
)


_BLANK_OR_HYPHEN = table(" -")


def _verhoeff() -> tuple[Bytes, Bytes]:
    """Return the multiplication table and the permutations of Verhoeff's check digit."""
    turn = [[(i + j) % 5 if j < 5 else (i + j - 5) % 5 + 5 for j in range(10)] for i in range(5)]
    flip = [[(i - 5 - j) % 5 + 5 if j < 5 else (i - j) % 5 for j in range(10)] for i in range(5, 10)]
    step = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    powers = [list(range(10))]
    for _ in range(7):
        powers.append([step[d] for d in powers[-1]])
    return np.array(turn + flip, np.uint8), np.array(powers, np.uint8)


def _aadhaar(digits: Bytes) -> Bools:
    product, power = _verhoeff()
    check = np.zeros(len(digits), np.uint8)
    for i in range(12):
        check = product[check, power[i % 8][digits[:, 11 - i]]]
    valid: Bools = (digits[:, 0] > 1) & (check == 0)
    return valid


def _chinese(digits: Bytes) -> Bools:
    century = digits[:, 6] * 10 + digits[:, 7]
    check = weighted(digits, (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)) % 11
    last = np.array([1, 0, 10, 9, 8, 7, 6, 5, 4, 3, 2])[check]
    of_digits = last == (digits[:, 17] if digits.shape[1] > 17 else 10)
    valid: Bools = ((century == 19) | (century == 20)) & of_digits
    return valid


def _cpf(digits: Bytes) -> Bools:
    first = weighted(digits, (10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    second = weighted(digits, (11, 10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    valid: Bools = (first == digits[:, 9]) & (second == digits[:, 10])
    return valid


def _nir(digits: Bytes) -> Bools:
    number = digits.astype(np.int64) @ 10 ** np.arange(14, -1, -1)
    valid: Bools = 97 - number // 100 % 97 == number % 100
    return valid


CHECKS: dict[str, Callable[[Bytes], Bools]] = {
    "cn": _chinese,
    "us": lambda d: (
        d[:, :3].any(1)
        & (d[:, :3] != 6).any(1)
        & (d[:, 0] < 9)
        & d[:, 3:5].any(1)
        & d[:, 5:9].any(1)
        & (d != d[:, :1]).any(1)
    ),
    "fr.nir": _nir,
    "br.cpf": _cpf,
    "in_.aadhaar": _aadhaar,
    "nl.bsn": lambda d: weighted(d, (9, 8, 7, 6, 5, 4, 3, 2, 10)) % 11 == 0,
    "pl.pesel": lambda d: weighted(d, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0,
    "se.personnummer": lambda d: luhn_sums(d[:, -10:]) % 10 == 0,
    "kr.rrn": lambda d: (11 - weighted(d, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10 == d[:, 12],
    "gb.nhs": lambda d: weighted(d, (10, 9, 8, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0,
}
"""What python-stdnum asks of the digits, for many numbers at once: those that fail are not given to it."""


LETTERS_BY_REST = {"es.dni": 8, "es.nie": 7}
"""Spanish numbers, whose last letter is a check, and their digits."""
_SPANISH = np.frombuffer(b"TRWAGMYFPDXBNJZSQVHLCKE", np.uint8)


@cache
def _judge(module: str) -> Callable[[str], bool]:
    return is_chinese_id if module == "cn" else import_module(f"stdnum.{module}").is_valid


@lru_cache(maxsize=4096)
def _holds(module: str, number: str) -> bool:
    return len(set(number)) > 2 and _judge(module)(number)


def identities(groups: Groups) -> Spans:
    """Return the identity numbers of a text."""
    parts = [spans(_lettered(groups))]
    for identity in IDENTITIES:
        for shape in identity.shapes:
            first = groups.of_shape(shape)
            if first.size:
                parts.append(_of(groups, identity, first, shape))
    return joined(parts)


def _of(groups: Groups, identity: Identity, first: Ints, shape: tuple[int, ...]) -> Spans:
    """Return the identity numbers among groups of one shape: those of most countries have no group around them."""
    text = groups.text
    if identity.module not in {"us", "cn"}:
        first = first[~groups.follows[first] & ~groups.is_next[first + len(shape) - 1]]
    check = CHECKS.get(identity.module)
    if check is not None:
        first = first[check(groups.digits(first, sum(shape)))]
    starts, stops = groups.starts[first], groups.ends[first + len(shape) - 1]
    ok = np.ones(first.size, np.bool_)
    if identity.after:
        stops = stops + _BLANK_OR_HYPHEN[text.at(stops)] + 1
        ok &= table(identity.after)[text.at(stops - 1)]
    if identity.before:
        starts = starts - _BLANK_OR_HYPHEN[text.at(starts - 1)] - 1
        ok &= table(identity.before)[text.at(starts)]
    if identity.module in LETTERS_BY_REST:
        ok &= _has_letter(groups, identity.module, first, starts, stops)
    ok &= begins(text, starts) & ends(text, stops)
    starts, stops = starts[ok], stops[ok]
    if identity.words is not None:
        starts, stops = kept((starts, stops), identity.words.stands_before(text, starts))
    if identity.module == "us":
        return starts, stops
    return kept((starts, stops), _judged(identity.module, text.plain, starts, stops))


def _has_letter(groups: Groups, module: str, first: Ints, starts: Ints, stops: Ints) -> Bools:
    """Return which Spanish numbers end in the letter that the remainder of their digits by 23 asks for."""
    text, n = groups.text, LETTERS_BY_REST[module]
    rest = groups.digits(first, n) @ 10 ** np.arange(n - 1, -1, -1)
    if n == 7:
        rest = rest + (text.at(starts) & 0xDF).astype(np.int64) % ord("X") * 10**7
    result: Bools = _SPANISH[rest % 23] == text.at(stops - 1) & 0xDF
    return result


def _judged(module: str, text: str, starts: Ints, stops: Ints) -> Bools:
    """Return which numbers are valid; equal ones are judged once."""
    written = [text[a:b] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
    valid = {w: _holds(module, re.sub("[^0-9A-Za-z]", "", w)) for w in set(written)}
    return np.array([valid[w] for w in written], np.bool_)


def _lettered(groups: Groups) -> Iterator[tuple[int, int]]:
    """Yield the identity numbers of letters and digits, looked for around the groups of digits that they hold."""
    text = groups.text
    places = groups.starts[(groups.lengths == 2) & (groups.starts >= 6)]
    places = places[~WORD[text.at(places - 7)] | ~WORD[text.at(places - 8)]]
    for back in (2, 3, 4, 5, 6):
        places = places[LETTERS[text.at(places - back)] | (back == 6)]
    for place in places[LETTERS[text.at(places + 2)]].tolist():
        for back in (6, 7):
            m = CODICE.match(text.plain, place - back) if place >= back else None
            if m and _holds("it.codicefiscale", m[0].replace(" ", "")):
                yield m.start(), m.end()
    first = groups.starts[np.concatenate((groups.of_shape((2, 2, 2)), groups.of_shape((6,))))]
    for back in (2, 3):
        at = first[first >= back] - back
        at = at[~WORD[text.at(at - 1)]]
        for place in at[LETTERS[text.at(at)] & LETTERS[text.at(at + 1)]].tolist():
            if m := NINO.match(text.plain, place):
                yield m.start(), m.end()
