"""Redaction of personal data and secrets, which are found by pattern and check digit and replaced by their class, in texts and in streams.

Only what has a pattern can be found: names and addresses have none. Patterns are possessive or bounded, so that time is linear in the length of any
text. Texts are matched in NFKC (full-width digits, for example), and everything that is not replaced is returned unchanged.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from workbench.gateway.character_scan import CharacterScan

LONGEST = 720
"""Largest number of characters of a finding and its context; a stream never holds back more."""
TOKEN = re.compile(r"[^\s\u3000-\u303f\uff0c\uff1a\uff1b\uff01\uff1f]+\Z")
GOES_ON = re.compile(r"[0-9A-Z)\-\u2010-\u2015.]\Z")
"""End of a word after which a finding may continue behind a space: groups of digits or of an IBAN, the first line of a key."""
MARK = "[{kind}]"
# Beside digits no other digit, letter of the Latin alphabet or sign that makes a number of it; Chinese characters may stand there.
_LEFT, _RIGHT = r"(?<![0-9A-Za-z_])(?<![0-9][.,\-])", r"(?![0-9A-Za-z_])(?![.,\-][0-9])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A place in a text that is replaced."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A class of personal data or secrets, and how it is found."""

    name: str
    pattern: re.Pattern[str]
    holds: Callable[[str], bool] = lambda text: True  # noqa: ARG005
    """Whether a match is valid, such as its check digits."""
    places: Callable[[CharacterScan], Sequence[int]] | None = None
    """Places where a match can begin; None: anywhere."""
    words: tuple[str, ...] = ()
    """Words of which every match holds at least one; empty: there are no such words."""


def _digits(text: str) -> str:
    return "".join(c for c in text if c.isascii() and c.isdigit())


def luhn_holds(text: str) -> bool:
    """Return whether the check digit is valid (ISO/IEC 7812-1, annex B): the sum over digits, every second one from the right doubled, ends in 0."""
    total = 0
    for i, char in enumerate(reversed(_digits(text))):
        value = int(char) * (1 + i % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_card(text: str) -> bool:
    """Return whether a text is a card number: length and first digits of an issuer, Luhn check digit, and groups as on cards."""
    number = _digits(text)
    if not luhn_holds(number) or len(set(number)) < 2:
        return False
    groups = [len(g) for g in re.split(r"[^0-9]", text)]
    if len(groups) > 1 and not (groups[:-1] == [4] * (len(groups) - 1) or groups == [4, 6, 5]):
        return False
    n, two, four = len(number), int(number[:2]), int(number[:4])
    return (
        (number[0] == "4" and n in {13, 16, 19})
        or (n == 16 and (51 <= two <= 55 or 2221 <= four <= 2720))
        or (n == 15 and two in {34, 37})
        or (n in range(16, 20) and (two in {62, 65} or four == 6011 or 644 <= int(number[:3]) <= 649))
        or (n in range(16, 20) and 3528 <= four <= 3589)
        or (n == 14 and (300 <= int(number[:3]) <= 305 or two in {36, 38}))
    )


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
    area, group, serial = re.split(r"[^0-9]", text)
    return area not in {"000", "666"} and area[0] != "9" and group != "00" and serial != "0000"


def is_iban(text: str) -> bool:
    """Return whether a text is an IBAN (ISO 13616): its letters and digits as a number leave 1 when divided by 97."""
    plain = re.sub(r"\s", "", text).upper()
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def is_phone(text: str) -> bool:
    """Return whether a text has as many digits as a telephone number (ITU-T E.164)."""
    number = _digits(text)
    return 8 <= len(number) <= 15 and len(set(number)) > 2


KINDS: tuple[Kind, ...] = (
    Kind(name="PRIVATE KEY", pattern=re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----"), words=("-----BEGIN ",)),
    Kind(
        name="SECRET",
        pattern=re.compile(
            r"(?<![0-9A-Za-z_])(?:sk-[A-Za-z0-9_\-]{20,200}+|gh[pousr]_[A-Za-z0-9]{30,120}+|github_pat_[A-Za-z0-9_]{30,120}+"
            r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_\-]{35}|xox[abprs]-[A-Za-z0-9\-]{10,200}+|hf_[A-Za-z0-9]{30,60}+"
            r"|glpat-[A-Za-z0-9_\-]{20,60}+|eyJ[A-Za-z0-9_\-]{8,100}+\.[A-Za-z0-9_\-]{8,100}+\.[A-Za-z0-9_\-]{8,100}+)(?![0-9A-Za-z_])"
        ),
        words=("sk-", "gh", "github_pat_", "AKIA", "ASIA", "AIza", "xox", "hf_", "glpat-", "eyJ"),
    ),
    Kind(
        name="EMAIL",
        pattern=re.compile(
            r"(?<![A-Za-z0-9._%+\-])[A-Za-z0-9](?:[A-Za-z0-9._%+\-]{0,62}[A-Za-z0-9_+\-])?@"
            r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.){1,4}[A-Za-z]{2,24}(?![A-Za-z0-9])"
        ),
        places=lambda scan: scan.addresses,
    ),
    Kind(
        name="IBAN",
        pattern=re.compile(
            r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![0-9A-Za-z])"
        ),
        holds=is_iban,
        places=lambda scan: scan.accounts,
    ),
    Kind(
        name="ID",
        pattern=re.compile(_LEFT + r"[0-9]{17}[0-9Xx]" + r"(?![0-9A-Za-z])"),
        holds=is_chinese_id,
        places=lambda scan: scan.identity_numbers,
    ),
    Kind(
        name="ID",
        pattern=re.compile(_LEFT + r"[0-9]{3}[\- ][0-9]{2}[\- ][0-9]{4}" + _RIGHT),
        holds=is_us_ssn,
        places=lambda scan: scan.identity_numbers,
    ),
    Kind(
        name="PHONE",
        pattern=re.compile(
            r"(?<![0-9A-Za-z_+])(?<![0-9][.,\-])(?:\+[0-9]{1,3}[ \-.]?(?:\([0-9]{1,4}\)[ \-.]?)?[0-9]{1,4}(?:[ \-.]?[0-9]{2,4}){1,4}"
            r"|\([0-9]{3}\) ?[0-9]{3}[\-. ][0-9]{4}|[0-9]{3}[\-.][0-9]{3}[\-.][0-9]{4}|1[3-9][0-9][ \-]?[0-9]{4}[ \-]?[0-9]{4}"
            r"|0[0-9]{2,3}-[0-9]{7,8})" + _RIGHT
        ),
        holds=is_phone,
        places=lambda scan: scan.phones,
    ),
)
_CARD_BEGINS, _CARD_ENDS = re.compile(_LEFT), re.compile(_RIGHT)
LEAST_DIGITS = 13  # of a card
SHORT = 2048
"""Length up to which searching is faster than classifying the characters first."""


@cache
def _one_for_one() -> dict[int, str]:
    """Return the characters that NFKC replaces by one other character, such as full-width digits."""
    normal = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0x80, 0x110000)}
    return {code: plain for code, plain in normal.items() if len(plain) == 1 and ord(plain) != code}


def _normal(text: str) -> tuple[str, Sequence[int] | None]:
    """Return the text in NFKC, and the original place of each of its characters; None where the places are the same."""
    if text.isascii() or unicodedata.is_normalized("NFKC", text):
        return text, None
    plain = text.translate(_one_for_one())
    if unicodedata.is_normalized("NFKC", plain):
        return plain, None
    parts = [unicodedata.normalize("NFKC", char) for char in text]
    return "".join(parts), [*(i for i, plain in enumerate(parts) for _ in plain), len(text)]


def findings(text: str, *, start: int = 0) -> list[Finding]:
    """Return the findings from ``start`` on, in the order of the text and without overlaps; the text before ``start`` is context only.

    Of two that overlap, the one that begins first is kept, and of two that begin at the same place the longer one.
    """
    plain, origin = _normal(text)
    first = start if origin is None else next((i for i, at in enumerate(origin) if at >= start), len(plain))
    result: list[Finding] = []
    for f in sorted(_matches(plain, first), key=lambda f: (f.start, -f.end)):
        if not result or f.start >= result[-1].end:
            result.append(f)
    if origin is not None:
        result = [Finding(kind=f.kind, start=origin[f.start], end=origin[f.end - 1] + 1) for f in result]
    return result


def _matches(plain: str, first: int) -> Iterator[Finding]:
    scan = CharacterScan(plain)
    if sum(map(plain.count, "0123456789")) >= LEAST_DIGITS:
        yield from _cards(scan, first)
    for kind in KINDS:
        if kind.words and not any(word in plain for word in kind.words):
            continue
        is_short = len(plain) <= SHORT or kind.places is None
        yield from _search(kind, plain, first) if is_short else _match_at_places(kind, scan, first)


def _search(kind: Kind, plain: str, first: int) -> Iterator[Finding]:
    at = first
    while (m := kind.pattern.search(plain, at)) is not None:
        if kind.holds(m[0]):
            yield Finding(kind=kind.name, start=m.start(), end=m.end())
            at = m.end()
        else:
            at = m.start() + 1


def _match_at_places(kind: Kind, scan: CharacterScan, first: int) -> Iterator[Finding]:
    """Yield the findings of a class, whose pattern is tried only at the places where a match can begin."""
    assert kind.places is not None
    at = first
    for place in kind.places(scan):
        if place >= at and (m := kind.pattern.match(scan.text, place)) is not None and kind.holds(m[0]):
            yield Finding(kind=kind.name, start=place, end=m.end())
            at = m.end()


def _cards(scan: CharacterScan, first: int) -> Iterator[Finding]:
    at = first
    for start, end in scan.cards:
        if (
            start >= at
            and _CARD_BEGINS.match(scan.text, start)
            and _CARD_ENDS.match(scan.text, end)
            and is_card(scan.text[start:end])
        ):
            yield Finding(kind="CARD", start=start, end=end)
            at = end


def redact_text(text: str) -> tuple[str, list[Finding]]:
    """Return the text with its findings replaced, and the findings with their places in the original text."""
    replaced = findings(text)
    parts, at = [], 0
    for f in replaced:
        parts += [text[at : f.start], MARK.format(kind=f.kind)]
        at = f.end
    return "".join([*parts, text[at:]]), replaced


class StreamRedactor:
    """Redaction of a text that arrives in pieces: the joined output is what ``redact_text`` returns for the whole text, however it was cut."""

    def __init__(self) -> None:
        self._held = ""
        self._before = ""
        self.counts: dict[str, int] = {}

    def feed(self, piece: str) -> str:
        """Return what is decided after one more piece: all but the last word and the words that it may continue."""
        self._held += piece
        until = max(_undecided_from(self._held), len(self._held) - LONGEST)
        return self._release(until) if until > 0 else ""

    def end(self) -> str:
        """Return what was held back until the end of the text."""
        return self._release(len(self._held))

    def _release(self, until: int) -> str:
        """Return the redacted text before a place, or before the finding that lies across it."""
        text, shift = self._before + self._held, len(self._before)
        parts, at, limit = [], shift, shift + until
        for f in findings(text, start=shift):
            if f.start >= limit:
                break
            if f.end > limit:
                limit = f.start
                break
            parts += [text[at : f.start], MARK.format(kind=f.kind)]
            at = f.end
            self.counts[f.kind] = self.counts.get(f.kind, 0) + 1
        parts.append(text[at:limit])
        # The last characters of the output are kept as the context before the next finding.
        self._before, self._held = text[max(0, limit - 2) : limit], text[limit:]
        return "".join(parts)


def _undecided_from(text: str) -> int:
    """Return the beginning of the part that may still become a finding with more text."""
    last = TOKEN.search(text, max(0, len(text) - LONGEST))
    start = last.start() if last else len(text)
    while start > 1 and text[start - 1] == " " and len(text) - start < LONGEST:
        before = text.rfind(" ", 0, start - 1) + 1
        word = TOKEN.search(text[max(before, start - 1 - LONGEST) : start - 1])
        if word is None or not GOES_ON.search(unicodedata.normalize("NFKC", word[0])):
            break
        start -= 1 + len(word[0])
    return start
