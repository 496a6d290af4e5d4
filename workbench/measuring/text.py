"""Windows of text that a model reads."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from workbench.core.errors import InvalidSpec

Ids = npt.NDArray[np.int64]


def read_text(path: str | None, *, default: Path) -> str:
    """A UTF-8 file, or the default one; raises ``InvalidSpec`` when it cannot be read."""
    source = Path(path).expanduser() if path else default
    try:
        return source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"The text {source} cannot be read: {error}.", remedy="Name a UTF-8 text file.") from error


def windows_of(ids: Ids, *, n: int, length: int, what: str) -> Ids:
    """Windows spread evenly over a text: (n, length); raises ``InvalidSpec`` when it is too short.

    Args:
        ids: (tokens,).
        n: Windows.
        length: Tokens of each.
        what: What the text is for, in the message.
    """
    if ids.size < n * length:
        fits = ids.size // length
        raise InvalidSpec(
            f"The {what} text has {ids.size} tokens; {n} windows of {length} need {n * length}.",
            remedy=f"Use at most {fits} windows or a longer text." if fits else "Use a longer text or shorter windows.",
        )
    starts = np.linspace(0, ids.size - length, n).astype(np.int64)
    return np.stack([ids[s : s + length] for s in starts])
