"""Generated captions of digits: some are certain, most are guesses that are sometimes wrong."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workbench.vision.digits import N_CLASSES

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PAD, CERTAIN = "<pad>", "typed"
GUESSES = (("looks", "like"), ("maybe", "a"), ("someone", "wrote"))
VOCABULARY = (PAD, CERTAIN, *(w for guess in GUESSES for w in guess), *NAMES)
WORDS = 3
"""Words of each caption; shorter ones are filled up with padding."""
CERTAIN_SHARE, RIGHT_SHARE = 0.1, 0.85
"""Share of captions that are typed in and always right; share of guesses that name the digit: the others name any digit."""
_ID = {word: i for i, word in enumerate(VOCABULARY)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Captions:
    """Word ids of captions, (n, WORDS), and which captions are certain: (n,)."""

    ids: npt.NDArray[np.int64]
    is_certain: npt.NDArray[np.bool_]


def captions(labels: npt.NDArray[np.int64], *, seed: int) -> Captions:
    """Return a random caption for each digit, from a seed."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((len(labels), WORDS), np.int64)
    certain = rng.random(len(labels)) < CERTAIN_SHARE
    for i, label in enumerate(labels):
        if certain[i]:
            words: tuple[str, ...] = (CERTAIN, NAMES[label])
        else:
            named = label if rng.random() < RIGHT_SHARE else rng.integers(N_CLASSES)
            words = (*GUESSES[rng.integers(len(GUESSES))], NAMES[named])
        ids[i, : len(words)] = [_ID[w] for w in words]
    return Captions(ids=ids, is_certain=certain)


def word_ids(text: str) -> npt.NDArray[np.int64]:
    """Return the ids of a caption, (1, WORDS); words that are not known count as padding."""
    ids = [_ID.get(word, 0) for word in text.lower().split()][:WORDS]
    return np.array([ids + [0] * (WORDS - len(ids))], np.int64)
