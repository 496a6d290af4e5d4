"""Windows of text that a model reads."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workbench.core.errors import InvalidSpec, system_message
from workbench.core.language import gettext

Ids = npt.NDArray[np.int64]


def read_text(path: str | None, *, default: Path) -> str:
    """A UTF-8 file, or the default one; raises ``InvalidSpec`` when it cannot be read."""
    source = Path(path).expanduser() if path else default
    try:
        return source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSpec(
            gettext("The text {source} cannot be read: {error}.").format(source=source, error=system_message(error)),
            remedy=gettext("Name a UTF-8 text file."),
        ) from error


def windows_of(ids: Ids, *, n: int, length: int, what: str, prefix: Ids | None = None) -> Ids:
    """Windows spread evenly over a text: (n, length); raises ``InvalidSpec`` when it is too short.

    Args:
        ids: (tokens,).
        n: Windows.
        length: Tokens of each, those of the prefix included.
        what: What the text is for, in the message.
        prefix: Special tokens that stand at the start of each window, such as BOS: (tokens,).
    """
    before = np.empty(0, dtype=np.int64) if prefix is None else prefix
    own = length - before.size
    if own < 1:
        raise InvalidSpec(
            gettext(
                "Windows of {length} tokens have no room after the {size} special tokens of this tokenizer."
            ).format(length=length, size=before.size),
            remedy=gettext("Use longer windows."),
        )
    if ids.size < n * own:
        fits = ids.size // own
        raise InvalidSpec(
            gettext("The {what} text has {size} tokens; {n} windows of {own} need {needed}.").format(
                what=what, size=ids.size, n=n, own=own, needed=n * own
            ),
            remedy=gettext("Use at most {fits} windows or a longer text.").format(fits=fits)
            if fits
            else gettext("Use a longer text or shorter windows."),
        )
    starts = np.linspace(0, ids.size - own, n).astype(np.int64)
    return np.stack([np.concatenate([before, ids[s : s + own]]) for s in starts])


SHARED_RUN = 64  # tokens in a row that two texts have in common only if one was copied from the other


def require_disjoint(calibration: Ids, test: Ids) -> None:
    """Raise ``InvalidSpec`` where calibration windows have text in common with test windows: (windows, tokens) each."""
    run = min(SHARED_RUN, calibration.shape[1], test.shape[1])
    seen = {key for row in calibration for key in _runs(row, run)}
    shared = sum(any(key in seen for key in _runs(row, run)) for row in test)
    if shared:
        raise InvalidSpec(
            gettext(
                "{shared} of {n} test windows have text in common with the calibration text, so that the method would be tested on what it was calibrated on."
            ).format(shared=shared, n=len(test)),
            remedy=gettext("Name a calibration text and an evaluation text that do not overlap."),
        )


def _runs(row: Ids, length: int) -> Iterator[int]:
    """Yield a hash of each run of tokens of a window: (tokens,)."""
    for start in range(row.size - length + 1):
        yield hash(row[start : start + length].tobytes())
