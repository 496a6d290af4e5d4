"""The plain form in which a text is searched: one character for each of the text, or none for those that cannot be seen.

Digits of every script become ASCII digits, blanks of every width one space, dashes one hyphen, and wide letters and signs narrow ones. A wide comma
stays apart from the decimal comma. No character depends on its neighbours, so that a part of a text has the part of its plain form.
"""

import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint32] | npt.NDArray[np.uint8]
INVISIBLE = (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10))
"""Characters without a width, which may stand inside anything, beside all of the category of formats (soft hyphen, joiners, marks of direction)."""
DROPPED = 0x110000
LAST_PLAIN = 0x20000
"""First code behind the planes of which any code has another plain form; only the tags of plane 14 are invisible."""
LINE_BREAKS = "\n\r"


@cache
def _plain() -> npt.NDArray[np.uint32]:
    """Return the plain code of every code point."""
    table = np.arange(0x110001, dtype=np.uint32)
    for code in (*range(0x80, 0x3400), *range(0xA000, 0xAC00), *range(0xF900, LAST_PLAIN)):
        table[code] = _plain_code(chr(code))
    table[0xE0000:0xE01F0] = DROPPED
    for code in (0x09, 0x0B, 0x0C, 0x85, 0x2800, 0x3164, 0xFFA0):
        table[code] = 0x20
    table[list(INVISIBLE)] = DROPPED
    return table


def _plain_code(char: str) -> int:
    category = unicodedata.category(char)
    if category == "Cf":
        return DROPPED
    if category in {"Cn", "Co", "Cs"}:
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
    """Return the code points of a text, in bytes where it is of ASCII."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.array([text]).view(np.uint32)


def text_of(codes: Codes) -> str:
    """Return the text of code points, halves of surrogate pairs too; an array of texts drops zeros at the end."""
    if not codes.size:
        return ""
    return str(codes.astype(np.uint32, copy=False).view(f"U{codes.size}")[0]).ljust(codes.size, "\0")


def normal(text: str) -> tuple[str, Codes, npt.NDArray[np.int64] | None]:
    """Return the plain form of a text, its codes, and the original place of each of its characters; None where the places are the same."""
    if text.isascii():
        plain = text.translate({9: " ", 11: " ", 12: " "}) if any(c in text for c in "\t\v\f") else text
        return plain, codes_of(plain), None
    codes = _plain().take(codes_of(text))
    if (codes == DROPPED).any():
        kept = np.flatnonzero(codes != DROPPED)
        codes = codes[kept]
        return text_of(codes), codes, np.append(kept, len(text))
    return text_of(codes), codes, None
