"""E-mail addresses that are spelled out or encoded: "name at host dot com", "name [at] host.com", "name&#64;host.com", "name%40host.com", "name @ host.com".

Such signs are put back into a copy of the text, which is searched as any other; what was put back decides how much more an address must look like one.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from workbench.gateway.detectors.emails import addresses
from workbench.gateway.detectors.finding import Ints, Spans, neighbourhoods, spans
from workbench.gateway.detectors.groups import (
    ALNUM,
    LETTERS,
    WORD,
    Bools,
    Bytes,
    Text,
    is_among,
    packed,
    packed_words,
    table,
)
from workbench.gateway.detectors.marks import Marks
from workbench.gateway.detectors.normal import Codes

_PLAIN, _ENCODED, _SPELLED, _UNDERSCORED, _APART, _BEHIND_BLANK = range(6)
"""How the @ of an address is written: as itself, in code or brackets, as a word, between underscores, before a blank, or only after one."""
_SIGNS = (
    *((b" at ", ord("@"), _SPELLED), (b"_at_", ord("@"), _UNDERSCORED), (b"\\@", ord("@"), _APART)),
    *((b"&commat;", ord("@"), _ENCODED), (b" dot ", ord("."), _PLAIN), (b"_dot_", ord("."), _PLAIN)),
    (b"&period;", ord("."), _PLAIN),
)
_ENDINGS = (
    "com org net edu gov mil int info biz name mobi jobs museum aero coop dev app xyz online shop store site tech cloud blog club live news agency email "
    "work world digital media studio design company systems academy solutions technology consulting services support example "
    "ac ad ae af ag ai al ao ar at au aw az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bw bz ca cc cd cf cg ch ci cl cm cn co cr cu cv cy cz de dj "
    "dk dm dz ec ee eg er es et eu fi fj fm fo fr ga gb gd ge gg gh gi gl gm gn gp gr gt gy hk hn hr ht hu ie il im io iq ir it je jm jo jp ke "
    "kg kh kr kw ky kz la lb li lk lr ls lt lu lv ly ma mc md me mg mk ml mm mn mo mp mr mt mu mv mw mx mz na ne ng ni nl no np nu nz om pa pe pf "
    "pg ph pk pl pr ps pt pw qa re ro rs ru rw sa sb sc sd se sg si sk sl sm sn sr st sv sy sz tc td tg th tj tl tm tn tr tt tv tw tz ua ug uk us uy "
    "uz va vc ve vg vn vu ws ye yt za zm zw in id"
)
"""Last labels of domains behind an @ that a word or blanks stand for, but for those that are English words."""
_WORDS = (
    "look looks looked looking work works worked working meet meets met arrive arrived is are was were be been it us me him her them available hosted "
    "found live lives stay stayed available read more and or the a an here there now out visit see me you up down only starts started runs running"
)
"""Words that stand before "at" and name nobody."""
LONGEST_COMMENT = 25
"""Characters of a comment between a name and its @."""
_PACKED_ENDINGS, _PACKED_WORDS = packed_words(_ENDINGS.split()), packed_words(_WORDS.split())
_IS_BLANK = table(" \n")
_AT_CODES = (b"%40", b"&#64;", b"&#064;", b"&#x40;", b"&commat;", b"\\u0040", b"\\x40")
_LABEL = ALNUM | table("-") | (np.arange(256) > 0x7F)
_ENDS_COMMENT = table(")\\")
_ENDS_NAME = _LABEL | table("_+%~'!*$#.;}\"") | _ENDS_COMMENT
_BEGINS_CODE, _OPENS, _CLOSES, _IN_BRACKETS = table("&%\\"), table("[({<"), table("])}>"), table("@.ad")
COMPARED = 3
"""Characters of words that are looked for everywhere; the others are where these stand."""
LONGEST_WRAPPED = 76
"""Characters of a line of quoted-printable text."""
BEFORE, AFTER, EDGE = 128, 280, 16
"""Characters around an @ in which its address is looked for, encoded or not; and behind the end of a text."""
_HEX = np.full(256, 0xFF, np.uint8)
_HEX[[ord(sign) for sign in "0123456789abcdef"]] = range(16)


class _Copy:
    """A copy of a text in which signs are put back."""

    def __init__(self, text: Text) -> None:
        n = text.codes.size
        self.text, self.raw = text, text.codes.tobytes().lower()
        self.low = np.frombuffer(self.raw, np.uint8)
        self.codes: Codes = text.wide.copy()
        self.dropped, self.is_put_back = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        self.lengths: Bytes = np.ones(n, np.uint8)
        self.written: Bytes = np.zeros(n, np.uint8)

    def put(self, sign: int | Bytes, starts: Ints, n: int, *, written: int = _ENCODED) -> None:
        """Put a sign in the place of n characters."""
        self.codes[starts] = sign
        self.lengths[starts] = n
        self.is_put_back[starts] = True
        self.written[starts] = np.where(self.codes[starts] == ord("@"), written, _PLAIN)
        for i in range(1, n):
            self.dropped[starts + i] = True

    def places(self, word: bytes) -> Ints:
        """Return where a word of small letters stands."""
        return _places(self.low, self.raw, word)


def _places(low: Bytes, raw: bytes, word: bytes) -> Ints:
    if word[0] not in raw or low.size < len(word):
        return np.zeros(0, np.int64)
    n = low.size - len(word) + 1
    begins = low[:n] == word[0]
    for i in range(1, min(len(word), COMPARED)):
        begins &= low[i : n + i] == word[i]
    found = np.flatnonzero(begins)
    for i in range(COMPARED, len(word)):
        found = found[low[found + i] == word[i]]
    return found


def spelled_emails(text: Text) -> Spans:
    """Return the addresses of a text whose signs are spelled out or encoded, or stand apart."""
    raw = text.codes.tobytes().lower()
    near = _near_signs(text, np.frombuffer(raw, np.uint8), raw)
    if not near.size:
        return spans(())
    codes = text.wide[near]
    codes[np.flatnonzero(near[1:] - near[:-1] > 1)] = ord("\n")
    copy = _Copy(Text(codes))
    _put_encoded(copy)
    _put_words(copy)
    _join_apart(copy)
    kept = np.flatnonzero(~copy.dropped)
    codes, put_back = copy.codes[kept], copy.is_put_back[kept]
    ats = np.flatnonzero(codes == ord("@"))
    blank = Marks((codes == ord(" ")) | (codes == ord("\n")) | (codes == ord("\r")))
    ats = ats[(copy.written[kept[ats]] > _PLAIN) | (Marks(put_back).next(ats + 1) < blank.next(ats + 1))]
    around = neighbourhoods(ats, codes.size, before=BEFORE, after=AFTER)
    kept, codes, put_back = kept[around], codes[around], put_back[around]
    codes[np.flatnonzero(around[1:] - around[:-1] > 1)] = ord("\n")
    plain, written = Text(codes), copy.written[kept]
    ats, starts, ends, last = addresses(plain, np.searchsorted(around, ats))
    in_domain = Marks(put_back).next(ats + 1) < ends
    good = (last > 0) & (plain.at(starts) != ord('"')) & _is_address(plain, written[ats], in_domain, ats, starts, last)
    starts, final = kept[starts[good]], kept[ends[good] - 1]
    return near[starts], near[final] + copy.lengths[final]


def _near_signs(text: Text, low: Bytes, raw: bytes) -> Ints:
    """Return the places around every sign that may be the @ of such an address: a label and what may be a point follow it."""
    padded = np.concatenate((low, np.full(EDGE, 10, np.uint8)))
    signs = {sign for sign in b"@%&\\[({<=" if sign in raw}
    bracketed = _bracketed(text, padded) if signs.intersection(b"[({<") else None
    has_dots = b" dot " in raw or (bracketed is not None and bool((~bracketed.is_at).any()))
    ats = np.flatnonzero(low == ord("@")) if ord("@") in signs else np.zeros(0, np.int64)
    before = text.at(ats - 1)
    is_apart = _IS_BLANK[before] | _IS_BLANK[text.at(ats + 1)] | _ENDS_COMMENT[before]
    is_named = _ENDS_NAME[np.where(_IS_BLANK[before], text.at(ats - 2), before)]
    behind_blank = np.flatnonzero(is_named & _IS_BLANK[before] & ~_IS_BLANK[text.at(ats + 1)])
    is_named[behind_blank] = ~_names_nobody(text, ats[behind_blank] - 1)
    ats, is_apart = ats[is_named], is_apart[is_named]
    labels = [ats + 1 + _IS_BLANK[text.at(ats + 1)]]
    labels += [_places(low, raw, word) + len(word) for word in _AT_CODES if word[0] in signs]
    if bracketed is not None:
        after = (bracketed.starts + bracketed.lengths)[bracketed.is_at]
        labels.append(after + (padded[after] == ord(" ")))
    if has_dots:
        labels.append(_places(low, raw, b" at ") + len(b" at "))
    has_lines = ord("_") in raw and b"_dot_" in raw
    if has_lines:
        labels.append(_places(low, raw, b"_at_") + len(b"_at_"))
    first = np.concatenate(labels)
    if not first.size:
        return first
    stop = text.marks(~_LABEL).next(np.minimum(first, low.size))
    sign = padded[stop]
    is_point = _BEGINS_CODE[sign]
    if has_dots:
        is_point |= _OPENS[sign] | (sign == ord(" "))
    good = is_point & ((stop > first) | _BEGINS_CODE[sign])
    of_name = (sign == ord(".")) & (stop > first) & _LABEL[padded[stop + 1]]
    good[: ats.size] |= of_name[: ats.size] & is_apart
    good[ats.size :] |= of_name[ats.size :]
    if has_lines:
        good |= sign == ord("_")
    if ord("=") in signs:
        wraps = np.append(np.sort(np.append(_places(low, raw, b"=\n"), _places(low, raw, b"=\r\n"))), 2 * low.size)
        good |= wraps[np.searchsorted(wraps, first)] - first < LONGEST_WRAPPED
    return neighbourhoods(np.sort(first[good]), low.size, before=BEFORE, after=AFTER)


def _names_nobody(text: Text, blanks: Ints) -> Bools:
    """Return whether what stands before these blanks is a word of letters alone, or the domain of another address."""
    if not blanks.size:
        return np.zeros(0, np.bool_)
    before, letters_from = text.marks(~_ENDS_NAME).last(blanks), text.marks(~LETTERS).last(blanks)
    result: Bools = (text.at(before) == ord("@")) | (letters_from == before)
    return result


class _Bracketed(NamedTuple):
    """Signs and words for them in brackets."""

    starts: Ints
    lengths: Ints
    is_at: Bools


def _bracketed(text: Text, padded: Bytes) -> _Bracketed:
    """Return the signs @ and ., and the words for them, that stand alone in brackets."""
    opens = text.marks(_OPENS).places
    second = padded[opens + 1]
    opens, second = opens[_IN_BRACKETS[second]], second[_IN_BRACKETS[second]]
    third, fourth, fifth = (padded[opens + i] for i in (2, 3, 4))
    sign = ((second == ord("@")) | (second == ord("."))) & _CLOSES[third]
    at = (second == ord("a")) & (third == ord("t")) & _CLOSES[fourth]
    dot = (second == ord("d")) & (third == ord("o")) & (fourth == ord("t")) & _CLOSES[fifth]
    good = sign | at | dot
    lengths = 3 + at + 2 * dot
    return _Bracketed(opens[good], lengths[good], (at | (second == ord("@")))[good])


def _is_address(text: Text, written: Bytes, in_domain: Bools, ats: Ints, starts: Ints, last: Ints) -> Bools:
    """Return which of the addresses look like ones for the way in which they are written."""
    result = np.where(written == _PLAIN, in_domain, True)
    loose = np.flatnonzero(written > _ENCODED)
    if loose.size:
        written, in_domain = written[loose], in_domain[loose]
        ats, starts, last = ats[loose], starts[loose], last[loose]
        others = text.marks(~LETTERS)
        end = others.next(last)
        known = is_among(packed(text, last, end), _PACKED_ENDINGS)
        begins = ALNUM[text.at(starts)]
        of_letters = others.next(starts) >= ats
        named = is_among(packed(text, starts, ats), _PACKED_WORDS) | (of_letters & (ats - starts < 3) & ~in_domain)
        result[loose] = known & ~named & begins
        result[loose] &= in_domain | ((written != _SPELLED) & (written != _UNDERSCORED))
        result[loose] &= ~of_letters | (written != _BEHIND_BLANK)
    return result


def _put_encoded(copy: _Copy) -> None:
    """Put back what is written as an entity of HTML, an octet of a URL, or an escape of JSON, Python or C."""
    at = _at_of(copy.low)
    for prefix, n in ((b"%", 3), (b"\\u00", 6), (b"\\x", 4), (b"&#x", 6)):
        starts = copy.places(prefix)
        if not starts.size:
            continue
        first = starts + len(prefix)
        high, low = _HEX[at(first)], _HEX[at(first + 1)]
        code = (high.astype(np.int64) << 4) | low
        good = (high < 16) & (low < 16) & (code > 0x20) & (code < 0x7F)
        if prefix == b"&#x":
            good &= at(first + 2) == ord(";")
        copy.put(code[good].astype(np.uint8), starts[good], n)
    starts = copy.places(b"&#")
    if not starts.size:
        return
    digits = [at(starts + i).astype(np.int64) - ord("0") for i in (2, 3, 4)]
    is_digit = [(digit >= 0) & (digit < 10) for digit in digits]
    two, three = is_digit[0] & is_digit[1], is_digit[0] & is_digit[1] & is_digit[2]
    for n, ended, code in (
        (5, two & (at(starts + 4) == ord(";")), 10 * digits[0] + digits[1]),
        (6, three & (at(starts + 5) == ord(";")), 100 * digits[0] + 10 * digits[1] + digits[2]),
    ):
        good = ended & (code > 0x20) & (code < 0x7F)
        copy.put(code[good].astype(np.uint8), starts[good], n)


def _at_of(low: Bytes) -> Callable[[Ints], Bytes]:
    padded = np.concatenate((low, np.full(EDGE, 10, np.uint8)))
    return padded.__getitem__


def _put_words(copy: _Copy) -> None:
    """Put back what is written as a word."""
    for word, sign, written in _SIGNS:
        copy.put(sign, copy.places(word), len(word), written=written)
    found = _bracketed(copy.text, np.concatenate((copy.low, np.full(EDGE, 10, np.uint8))))
    for n in (3, 4, 5):
        those = found.lengths == n
        starts = found.starts[those]
        copy.put(np.where(found.is_at[those], ord("@"), ord(".")).astype(np.uint8), starts, n)
        for beside in (starts - 1, starts + n):
            copy.dropped[beside[copy.text.at(beside) == ord(" ")]] = True


def _join_apart(copy: _Copy) -> None:
    """Leave out the blanks and line breaks around each @, and soft line breaks."""
    at = copy.text.at
    for softly in (b"=\n", b"=\r\n"):
        starts = copy.places(softly)
        for i in range(len(softly)):
            copy.dropped[starts + i] = True
        starts = starts[starts + len(softly) < copy.is_put_back.size]
        copy.is_put_back[starts + len(softly)] = True
    _drop_comments(copy)
    ats = np.flatnonzero(copy.text.codes == ord("@"))
    before, after = _IS_BLANK[at(ats - 1)], _IS_BLANK[at(ats + 1)]
    before &= ats > 0
    after &= ats + 1 < copy.text.codes.size
    copy.dropped[ats[before] - 1] = True
    copy.dropped[ats[after] + 1] = True
    copy.written[ats[after]] = _APART
    copy.written[ats[before & ~after]] = _BEHIND_BLANK


def _drop_comments(copy: _Copy) -> None:
    """Leave out a word in brackets between a name and its @."""
    closing = copy.places(b")@")
    if not closing.size:
        return
    opening = np.maximum(copy.text.marks(~WORD).last(closing), 0)
    good = (copy.low[opening] == ord("(")) & (closing - opening > 1) & (closing - opening <= LONGEST_COMMENT)
    opening, closing = opening[good], closing[good]
    for i in range(LONGEST_COMMENT + 1):
        copy.dropped[(opening + i)[opening + i <= closing]] = True
    copy.written[closing + 1] = _APART
