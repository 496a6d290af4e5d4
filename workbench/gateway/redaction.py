"""Redaction of personal data and secrets, which are found by form and check digit and replaced by their class, in texts and in streams.

Only what has a form can be found: names and addresses have none. Texts are searched in a plain form, and everything that is not replaced is returned
unchanged. Whether a place is found depends on few characters around it, so that time is linear in the length of any text.
"""

import re
from collections.abc import Iterator

import numpy as np

from workbench.gateway.detectors.accounts import accounts
from workbench.gateway.detectors.cards import SHORTEST as SHORTEST_CARD
from workbench.gateway.detectors.cards import cards
from workbench.gateway.detectors.digit_secrets import digit_secrets
from workbench.gateway.detectors.emails import emails
from workbench.gateway.detectors.finding import Finding, Findings, Ints, Spans, joined
from workbench.gateway.detectors.groups import Groups, Text
from workbench.gateway.detectors.identities import identities
from workbench.gateway.detectors.key_blocks import BEGIN, LONGEST_KEY, is_whole, key_blocks
from workbench.gateway.detectors.key_blocks import WORDS as KEY_WORDS
from workbench.gateway.detectors.normal import normal
from workbench.gateway.detectors.phones import phones
from workbench.gateway.detectors.secret_formats import LONGEST_SECRET
from workbench.gateway.detectors.secrets import secrets
from workbench.gateway.detectors.spelled_emails import spelled_emails

LONGEST = LONGEST_SECRET + 256
"""Largest number of characters of a finding and its context; outside of a private key a stream never holds back more than twice as many."""
CONTEXT = 128
"""Characters before a finding that its class may depend on, such as the word "phone"."""
MARK = "[{kind}]"
KINDS = ("PRIVATE KEY", "SECRET", "EMAIL", "IBAN", "CARD", "ID", "PHONE")
MARKS = [MARK.format(kind=kind) for kind in KINDS]
FEWEST_OF_ACCOUNT, FEWEST_DIGITS = 2, 4
"""Digits of a text that may hold an account number, or any other number."""
# Signs that are part of nothing but private keys: what stands before them is decided.
_HARD = r"\n\r,;<>\[\]{|\u2e80-\u9fff\uac00-\ud7a3\uff00-\uffef"
_AFTER_HARD = re.compile(rf"[\s\S]*[{_HARD}]")
_MAY_DECIDE = re.compile(rf"[\s{_HARD}]")
_MAY_GO_ON = re.compile(r"[^A-Za-z]|[A-Za-z]{1,4}\Z")
LONGEST_DOMAIN = 260
LONGEST_SPELLED = 2048
"""Characters of the end of a text in which an address may begin that is spelled out or encoded."""
_RUN = r"[^ \n\r\"\[\](){<>,@]"
_OPEN, _CLOSE, _SIGN = r"[\[({<]", r"[\])}>]", r"(?:at|dot|@|\.)"
_JOINS = rf" ?{_OPEN}{_SIGN}{_CLOSE} ?| (?:at|dot) |[ \n]?@[ \n]?|(?<==)\r?\n|\(\w{{1,24}}\)@"
_MAY_JOIN = (
    rf" ?{_OPEN}(?:{_SIGN}{_CLOSE}? ?|a|do?)?| (?:at ?|a|dot ?|do?)?|[ \n]?@[ \n]?|\n|(?<==)\r\n?|\(\w{{0,24}}\)?@?"
)
_SPELLED = re.compile(rf"(?<!{_RUN}){_RUN}++(?:(?:{_JOINS}){_RUN}++)*+(?:{_MAY_JOIN})?\Z", re.IGNORECASE)
_HOLDS_SIGN = re.compile(r"[&%\\=@ \n\[({<]|_(?:at|dot)|_[atdo]{0,3}\Z", re.IGNORECASE)
"""Signs without which the end of a text is no address that is spelled out."""
_OPEN_QUOTE = re.compile(r"\"[^ \n\r\",:;][^\n\r\"]{0,63}\"?\Z|\"\Z")
_DOMAIN_GOES_ON = re.compile(r"@(?:[^\s@,;<>\[\]{}|()\"'/:\u3000-\u3003\uff00-\uffef]*|\[[0-9.]*\]?)")


def findings(text: str, *, start: int = 0) -> list[Finding]:
    """Return the findings from ``start`` on, in the order of the text and without overlaps; the text before ``start`` is context only.

    Those that overlap are one finding, of the class of the one that begins first, and of the longest one where two begin at the same place.
    """
    return list(_found(text, start))


def _found(text: str, start: int = 0) -> Findings:
    """Return what ``findings`` does as arrays."""
    plain, codes, origin = normal(text)
    first = start if origin is None else int(np.searchsorted(origin, start))
    kinds, starts, ends = _merged(Text(codes, plain), first)
    if origin is not None:
        starts, ends = origin[starts], origin[ends - 1] + 1
    return Findings(KINDS, kinds, (starts, ends))


def _merged(text: Text, first: int) -> tuple[Ints, Ints, Ints]:
    """Return class, beginning and end of the findings from a place on, those that overlap as one."""
    found = [(kind, places) for kind, places in _proposed(text) if places[0].size]
    kinds = np.repeat([KINDS.index(kind) for kind, _ in found], [places[0].size for _, places in found]).astype(
        np.int64
    )
    starts, ends = joined(places for _, places in found)
    if first:
        kinds, starts, ends = (values[starts >= first] for values in (kinds, starts, ends))
    if not starts.size:
        return kinds, starts, ends
    # By beginnings, then the longest, then the class, as one number.
    order = np.argsort((starts << 32) - ((ends - starts) << 4) + kinds, kind="stable")
    kinds, starts, ends = kinds[order], starts[order], np.maximum.accumulate(ends[order])
    begins = np.flatnonzero(np.concatenate(([True], starts[1:] >= ends[:-1])))
    return kinds[begins], starts[begins], ends[np.append(begins[1:], starts.size) - 1]


def _proposed(text: Text) -> Iterator[tuple[str, Spans]]:
    plain = text.plain
    yield "SECRET", secrets(text)
    if "@" in plain:
        yield "EMAIL", emails(text)
    yield "EMAIL", spelled_emails(text)
    if any(word in plain for word in KEY_WORDS):
        yield "PRIVATE KEY", key_blocks(text)
    groups = Groups(text)
    n_digits = int(groups.digits_before[-1])
    if n_digits >= FEWEST_OF_ACCOUNT:
        yield "IBAN", accounts(text)
    if n_digits >= FEWEST_DIGITS:
        yield "SECRET", digit_secrets(groups)
        yield "ID", identities(groups)
        yield "PHONE", phones(groups)
    if n_digits >= SHORTEST_CARD:
        yield "CARD", cards(groups)


def load() -> None:
    """Read the metadata of telephone and account numbers and the forms of all scripts, so that no request waits for them."""
    redact_text(
        "é +1 415 555 2671, DE89370400440532013000, tel 030 901820, a@example.com, ID 12345678Z 4111111111111111"
    )


def redact_text(text: str) -> tuple[str, Findings]:
    """Return the text with its findings replaced, and the findings with their places in the original text."""
    replaced = _found(text)
    return replaced.replaced_in(text, MARKS), replaced


class StreamRedactor:
    """Redaction of a text that arrives in pieces: the joined output is what ``redact_text`` returns for the whole text, however it was cut."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._n_held = 0
        self._wait_for = 0
        self._before = ""
        self.counts: dict[str, int] = {}

    def feed(self, piece: str) -> str:
        """Return what is decided after one more piece: all but the last word and the words that it may continue."""
        self._pieces.append(piece)
        self._n_held += len(piece)
        if self._n_held < self._wait_for or (self._n_held <= 2 * LONGEST and not _MAY_DECIDE.search(piece)):
            return ""
        held = "".join(self._pieces)
        self._pieces = [held]
        undecided = _undecided_from(held)
        is_key = undecided < len(held) and _begins_key(held, undecided)
        self._wait_for = 0
        if is_key:
            # A key is looked at again when it has grown by a tenth, so that many small pieces take no quadratic time.
            self._wait_for = len(held) + max(16, (len(held) - undecided) // 10)
            return self._release(held, undecided) if undecided else ""
        until = max(undecided, len(held) - LONGEST) if len(held) > 2 * LONGEST else undecided
        return self._release(held, until) if until > 0 else ""

    def end(self) -> str:
        """Return what was held back until the end of the text."""
        held = "".join(self._pieces)
        return self._release(held, len(held)) if held else ""

    def _release(self, held: str, until: int) -> str:
        """Return the redacted text before a place, or before the finding that lies across it."""
        text, shift = self._before + held, len(self._before)
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
        self._before, held = text[max(0, limit - CONTEXT) : limit], text[limit:]
        self._pieces, self._n_held = [held], len(held)
        self._wait_for -= limit - shift
        return "".join(parts)


def _begins_key(text: str, place: int) -> bool:
    return BEGIN.match(normal(text[place : place + 80])[0]) is not None


def _undecided_from(text: str) -> int:
    """Return the beginning of the part that may still become a finding with more text."""
    plain, _, origin = normal(text)
    place = _undecided_plain(plain)
    if place == len(plain):
        return len(text)
    return place if origin is None else origin[place]


def _undecided_plain(plain: str) -> int:
    for key in BEGIN.finditer(plain) if any(word in plain for word in KEY_WORDS) else ():
        if not is_whole(plain, key) and len(plain) - key.start() < LONGEST_KEY:
            return key.start()
    dashes = plain.rfind("----", max(0, len(plain) - 64))
    if dashes >= 0 and not BEGIN.search(plain, max(0, dashes - 60)):
        first_dash = len(plain[:dashes].rstrip("-"))
        if dashes - first_dash <= 8 and "\n" not in plain[dashes:]:
            return min(first_dash, _words_undecided(plain))
    return _words_undecided(plain)


def _words_undecided(plain: str) -> int:
    """Return the beginning of what the last words may still become; an address goes on over signs that end everything else."""
    place = _number_undecided(plain)
    at = plain.rfind("@", max(0, len(plain) - LONGEST_DOMAIN))
    if at > 0 and _DOMAIN_GOES_ON.fullmatch(plain, at):
        place = min(place, _number_undecided(plain[: at + 1]), _quoted_undecided(plain, at))
    return min(place, _spelled_undecided(plain), _quoted_undecided(plain, len(plain)))


def _spelled_undecided(plain: str) -> int:
    """Return the beginning of what may become an address that is spelled out or encoded."""
    first = max(0, len(plain) - LONGEST_SPELLED)
    last = _SPELLED.search(plain, first)
    if last is None or not _HOLDS_SIGN.search(plain, last.start()):
        return len(plain)
    return last.start()


def _quoted_undecided(plain: str, end: int) -> int:
    """Return the beginning of a name in quotation marks that reaches a place, or may reach it with more text."""
    tail = plain[max(0, end - 66) : end]
    last = _OPEN_QUOTE.search(tail)
    return end - len(tail) + last.start() if last else len(plain)


def _number_undecided(plain: str) -> int:
    """Return the beginning of the last word, or of the first one before it that may belong to the same number."""
    hard = _AFTER_HARD.match(plain)
    line = hard.end() if hard else 0
    start = plain.rfind(" ", line) + 1 or line
    start = max(start, line)
    place = start
    while start > line:
        end = len(plain[line:start].rstrip(" ")) + line
        before = max(plain.rfind(" ", line, end) + 1, line)
        word = plain[before:end]
        if not word or not _MAY_GO_ON.search(word):
            break
        if not word.isascii() or not word.isalpha() or len(word) <= 2:
            place = before
        start = before
    return place
