"""Secrets by the formats of their issuers, by their shape, as passwords in addresses, and as values that are named as secrets."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from workbench.gateway.detectors.finding import Ints, Spans, joined, kept, spans
from workbench.gateway.detectors.groups import ALNUM, DIGITS, LETTERS, WORD, Bools, Text, table
from workbench.gateway.detectors.secret_formats import FORMATS, SecretFormat
from workbench.gateway.detectors.words import Words

SHORTEST = 16
BY_BEGINNING: dict[str, list[SecretFormat]] = {}
for _each in FORMATS:
    BY_BEGINNING.setdefault(_each.begins[:2], []).append(_each)
_PAIRS = np.zeros(1 << 16, np.bool_)
_PAIRS[[(ord(two[0]) << 8) + ord(two[1]) for two in BY_BEGINNING]] = True
_KEY_SIGNS = WORD | table("-.+/=:")
_HYPHEN, _COLON, _SLASH, _AT, _DOT, _E = (ord(c) for c in "-:/@.e")
TELEGRAM = re.compile(r"[0-9]{8,10}:[A-Za-z0-9_\-]{35}(?![0-9A-Za-z_\-])")
MAILCHIMP = re.compile(r"(?<![0-9A-Za-z_])[0-9a-f]{32}-us[0-9]{1,2}(?![0-9A-Za-z_])")
_WORD = r"[A-Za-z0-9_\-]"
DISCORD = re.compile(
    rf"(?<![0-9A-Za-z_\-.])[MNO][A-Za-z0-9_\-]{{23,25}}\.{_WORD}{{6}}\.{_WORD}{{27,38}}(?![0-9A-Za-z_\-])"
)
TERRAFORM = re.compile(rf"(?<![0-9A-Za-z_])[A-Za-z0-9]{{14}}\.atlasv1\.{_WORD}{{60,70}}(?![0-9A-Za-z_])")
NAMES = Words(
    *("key", "secret", "token", "passw", "pwd", "credential", "bearer", "authorization", "密码", "密钥"),
)
NAMED = re.compile(
    r"(?:key|secret|token|passw(?:or)?d|passwd|pwd|credentials?|bearer|authorization|密码|密钥)[A-Za-z0-9_\-]{0,12}+[\"'`]{0,1}+[ ]{0,3}+(?::=|=>|[:=：]|是|is )?+"
    r"(?<=[ :=：是>\"'`])[ ]{0,3}+(?:bearer |basic )?[\"'`]{0,1}+(?P<value>[A-Za-z0-9_\-+/.~!@$%^&*]{16,400}+={0,2}+)",
    re.IGNORECASE,
)
_VALUE = WORD | table("-+/.~!@$%^&*")
_FARTHEST = 56
"""Characters from the beginning of a name to its value, at most."""
_ENDS_AUTHORITY = table(" /@\"'\n\r")
_NO_PASSWORD = table("{}$<>:")
LONGEST_USER, LONGEST_PASSWORD = 64, 128


def secrets(text: Text) -> Spans:
    """Return the secrets of a text."""
    parts = [spans(_of_formats(text)), spans(_shaped(text)), spans(_named(text))] if text.codes.size >= SHORTEST else []
    if "://" in text.plain and "@" in text.plain:
        parts.append(_in_addresses(text))
    return joined(parts)


def _of_formats(text: Text) -> Iterator[tuple[int, int]]:
    """Yield the secrets that begin as those of an issuer."""
    plain = text.plain
    for place in _beginnings(text).tolist():
        for form in BY_BEGINNING[plain[place : place + 2]]:
            if plain.startswith(form.begins, place) and (m := form.pattern.match(plain, place)) and form.holds(m[0]):
                yield m.span()


def _beginnings(text: Text) -> Ints:
    """Return the beginnings of words whose first two characters are those of a format and which are long enough."""
    c = text.codes
    begins = text.is_word[:-1].copy()
    begins[1:] &= ~text.is_word[:-2]
    places = np.flatnonzero(begins)
    places = places[_PAIRS[(c[places].astype(np.int64) << 8) | c[places + 1]]]
    # What a hyphen joins to a word before it is part of that word, and the parts of a token in JSON are one.
    before, second = text.at(places - 1), text.at(places - 2)
    places = places[~((before == _HYPHEN) & WORD[second]) & ~((before == _DOT) & WORD[second] & (c[places] == _E))]
    others = text.marked(~_KEY_SIGNS)
    ends = np.append(others, c.size)[np.searchsorted(others, places)]
    result: Ints = places[ends - places >= SHORTEST]
    return result


def _shaped(text: Text) -> Iterator[tuple[int, int]]:
    """Yield secrets without a beginning of their own, around the sign that they hold."""
    plain, c = text.plain, text.codes
    colons = np.flatnonzero(c == _COLON)
    colons = colons[(colons >= 8) & (colons < c.size - 35)]
    colons = colons[DIGITS[c[colons - 1]] & DIGITS[c[colons - 8]]]
    keys = WORD | table("-")
    colons = colons[keys[c[colons + 1]] & keys[c[colons + 35]] & keys[c[colons + 18]]]
    for at in colons.tolist():
        n_digits = len(plain[max(0, at - 11) : at]) - len(plain[max(0, at - 11) : at].rstrip("0123456789"))
        if 8 <= n_digits <= 10 and (m := TELEGRAM.match(plain, at - n_digits)):
            yield m.span()
    for sign, pattern, before in (("-us", MAILCHIMP, 32), (".atlasv1.", TERRAFORM, 14)):
        for at in _all(text, sign).tolist():
            if at >= before and (m := pattern.match(plain, at - before)):
                yield m.span()
    dots = np.flatnonzero(c == ord("."))
    for at in dots[:-1][np.diff(dots) == 7].tolist():
        for before in (24, 25, 26):
            if at >= before and plain[at - before] in "MNO" and (m := DISCORD.match(plain, at - before)):
                yield m.span()


def _all(text: Text, word: str) -> Ints:
    """Return every place of a word of ASCII that a word character follows, where there is one before it."""
    if word not in text.plain:
        return np.zeros(0, np.int64)
    c = text.codes
    at = np.flatnonzero(c[: c.size - len(word)] == ord(word[0]))
    for i in range(1, len(word)):
        at = at[c[at + i] == ord(word[i])]
    return at[ALNUM[text.at(at - 1)] & ALNUM[text.at(at + len(word))]]


def _in_addresses(text: Text) -> Spans:
    """Return the passwords before the @ of an address."""
    c = text.codes
    begins = np.flatnonzero((c[:-2] == _COLON) & (c[1:-1] == _SLASH) & (c[2:] == _SLASH)) + 3
    stops = text.marked(_ENDS_AUTHORITY)
    colons = np.flatnonzero(c == _COLON)
    end = np.append(stops, c.size)[np.searchsorted(stops, begins)]
    colon = np.append(colons, c.size)[np.searchsorted(colons, begins)]
    good = (text.at(end) == _AT) & (colon < end) & (colon - begins <= LONGEST_USER)
    good &= (end - colon > 3) & (end - colon <= LONGEST_PASSWORD + 1)
    colon, end = colon[good], end[good]
    n_other = text.count(_NO_PASSWORD)
    return kept((colon + 1, end), n_other[end] == n_other[colon + 1])


def _named(text: Text) -> Iterator[tuple[int, int]]:
    """Yield random values that a name such as "api_key" stands before."""
    values = _value_starts(text)
    if not values.size:
        return
    names, _ = NAMES.places(text)
    if not names.size:
        return
    names = np.sort(names)
    nearest = np.searchsorted(names, values) - 1
    near = (nearest >= 0) & (values - names[np.maximum(nearest, 0)] <= _FARTHEST)
    done, places = -1, names.tolist()
    for last, value in zip(nearest[near].tolist(), values[near].tolist(), strict=True):
        # The nearest name first; "Authorization: Bearer" are two.
        for place in places[max(0, last - 2) : last + 1][::-1]:
            m = NAMED.match(text.plain, place) if value - place <= _FARTHEST else None
            if m is not None and m.start("value") == value and value > done and is_value(m["value"]):
                yield m.span("value")
                done = value
                break


def _value_starts(text: Text) -> Ints:
    """Return the beginnings of values: sixteen signs or more with letters and digits, behind a sign that parts a name from its value."""
    padded = np.concatenate(([False], text.has(_VALUE), [False]))
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    begins, ends = edges[::2], edges[1::2]
    long = ends - begins >= SHORTEST
    begins, ends = begins[long], ends[long]
    if not begins.size:
        return begins
    digits, letters = text.count(DIGITS), text.count(LETTERS)
    mixed: Bools = letters[ends] > letters[begins]
    mixed &= (digits[ends] > digits[begins]) | (ends - begins >= 20)
    result: Ints = begins[mixed]
    return result


@lru_cache(maxsize=4096)
def is_value(text: str) -> bool:
    """Return whether a value is random enough for a secret: letters and digits, and at least three bits of entropy a character."""
    n = len(text)
    if n < SHORTEST or not re.search("[A-Za-z]", text):
        return False
    entropy = -sum(c / n * math.log2(c / n) for c in Counter(text).values())
    longest = max(map(len, re.split(r"[-_./]", text)))
    mixed = re.search("[a-z]", text) is not None and re.search("[A-Z]", text) is not None
    if not re.search("[0-9]", text):
        # Capital letters in the middle of words, often: none of a name in camel case, where small ones follow each.
        return n >= 20 and mixed and longest >= 20 and entropy >= 3.8 and len(re.findall("[A-Z]{2}", text)) >= 2
    return entropy >= 3.0 and (longest >= 12 or (n >= 20 and mixed and entropy >= 3.8))
