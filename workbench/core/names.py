"""Names that a reader may have meant instead of one that nothing has."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

from workbench.core.language import gettext

MOST = 3
LEAST_LIKENESS = 0.68
ENDINGS = re.compile(r"[-_](instruct|chat|it|hf|base|pt|bf16|fp8)$")
"""Ends of model names behind which the same shape has another name."""


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names that are most like a name, best first; [] where none is.

    Names are alike in any case, with or without the owner before the slash and an ending such as ``-Instruct``.
    """
    scored = sorted((-_likeness(name, other), len(other), other) for other in set(known))
    return [other for minus, _, other in scored[:MOST] if -minus >= max(LEAST_LIKENESS, -scored[0][0] - 0.05)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the question with the nearest names; "" where none is near."""
    names = nearest(name, known)
    return (
        gettext("Did you mean {names}?").format(names=gettext(" or ").join(", ".join(names).rsplit(", ", 1)))
        if names
        else ""
    )


def _likeness(name: str, other: str) -> float:
    """Return how alike two names are, from 0 to 1; numbers in them must be the same to be very like."""
    ours, others = _bare(name), _bare(other)
    if not ours or not others:
        return 0.0
    if ours == others:
        return 1.0
    squeezed = [re.sub(r"[^a-z0-9]", "", text) for text in (ours, others)]  # "llama3-8b" for "Llama-3.1-8B"
    alike = max(SequenceMatcher(None, *pair).ratio() for pair in ((ours, others), squeezed))
    if len(ours) >= 2 and re.search(rf"(^|[-_.]){re.escape(ours)}([-_.]|$)", others):
        alike = max(alike, 0.9)  # "h100" for "h100-sxm"
    elif min(len(ours), len(others)) >= 3 and (others in ours or ours in others):
        alike = max(alike, 0.8)
    return alike if _numbers(ours) & _numbers(others) or not _numbers(ours) else alike - 0.15


def _bare(name: str) -> str:
    """Return the last part of a name in small letters without its ending."""
    last = name.lower().strip().rstrip("/").rsplit("/", 1)[-1]
    return ENDINGS.sub("", ENDINGS.sub("", last))


def _numbers(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"\d+(?:\.\d+)?[a-z]?", name))
