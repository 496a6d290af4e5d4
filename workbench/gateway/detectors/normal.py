"""The plain form in which a text is searched: one character for each of the text, or none for those that cannot be seen.

Digits of every script become ASCII digits, blanks of every width one space, dashes one hyphen, and wide letters and signs narrow ones. A wide comma
stays apart from the decimal comma. No character depends on its neighbours, so that a part of a text has the part of its plain form.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint32]
INVISIBLE = (0xAD, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF)
"""Characters without a width, which may stand inside anything: soft hyphen, joiners, marks of direction, byte order mark."""
DROPPED = 0x110000
LINE_BREAKS = "\n\r"


@cache
def _plain() -> Codes:
    """Return the plain code of every code point."""
    table = np.arange(0x110001, dtype=np.uint32)
    for code in range(0x80, 0x110000):
        table[code] = _plain_code(chr(code))
    for code in (0x09, 0x0B, 0x0C, 0x85):
        table[code] = 0x20
    table[list(INVISIBLE)] = DROPPED
    return table


def _plain_code(char: str) -> int:
    category = unicodedata.category(char)
    if category in {"Cn", "Co", "Cs"} or 0x3400 <= ord(char) <= 0x9FFF or 0xAC00 <= ord(char) <= 0xD7A3:
        return ord(char)
    if category in {"Zs", "Zl", "Zp"}:
        return 0x20
    if category == "Pd" or char == "\u2212":
        return 0x2D
    if category == "Nd":
        return 0x30 + unicodedata.digit(char)
    normal = unicodedata.normalize("NFKC", char)
    is_plain = len(normal) == 1 and category not in {"No", "Nl", "Lm"} and char not in "\uff0c\uff1b\uff1a"
    return ord(normal) if is_plain else ord(char)


def codes_of(text: str) -> Codes:
    """Return the code points of a text."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8).astype(np.uint32)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def normal(text: str) -> tuple[str, Codes, Sequence[int] | None]:
    """Return the plain form of a text, its codes, and the original place of each of its characters; None where the places are the same."""
    if text.isascii():
        plain = text.translate({9: " ", 11: " ", 12: " "}) if any(c in text for c in "\t\v\f") else text
        return plain, codes_of(plain), None
    codes = _plain()[codes_of(text)]
    if (codes == DROPPED).any():
        kept = np.flatnonzero(codes != DROPPED)
        codes = codes[kept]
        return codes.tobytes().decode("utf-32-le", "surrogatepass"), codes, [*kept.tolist(), len(text)]
    return codes.tobytes().decode("utf-32-le", "surrogatepass"), codes, None
