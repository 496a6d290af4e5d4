"""National identity numbers with check digits, judged by python-stdnum; those without letters and groups of their own need a word that names them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from workbench.gateway.detectors.edges import begins, ends
from workbench.gateway.detectors.finding import Ints, Spans, joined, kept
from workbench.gateway.detectors.groups import (
    CAPITALS,
    DIGITS,
    LETTERS,
    WORD,
    Bools,
    Bytes,
    Groups,
    luhn_sums,
    table,
    weighted,
)
from workbench.gateway.detectors.words import ID_WORDS, PAN_WORDS, TAX_WORDS, Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A national number, the forms in which it is written, and who judges it."""

    module: str
    """Module of python-stdnum; "cn", "us" and "kr.rrn since 2020": the workbench judges it, the last two by their digits alone."""
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
    Identity(module="us.itin", shapes=((3, 2, 4), (9,)), words=TAX_WORDS),
    Identity(module="fr.nir", shapes=((15,), (13, 2), (1, 2, 2, 2, 3, 3, 2))),
    Identity(module="es.dni", shapes=((8,), (2, 3, 3)), after=_ANY),
    Identity(module="es.nie", shapes=((7,),), before="XYZxyz", after=_ANY),
    Identity(module="de.idnr", shapes=((11,), (2, 3, 3, 3)), words=ID_WORDS),
    Identity(module="nl.bsn", shapes=((9,), (4, 2, 3), (3, 3, 3)), words=ID_WORDS),
    Identity(module="br.cpf", shapes=((3, 3, 3, 2),)),
    Identity(module="in_.aadhaar", shapes=((4, 4, 4),)),
    Identity(module="in_.aadhaar", shapes=((12,),), words=ID_WORDS),
    Identity(module="pl.pesel", shapes=((11,),), words=ID_WORDS),
    Identity(module="br.cpf", shapes=((11,), (9, 2)), words=ID_WORDS),
    Identity(module="se.personnummer", shapes=((6, 4), (8, 4))),
    Identity(module="se.personnummer", shapes=((10,), (12,)), words=ID_WORDS),
    Identity(module="kr.rrn", shapes=((6, 7),)),
    Identity(module="kr.rrn since 2020", shapes=((6, 7),), words=ID_WORDS),
    Identity(module="kr.rrn", shapes=((13,),), words=ID_WORDS),
    Identity(module="gb.nhs", shapes=((3, 3, 4), (10,)), words=ID_WORDS),
)
"""National numbers that are claimed, beside the Italian codice fiscale and the British national insurance number, which are mostly letters."""
_MONTHS = table("ABCDEHLMPRSTabcdehlmprst")
_ODD = np.array([1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23])
"""What letters and digits at odd places count in an Italian number (DM 12 March 1974)."""
_FIRST_OF_NINO, _SECOND_OF_NINO = table("ABCEGHJKLMNOPRSTWXYZ"), table("ABCEGHJKLMNPRSTWXYZ")
_LAST_OF_NINO = table("ABCD")
_HOLDERS = table("ABCFGHJLPT")
"""Fourth letters of Indian permanent account numbers: the kind of who holds it."""
_BLANK = ord(" ")
_BLANK_OR_HYPHEN = table(" -")


_ITIN_GROUPS = np.array([50 <= n <= 65 or 70 <= n <= 88 or 90 <= n <= 92 or n >= 94 for n in range(100)])
"""Fourth and fifth digits of taxpayer numbers, which begin with 9 (IRS)."""
_COUNTED = 1 << 4 * np.arange(10, dtype=np.int64)
_TWO_OR_THREE, _FOUR_OR_MORE = 2 * int(_COUNTED.sum()), 12 * int(_COUNTED.sum())
_MONTH_DAYS = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, *[0] * 87])


def _number(digits: Bytes) -> Ints:
    """Return the numbers of rows of digits."""
    result: Ints = digits @ 10 ** np.arange(digits.shape[1] - 1, -1, -1)
    return result


def _is_date(year: Ints, month: Ints, day: Ints) -> Bools:
    """Return which days there are."""
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    result: Bools = (day > 0) & (day <= _MONTH_DAYS[month] - ((month == 2) & ~leap))
    return result


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
    valid: Bools = (digits[:, 0] > 1) & (check == 0) & (digits != digits[:, ::-1]).any(1)
    return valid


def _chinese(digits: Bytes) -> Bools:
    century, month, day = (_number(digits[:, a : a + 2]) for a in (6, 10, 12))
    check = weighted(digits, (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)) % 11
    last = np.array([1, 0, 10, 9, 8, 7, 6, 5, 4, 3, 2])[check]
    valid: Bools = last == (digits[:, 17] if digits.shape[1] > 17 else 10)
    valid &= (digits[:, 0] > 0) & (digits[:, 0] < 9) & ((century == 19) | (century == 20))
    valid &= (month > 0) & (month < 13) & (day > 0) & (day < 32)
    return valid


def _cpf(digits: Bytes) -> Bools:
    first = weighted(digits, (10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    second = weighted(digits, (11, 10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    valid: Bools = (first == digits[:, 9]) & (second == digits[:, 10])
    return valid


def _nir(digits: Bytes) -> Bools:
    number = _number(digits)
    valid: Bools = 97 - number // 100 % 97 == number % 100
    return valid


def _idnr(digits: Bytes) -> Bools:
    """German tax numbers: one of the first ten digits stands there two or three times and all others once, and ISO 7064 MOD 11,10 holds."""
    counts = _COUNTED[digits[:, :10]].sum(1)  # of each digit, four bits
    valid: Bools = (digits[:, 0] > 0) & (np.bitwise_count(counts & _TWO_OR_THREE) == 1) & (counts & _FOUR_OR_MORE == 0)
    whole: Ints = digits.astype(np.int64)
    check: Ints = np.full(len(digits), 5, np.int64)
    for i in range(10):
        check = (np.where(check == 0, 10, check) * 2 % 11 + whole[:, i]) % 10
    valid &= (np.where(check == 0, 10, check) * 2 % 11 + whole[:, 10]) % 10 == 1
    return valid


def _pesel(digits: Bytes) -> Bools:
    year, month, day = (_number(digits[:, a : a + 2]) for a in (0, 2, 4))
    century = np.array([1900, 2000, 2100, 2200, 1800], np.int64)[month // 20]
    valid: Bools = (weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0) & _is_date(
        century + year, month % 20, day
    )
    return valid


def _personnummer(digits: Bytes) -> Bools:
    short = digits[:, -10:]
    month, day = (_number(short[:, a : a + 2]) for a in (2, 4))
    # A year of two digits is a leap year in either century.
    year = _number(digits[:, :4]) if digits.shape[1] == 12 else 2000 + _number(short[:, :2])
    valid: Bools = (luhn_sums(short) % 10 == 0) & _is_date(year, month, day) & (year > 0)
    return valid


def _rrn(digits: Bytes) -> Bools:
    check = (11 - weighted(digits, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10
    valid: Bools = (check == digits[:, 12]) & (_number(digits[:, 7:9]) < 97) & _dated_rrn(digits)
    return valid


def _dated_rrn(digits: Bytes) -> Bools:
    """Korean numbers by their date of birth: those given since October 2020 have no check digit."""
    year, month, day = (_number(digits[:, a : a + 2]) for a in (0, 2, 4))
    century = np.array([1800, 1900, 1900, 2000, 2000, 1900, 1900, 2000, 2000, 1800])[digits[:, 6]]
    return _is_date(century + year, month, day)


def _ssn(digits: Bytes) -> Bools:
    valid: Bools = digits[:, :3].any(1) & (digits[:, :3] != 6).any(1) & (digits[:, 0] < 9)
    valid &= digits[:, 3:5].any(1) & digits[:, 5:9].any(1) & (digits != digits[:, :1]).any(1)
    return valid


def _itin(digits: Bytes) -> Bools:
    valid: Bools = (digits[:, 0] == 9) & _ITIN_GROUPS[digits[:, 3] * 10 + digits[:, 4]]
    return valid


CHECKS: dict[str, Callable[[Bytes], Bools]] = {
    "cn": _chinese,
    "us": _ssn,
    "us.itin": _itin,
    "fr.nir": _nir,
    "de.idnr": _idnr,
    "br.cpf": _cpf,
    "in_.aadhaar": _aadhaar,
    "nl.bsn": lambda d: weighted(d, (9, 8, 7, 6, 5, 4, 3, 2, 10)) % 11 == 0,
    "pl.pesel": _pesel,
    "se.personnummer": _personnummer,
    "kr.rrn": _rrn,
    "kr.rrn since 2020": _dated_rrn,
    "gb.nhs": lambda d: weighted(d, (10, 9, 8, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0,
}
"""What python-stdnum asks of the digits, for many numbers at once."""


LETTERS_BY_REST = {"es.dni": 8, "es.nie": 7}
"""Spanish numbers, whose last letter is a check, and their digits."""
_SPANISH = np.frombuffer(b"TRWAGMYFPDXBNJZSQVHLCKE", np.uint8)


def identities(groups: Groups) -> Spans:
    """Return the identity numbers of a text."""
    parts = [_fiscal_codes(groups), _insurance_numbers(groups), _account_numbers(groups)]
    for identity in IDENTITIES:
        for shape in identity.shapes:
            first = groups.of_shape(shape)
            if first.size:
                parts.append(_of(groups, identity, first, shape))
    return joined(parts)


def _of(groups: Groups, identity: Identity, first: Ints, shape: tuple[int, ...]) -> Spans:
    """Return the identity numbers among groups of one shape: those of most countries have no group around them."""
    text = groups.text
    if identity.words is not None:
        first = first[identity.words.stands_before(text, groups.starts[first])]
    if identity.module not in {"us", "cn"}:
        first = first[~groups.follows[first] & ~groups.is_next[first + len(shape) - 1]]
    check = CHECKS.get(identity.module)
    if check is not None:
        first = first[check(groups.digits(first, sum(shape)))]
    if identity.module != "us":
        first = first[groups.n_distinct(first, sum(shape)) >= 3 - bool(identity.after or identity.before)]
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
    return starts, stops


def _has_letter(groups: Groups, module: str, first: Ints, starts: Ints, stops: Ints) -> Bools:
    """Return which Spanish numbers end in the letter that the remainder of their digits by 23 asks for."""
    text, n = groups.text, LETTERS_BY_REST[module]
    rest = groups.digits(first, n) @ 10 ** np.arange(n - 1, -1, -1)
    if n == 7:
        rest = rest + (text.at(starts) & 0xDF).astype(np.int64) % ord("X") * 10**7
    result: Bools = _SPANISH[rest % 23] == text.at(stops - 1) & 0xDF
    return result


def _fiscal_codes(groups: Groups) -> Spans:
    """Return the Italian numbers of letters and digits, looked for around the first group of digits that they hold."""
    text = groups.text
    places = groups.starts[(groups.lengths == 2) & (groups.starts >= 6)]
    at = text.at
    for near in (2, -2, -3, -5):
        places = places[LETTERS[at(places + near)]]
    # Blanks may part the letters of the name from the day, and the day from the place.
    blank = at(places - 1) == _BLANK
    starts = places - 6 - blank
    second = places + 5 + (at(places + 5) == _BLANK)
    stops = second + 5
    shape = (
        *((starts + i, LETTERS) for i in range(6)),
        *((places + i, which) for i, which in enumerate((DIGITS, DIGITS, _MONTHS, DIGITS, DIGITS))),
        *((second + i, which) for i, which in enumerate((LETTERS, DIGITS, DIGITS, DIGITS, LETTERS))),
    )
    good = (starts >= 0) & ~WORD[at(starts - 1)] & ~WORD[at(stops)]
    for place, which in shape:
        good &= which[at(np.maximum(place, 0))]
    signs = np.stack(
        [at(place[good]) & 0xDF if which is LETTERS or which is _MONTHS else at(place[good]) for place, which in shape],
        1,
    )
    starts, stops = starts[good], stops[good]
    values = np.where(signs < 65, signs - 48, signs - 65)
    odd, even = _ODD[values[:, 0:15:2]].sum(1), values[:, 1:15:2].sum(1, dtype=np.int64)
    day = (values[:, 9] * 10 + values[:, 10]) % 40
    year = 1900 + values[:, 6].astype(np.int64) * 10 + values[:, 7]
    year = np.where(year < 1920, year + 100, year)
    month = np.array(["ABCDEHLMPRST".find(chr(c)) + 1 for c in range(256)])[signs[:, 8]]
    return kept((starts, stops), ((odd + even) % 26 == values[:, 15]) & _is_date(year, month, day.astype(np.int64)))


def _insurance_numbers(groups: Groups) -> Spans:
    """Return the British national insurance numbers, around their six digits, which blanks may part in pairs."""
    at = groups.text.at
    found = []
    for shape in ((6,), (2, 2, 2)):
        first = groups.of_shape(shape)
        start, stop = groups.starts[first], groups.ends[first + len(shape) - 1]
        good = np.ones(first.size, np.bool_)
        for i in range(len(shape) - 1):
            good &= (at(groups.ends[first + i]) == _BLANK) & (
                groups.starts[first + i + 1] - groups.ends[first + i] == 1
            )
        start = start - (at(start - 1) == _BLANK) - 2
        stop = stop + (at(stop) == _BLANK) + 1
        good &= (
            (start >= 0) & _FIRST_OF_NINO[at(np.maximum(start, -1))] & _SECOND_OF_NINO[at(np.maximum(start, -1) + 1)]
        )
        good &= _LAST_OF_NINO[at(stop - 1)] & ~WORD[at(stop)] & ~WORD[at(np.maximum(start, 0) - 1)]
        found.append((start[good], stop[good]))
    return joined(found)


def _account_numbers(groups: Groups) -> Spans:
    """Return the Indian permanent account numbers, around their four digits: those of persons by their form, of others behind a word."""
    text, at = groups.text, groups.text.at
    places = groups.starts[(groups.lengths == 4) & (groups.starts >= 5)]
    places = places[CAPITALS[at(places + 4)]]
    places = places[CAPITALS[at(places - 1)]]
    good = ~WORD[at(places + 5)] & ~WORD[at(places - 6)]
    for back in range(2, 6):
        good &= CAPITALS[at(places - back)]
    good &= _HOLDERS[at(places - 2)]
    places = places[good]
    named = (at(places - 2) == ord("P")) | PAN_WORDS.stands_before(text, places - 5)
    return places[named] - 5, places[named] + 5
