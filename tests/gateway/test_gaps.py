"""What stands between a name and its value is judged as the expression says, which is asked for few gaps."""

import random
from itertools import product

import numpy as np

from workbench.gateway.detectors import gaps
from workbench.gateway.detectors.groups import Text
from workbench.gateway.detectors.normal import codes_of

PIECES = [*" :=>|*\"'`?-(\\,\n.x1", "for ", "für ", "von Ü", "is ", "İs ", "WAS ", "lautet ", "Bearer ", "token ", "value", "：", "是", "为", "\0"]  # fmt: skip


def judged(parts, *, is_parted):
    """What is judged of gaps in one text, each between a name and a value."""
    text, places = "", []
    for part in parts:
        places.append((len(text) + 3, len(text) + 3 + len(part)))
        text += f"key{part}aB3dE5gH\n"
    begins, ends = np.array(places, np.int64).T
    return gaps.are_gaps(Text(codes_of(text), text), begins, ends, is_parted=is_parted).tolist()


def test_gaps_are_judged_as_the_expression_says():
    rng = random.Random(2)
    parts = [*map("".join, product(PIECES, repeat=2)), *PIECES]
    parts += ["".join(rng.choices(PIECES, k=rng.randrange(3, 7))) for _ in range(5000)]
    found = [gaps.GAP.fullmatch(part) is not None for part in parts]
    assert 200 < sum(found) < len(found) - 200
    assert judged(parts, is_parted=False) == found
    parted = [bool(ok and gaps.PARTED.search(part)) for ok, part in zip(found, parts, strict=True)]
    assert judged(parts, is_parted=True) == parted


def test_no_expression_is_asked_for_gaps_of_signs_or_of_other_words(monkeypatch):
    asked = []
    monkeypatch.setattr(gaps, "_each", lambda finds, text, begins, ends: asked.extend(begins) or begins < 0)
    judged([f" {a}{b} " for a, b in product("abcdefghijklmnopqrstuvwxyz", repeat=2)] * 3, is_parted=True)
    judged(["=", ": ", ' "'] * 100, is_parted=True)
    assert len(asked) <= 3 * 16  # as many as "is", "of" and such words may begin
