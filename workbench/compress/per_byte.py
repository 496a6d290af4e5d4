"""What a model needs for a byte of text, in bits: the figure that models with different tokenizers have in common."""

import math
from dataclasses import dataclass

import numpy as np

from workbench.compress.checkpoint_model import CheckpointModel, Ids
from workbench.compress.folder import prefix_ids, require_context, token_starts
from workbench.core.errors import InvalidSpec

CHARACTERS_PER_TOKEN = 2  # fewer than text has, so that few tokenizers make more tokens of a stretch than a window has
CONTEXT_SHARE = 8  # of a stretch, the first one is context and not scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A stretch of text as a tokenizer splits it."""

    ids: Ids
    """Special tokens and tokens: (tokens,)."""
    scored: Ids
    """Positions of the tokens that are scored, never the first."""
    n_bytes: int
    """Bytes (UTF-8) of the scored tokens."""


def stretches(place: str, text: str, *, n: int, tokens: int) -> list[Stretch]:
    """Return stretches spread evenly over a text, the same characters for every tokenizer.

    Args:
        place: Folder of the model.
        text: Text that has room for all stretches.
        n: Stretches.
        tokens: Length of the windows that other models are compared on, which decides the characters.

    Raises:
        InvalidSpec: A stretch is too short to be scored, or longer than the model's context.
    """
    size = min(tokens * CHARACTERS_PER_TOKEN, len(text) // n)
    found = [
        _stretch(place, text[s : s + size], size // CONTEXT_SHARE)
        for s in np.linspace(0, len(text) - size, n).astype(int)
    ]
    require_context(place, max(s.ids.size for s in found))
    if not all(s.n_bytes for s in found):
        raise InvalidSpec(f"Stretches of {size} characters are too short to be scored.", remedy="Use longer windows.")
    return found


def _stretch(place: str, text: str, start: int) -> Stretch:
    before, (ids, begins) = prefix_ids(place), token_starts(place, text)
    scored = np.asarray([i for i, begin in enumerate(begins) if begin >= start and before.size + i > 0], dtype=np.int64)
    n_bytes = len(text[begins[scored[0]] :].encode()) if scored.size else 0
    return Stretch(ids=np.concatenate([before, ids]), scored=scored + before.size, n_bytes=n_bytes)


def bits_per_byte(model: CheckpointModel, parts: list[Stretch]) -> list[float]:
    """Return the bits that a model needs for a byte of each stretch of text."""
    return [model.nll_nat(s.ids, s.scored) / s.n_bytes / math.log(2) for s in parts]
