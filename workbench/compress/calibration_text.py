"""Text that quantizers are calibrated on: never text that a model is then scored on."""

from collections.abc import Callable

import numpy as np

from workbench.catalog.paths import CALIBRATION_TEXT, HELD_OUT_TEXT
from workbench.compress.variant import Ids
from workbench.core.errors import InvalidSpec

CALIBRATION_WINDOWS = 8
SHARED_TOKENS = 16
"""So many tokens in a row that are in both texts are the same text."""


def calibration_windows(token_ids: Callable[[str], Ids], *, scored: Ids | None, length: int) -> Ids:
    """Return windows of text that shares nothing with the scored windows: (``CALIBRATION_WINDOWS``, length).

    Args:
        token_ids: From a text to its tokens, as the model reads them.
        scored: (windows, tokens) on which the model is scored; None where it is not.
        length: Tokens of each window.

    Raises:
        InvalidSpec: neither text that ships has enough tokens beside the scored ones.
    """
    known = set() if scored is None else {run for window in scored for run in _runs(window)}
    for source in (CALIBRATION_TEXT, HELD_OUT_TEXT):
        ids = token_ids(source.read_text(encoding="utf-8"))
        windows = ids[: ids.size // length * length].reshape(-1, length)
        apart = [w for w in windows if known.isdisjoint(_runs(w))] if known else list(windows)
        if len(apart) >= CALIBRATION_WINDOWS:
            chosen = np.linspace(0, len(apart) - 1, CALIBRATION_WINDOWS).astype(int)
            return np.stack([apart[i] for i in chosen])
    raise InvalidSpec(
        f"There are no {CALIBRATION_WINDOWS} windows of {length} tokens to calibrate on beside the scored text.",
        remedy="Use shorter windows or another text.",
    )


def _runs(window: Ids) -> list[bytes]:
    """Return all runs of ``SHARED_TOKENS`` tokens in a row."""
    n = min(SHARED_TOKENS, window.size)
    return [window[i : i + n].tobytes() for i in range(window.size - n + 1)]
