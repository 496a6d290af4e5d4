"""Secrets by the formats of their issuers, by their shape, as passwords in addresses, and as values that are named as secrets."""

import re
import string
from collections.abc import Iterator
from itertools import repeat

import numpy as np
import numpy.typing as npt

from workbench.gateway.detectors.finding import Ints, Spans, joined, kept, spans
from workbench.gateway.detectors.gaps import are_gaps
from workbench.gateway.detectors.groups import (
    ALNUM,
    DIGITS,
    LETTERS,
    WORD,
    Bools,
    Text,
    is_among,
    packed,
    packed_word,
    packed_words,
    table,
)
from workbench.gateway.detectors.marks import Marks
from workbench.gateway.detectors.secret_formats import BEGINNINGS, BY_BEGINNING
from workbench.gateway.detectors.words import Words

SHORTEST, SHORTEST_NAMED = 16, 12
"""Characters of a secret, and of a short one with its name."""
_NUMBER_OF_PAIR = np.zeros(1 << 16, np.uint8)
_NUMBER_OF_PAIR[[(ord(two[0]) << 8) + ord(two[1]) for two in BY_BEGINNING]] = range(1, len(BY_BEGINNING) + 1)


def _signs_at(place: int) -> Bools:
    """Return which bytes may stand at a place behind each beginning of formats."""
    result = np.zeros((len(BY_BEGINNING) + 1, 256), np.bool_)
    numbers = {two: i for i, two in enumerate(BY_BEGINNING, 1)}
    for begins in BEGINNINGS:
        result[numbers[begins[:2]], ord(begins[place]) if place < len(begins) else slice(None)] = True
    return result


_COMPARED = 10
"""Characters of a beginning that are compared before a pattern is."""
_SIGNS = [(place, _signs_at(place)) for place in range(2, _COMPARED)]
_KEY_SIGNS = WORD | table("-.+/=:~")
_HYPHEN, _COLON, _SLASH, _AT, _DOT, _E, _EQUALS, _U = (ord(c) for c in "-:/@.e=u")
TELEGRAM = re.compile(r"[0-9]{8,10}:[A-Za-z0-9_\-]{35}(?![0-9A-Za-z_\-])")
MAILCHIMP = re.compile(r"(?<![0-9A-Za-z_])[0-9a-f]{32}-us[0-9]{1,2}(?![0-9A-Za-z_])")
_WORD = r"[A-Za-z0-9_\-]"
DISCORD = re.compile(
    rf"(?<![0-9A-Za-z_\-.])[MNO][A-Za-z0-9_\-]{{23,25}}\.{_WORD}{{6}}\.{_WORD}{{27,38}}(?![0-9A-Za-z_\-])"
)
AZURE = re.compile(r"(?<![0-9A-Za-z_])[A-Za-z0-9_~.\-]{3}[0-9]Q~[A-Za-z0-9_~.\-]{31,34}(?![0-9A-Za-z_~\-])")
TERRAFORM = re.compile(r"(?<![0-9A-Za-z_])[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=\-]{60,70}(?![0-9A-Za-z_])")
_PASSWORDS = (
    "passwd password passwor passphrase pwd |pass| _pass| dbpass| passcode 密码 密碼 口令 비밀번호 パスワード пароль kennwort passwort contraseña contrasena "
    "senha hasło haslo wachtwoord lösenord parola şifre sifre"
)
PASSWORDS = Words(*_PASSWORDS.split(), "identified by", "mot de passe")
_NAMES = "key secret token credential bearer authorization |auth| _auth| 密钥 密鑰 schlüssel"
NAMES = Words(*_NAMES.split())
_TAIL = WORD | table("-")
LONGEST_TAIL, LONGEST_GAP = 12, 24
_VALUE = WORD | table("-+/.~!@$%^&*#?")
_FARTHEST = 56
"""Characters from the beginning of a name to its value, at most."""
MOST_NAMES = 3
LONGEST_VALUE, LONGEST_JUDGED = 4096, 400
"""Characters of a value, and of its beginning that is judged."""
_PARTS = table("-_./")
_QUOTES, _IS_EQUALS = table("\"'`"), table("=")
_SIGN_OF = np.cumsum(_VALUE | table("=")) - 1
_N_SIGNS = int(_SIGN_OF[-1]) + 1
SHORTEST_PASSWORD, LEAST_PART = 8, 10
"""Characters of a password, and of the longest part of a short secret between hyphens, points and slashes."""
_NO_FIRST, _ENDS_SENTENCE = table("/$.%&*<-#?"), table(".?")
_AT_ONCE = 4096
_CAPITALS, _SMALL = table(string.ascii_uppercase), table(string.ascii_lowercase)
_C_LOG_C = np.arange(LONGEST_JUDGED + 3) * np.log2(np.maximum(np.arange(LONGEST_JUDGED + 3), 1))
_ENDS_AUTHORITY = table(" /@\"'\n\r")
_IS_COLON, _NO_PASSWORD = table(":"), table("{}$<>:")
_PARTS_OPTION, _ENDS_USER = table(" ="), table(" \n\r\"'")
_ENDS_VALUE, _NO_FIRST_OF_CURL = table(" \n\r\"':,;<>[]{}|\xff"), table("@/$")
_PLACEHOLDERS = packed_words(("password", "pass", "passwd", "pwd", "secret", "xxx", "xxxx", "****", "..."))
_LONGEST_PLACEHOLDER = 8
LONGEST_USER, LONGEST_PASSWORD = 64, 128
LONGEST_KEPT, CONTEXT = 256, 24
"""Characters of a word that is compared with others, and behind it of what may show that it is an example."""


def secrets(text: Text) -> Spans:
    """Return the secrets of a text."""
    parts = [_of_formats(text), _shaped(text), _named(text)] if text.codes.size >= SHORTEST_NAMED else []
    if "://" in text.plain and "@" in text.plain:
        parts.append(_in_addresses(text))
    return joined(parts)


def _matched(pattern: re.Pattern[str], plain: str, places: Ints) -> Iterator[tuple[int, int]]:
    """Yield what a pattern matches at places."""
    return (m.span() for m in filter(None, map(pattern.match, repeat(plain), places.tolist())))


def _matched_once(pattern: re.Pattern[str], plain: str, places: Ints, ends: Ints) -> Spans:
    """Return what a pattern matches at places; short words that come again are matched once."""
    long = ends - places > LONGEST_KEPT
    found = spans(_matched(pattern, plain, places[long]))
    places, ends = places[~long], ends[~long] + CONTEXT
    lengths: dict[str, int] = {}
    words = list(map(plain.__getitem__, map(slice, places.tolist(), ends.tolist())))
    for word in set(words):
        m = pattern.match(word)
        lengths[word] = m.end() if m else 0
    n = np.fromiter(map(lengths.__getitem__, words), np.int64, len(words))
    return joined((found, (places[n > 0], (places + n)[n > 0])))


def _of_formats(text: Text) -> Spans:
    """Return the secrets that begin as those of an issuer."""
    places, ends = _beginnings(text)
    pairs = (text.codes[places].astype(np.int64) << 8) | text.codes[places + 1]
    return joined(
        _matched_once(
            BY_BEGINNING[chr(pair >> 8) + chr(pair & 255)], text.plain, places[pairs == pair], ends[pairs == pair]
        )
        for pair in np.flatnonzero(np.bincount(pairs)).tolist()
    )


def _beginnings(text: Text) -> Spans:
    """Return the beginnings and ends of words whose first two characters are those of a format and which are long enough."""
    c = text.codes
    begins = text.begins_row(_KEY_SIGNS, SHORTEST)
    begins &= text.is_word[: begins.size]
    begins[1:] &= ~text.is_word[: begins[1:].size]
    places = np.flatnonzero(begins)
    pairs = (c[places].astype(np.int64) << 8) | c[places + 1]
    numbers = _NUMBER_OF_PAIR[pairs]
    places, numbers = places[numbers > 0], numbers[numbers > 0]
    for place, signs in _SIGNS:
        good = signs[numbers, text.at(places + place)]
        places, numbers = places[good], numbers[good]
    # What a hyphen joins to a word before it is part of that word, and the parts of a token in JSON are one.
    before, second = text.at(places - 1), text.at(places - 2)
    places = places[~((before == _HYPHEN) & WORD[second]) & ~((before == _DOT) & WORD[second] & (c[places] == _E))]
    return places, text.marks(~_KEY_SIGNS).next(places)


def _shaped(text: Text) -> Spans:
    """Return secrets without a beginning of their own, around the sign that they hold."""
    plain, c = text.plain, text.codes
    found = []
    colons = np.flatnonzero(c == _COLON)
    colons = colons[(colons >= 8) & (colons < c.size - 35)]
    colons = colons[DIGITS[c[colons - 1]] & DIGITS[c[colons - 8]]]
    colons = colons[_TAIL[c[colons + 1]] & _TAIL[c[colons + 35]] & _TAIL[c[colons + 18]]]
    if colons.size:
        n_digits = np.full(colons.size, 8)
        for more in (9, 10, 11):
            n_digits += (n_digits == more - 1) & DIGITS[text.at(np.maximum(colons - more, -1))]
        colons, n_digits = colons[n_digits < 11], n_digits[n_digits < 11]
        found.append(spans(_matched(TELEGRAM, plain, colons - n_digits)))
    for sign, pattern, before in (("-us", MAILCHIMP, 32), (".atlasv1.", TERRAFORM, 14), ("Q~", AZURE, 4)):
        places = _all(text, sign) - before
        found.append(spans(_matched(pattern, plain, places[places >= 0])))
    found.append(_of_curl(text))
    dots = np.flatnonzero(c == _DOT)
    between = np.diff(dots, prepend=-1)
    for at in (24, 25, 26):
        places = dots[:-1][(between[1:] == 7) & (between[:-1] > at)] - at
        places = places[(c[places] >= ord("M")) & (c[places] <= ord("O"))]
        found.append(spans(_matched(DISCORD, plain, places)))
    return joined(found)


def _of_curl(text: Text) -> Spans:
    """Return the passwords of the users of curl: "-u name:password"."""
    if "-u" not in text.plain:
        return spans(())
    c = text.codes
    options = np.flatnonzero((c[:-1] == _HYPHEN) & (c[1:] == _U))
    name = options + 2 + 3 * (packed(text, options + 1, options + 5) == packed_word("user"))
    first = text.marks(~_PARTS_OPTION).next(np.minimum(name, c.size))
    first = first + _QUOTES[text.at(first)]
    good = (first > name) & (first - name <= 4)
    first = np.minimum(first[good], c.size)
    colon = text.marks(_IS_COLON).next(first)
    good = (text.marks(_ENDS_USER).next(first) >= colon) & (colon - first <= LONGEST_USER) & (colon < c.size)
    start = colon[good] + 1
    start = np.minimum(start + _QUOTES[text.at(start)], c.size)
    end = text.marks(_ENDS_VALUE).next(start)
    good = (end - start > 5) & (end - start <= LONGEST_PASSWORD) & ~_NO_FIRST_OF_CURL[text.at(start)]
    return _no_placeholders(text, kept((start, end), good))


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
    end, colon = text.marks(_ENDS_AUTHORITY).next(begins), text.marks(_IS_COLON).next(begins)
    good = (text.at(end) == _AT) & (colon < end) & (colon - begins <= LONGEST_USER)
    good &= (end - colon > 3) & (end - colon <= LONGEST_PASSWORD + 1)
    colon, end = colon[good], end[good]
    places = kept((colon + 1, end), text.marks(_NO_PASSWORD).next(colon + 1) >= end)
    return _no_placeholders(text, places)


def _no_placeholders(text: Text, places: Spans) -> Spans:
    """Return the passwords that are no words for one."""
    is_word = (places[1] - places[0] <= _LONGEST_PLACEHOLDER) & is_among(packed(text, *places), _PLACEHOLDERS)
    return kept(places, ~is_word)


def _named(text: Text) -> Spans:
    """Return random values that a name such as "api_key" stands before, and short ones behind such a name or the word for a password."""
    names = [words for words in (NAMES, PASSWORDS) if words.places(text)[0].size]
    if not names:
        return spans(())
    begins = text.begins_row(_VALUE, SHORTEST_PASSWORD)
    begins[1:] &= ~text.has(_VALUE)[: begins[1:].size]
    starts = np.flatnonzero(begins)
    ends = text.marks(~_VALUE).next(starts)
    is_long = ends - starts >= SHORTEST
    long = _mixed(text, starts[is_long], ends[is_long])
    short = kept((starts, ends), ~is_long & (text.marks(DIGITS).next(starts) < ends))
    short = kept(short, _are_passwords(text, *short))
    parts = []
    for words in names:
        starts, ends = _behind(text, words, *long)
        ends = _with_equals(text, starts, np.minimum(ends, starts + LONGEST_VALUE))
        parts.append(kept((starts, ends), _are_random(text, starts, np.minimum(ends, starts + LONGEST_JUDGED))))
        near = _behind(text, words, *short, is_short=True)
        parts.append(near if words is PASSWORDS else kept(near, _are_dense(text, *near)))
    return joined(parts)


def _with_equals(text: Text, starts: Ints, ends: Ints) -> Ints:
    """Return where values end with the equals signs behind them, and those in quotation marks with all between such signs."""
    quoted = np.flatnonzero(_QUOTES[text.at(starts - 1)] & (text.at(ends) == _EQUALS))
    for _ in range(2):
        ends = ends + (text.at(ends) == _EQUALS)
    if quoted.size:
        stop = text.marks(~_VALUE & ~_IS_EQUALS).next(starts[quoted])
        ends[quoted] = np.where(_QUOTES[text.at(stop)] & (stop - starts[quoted] <= LONGEST_VALUE), stop, ends[quoted])
    return ends


def _are_dense(text: Text, starts: Ints, ends: Ints) -> Bools:
    """Return which short values are no words and numbers: letters and digits change often, or in a part with capital letters in a row."""
    good = ends - starts >= SHORTEST_NAMED
    if not good.any():
        return good
    letters, digits = text.has(LETTERS), text.has(DIGITS)
    changes = Marks((letters[1:] & digits[:-1]) | (digits[1:] & letters[:-1]))
    n = changes.count(ends - 1) - changes.count(starts)
    small = _counted(text, _SMALL, starts, ends) > 0
    in_capitals = (n > 1) & small & (_pairs_of_capitals(text, starts, ends) > 0)
    good &= ((n > 2) | in_capitals) & (_longest_parts(text, starts, ends) >= LEAST_PART)
    return good


def _are_passwords(text: Text, starts: Ints, ends: Ints) -> Bools:
    """Return which values mix letters with digits as passwords do, and are no path, no variable, no date and no call."""
    first, last, after = text.at(starts), text.at(ends - 1), text.at(ends)
    good: Bools = ~_NO_FIRST[first] & ~((after == ord("(")) | (after == ord("[")) | (after == ord("{")))
    letters, digits, words = (_counted(text, which, starts, ends) for which in (LETTERS, DIGITS, WORD))
    good &= (letters > 1) & (digits > 0) & (words > 3) & ~_ENDS_SENTENCE[last]
    return good & ~_starts_with_name(text, starts)


def _starts_with_name(text: Text, starts: Ints) -> Bools:
    """Return which values begin as the name of another value does."""
    is_name = np.zeros(text.codes.size, np.bool_)
    for words in (PASSWORDS, NAMES):
        is_name[words.places(text)[0]] = True
    result: Bools = is_name[starts]
    return result


def _behind(text: Text, words: Words, starts: Ints, ends: Ints, *, is_short: bool = False) -> Spans:
    """Return the values that one of the words, the rest of its name, and what parts a name from its value stand before."""
    if not starts.size:
        return starts, ends
    tails, begins = _tails(text, words.places(text))
    # The nearest name may be one without a gap of its own, such as the second one of "Authorization: Bearer".
    nearest = np.searchsorted(begins, starts)
    good = np.zeros(starts.size, np.bool_)
    for back in range(1, MOST_NAMES + 1):
        left = np.flatnonzero(~good & (nearest >= back))
        name = nearest[left] - back
        gap = starts[left] - tails[name]
        near = (gap > 0) & (gap <= LONGEST_GAP) & (starts[left] - begins[name] <= _FARTHEST)
        left, name = left[near], name[near]
        good[left] = are_gaps(text, tails[name], starts[left], is_parted=is_short)
    return starts[good], ends[good]


def _tails(text: Text, names: Spans) -> Spans:
    """Return where the words end that names are part of, and where the names begin, in the order of their beginnings."""
    begins, ends = names
    if not begins.size:
        return ends, begins
    order = np.argsort(begins, kind="stable")
    begins, ends = begins[order], ends[order]
    ends = ends + ((text.at(begins) | 0x20 == ord("c")) & (text.at(ends) | 0x20 == ord("s")))
    tails = text.marks(~_TAIL).next(ends)
    fits = tails - ends <= LONGEST_TAIL
    return tails[fits], begins[fits]


def _mixed(text: Text, starts: Ints, ends: Ints) -> Spans:
    """Return the values with letters and digits, or with letters if they are long."""
    if not starts.size:
        return starts, ends
    mixed = _counted(text, LETTERS, starts, ends) > 0
    mixed &= (_counted(text, DIGITS, starts, ends) > 0) | (ends - starts >= 20)
    return starts[mixed], ends[mixed]


def _are_random(text: Text, starts: Ints, ends: Ints) -> Bools:
    """Return which values are random enough for a secret: letters and digits, and at least three bits of entropy a character."""
    if not starts.size:
        return np.zeros(0, np.bool_)
    n, bits, longest = ends - starts, _entropies(text, starts, ends), _longest_parts(text, starts, ends)
    capitals, small, digits = (_counted(text, which, starts, ends) for which in (_CAPITALS, _SMALL, DIGITS))
    mixed = (capitals > 0) & (small > 0)
    long = (n >= 20) & mixed & (bits >= 3.8)
    with_digits = (digits > 0) & (bits >= 2.75)
    doubtful = np.flatnonzero(with_digits & (longest < 12) & ~long)
    with_digits[doubtful] = _are_dense(text, starts[doubtful], ends[doubtful])
    # Capital letters in the middle of words, often: none of a name in camel case, where small ones follow each.
    without = (digits == 0) & long & (longest >= 20)
    without[without] = _pairs_of_capitals(text, starts[without], ends[without]) > 1
    result: Bools = with_digits | without
    return result


def _counted(text: Text, which: Bools, starts: Ints, ends: Ints) -> Ints:
    """Return how many characters of a class each value holds."""
    marks = text.marks(which)
    return marks.count(ends) - marks.count(starts)


def _entropies(text: Text, starts: Ints, ends: Ints) -> npt.NDArray[np.float64]:
    """Return the entropies of the characters of values in bits, a few thousand values at once."""
    result = []
    for i in range(0, starts.size, _AT_ONCE):
        start, n = starts[i : i + _AT_ONCE], (ends - starts)[i : i + _AT_ONCE]
        places = np.arange(n.sum()) + np.repeat(start - np.cumsum(n) + n, n)
        cells = np.repeat(np.arange(n.size) * _N_SIGNS, n) + _SIGN_OF[text.codes[places]]
        counts = np.bincount(cells, minlength=n.size * _N_SIGNS).reshape(n.size, _N_SIGNS)
        result.append(np.log2(n) - _C_LOG_C[counts].sum(1) / n)
    return np.concatenate(result) + 1e-9


def _longest_parts(text: Text, starts: Ints, ends: Ints) -> Ints:
    """Return the lengths of the longest parts of values between hyphens, points and slashes."""
    marks = text.marks(_PARTS)
    signs = np.append(marks.places, text.codes.size)
    first, after = marks.count(starts), marks.count(ends)
    longest = np.where(after > first, np.maximum(signs[first] - starts, ends - signs[after - 1] - 1), ends - starts)
    several = np.flatnonzero(after - first > 1)
    if several.size:
        between = np.append(np.diff(signs) - 1, 0)
        inner = np.maximum.reduceat(between, np.stack((first[several], after[several] - 1), 1).ravel())[::2]
        longest[several] = np.maximum(longest[several], inner)
    return longest


def _pairs_of_capitals(text: Text, starts: Ints, ends: Ints) -> Ints:
    """Return how many pairs of capital letters values hold."""
    return text.capital_pairs.count(ends) - text.capital_pairs.count(starts)
