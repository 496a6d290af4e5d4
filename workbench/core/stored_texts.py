"""Sentences that are stored in English, in the reader's language: each was made from a template, which the tables hold."""

import functools
import re
from collections.abc import Iterable

from workbench.core.language import SOURCE, gettext, language


def in_readers_words(text: str, templates: Iterable[str]) -> str:
    """Return a stored text translated by the template that it was made from; as it is where none fits.

    >>> in_readers_words("8 sequences in a step", ["{n} sequences in a step"])
    '8 sequences in a step'
    """
    if language() == SOURCE:
        return text
    for template in templates:
        match = _pattern(template).fullmatch(text)
        if match:
            return gettext(template).format(**match.groupdict())
    return gettext(text)


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    """Return the pattern of the texts that a template makes."""
    parts = re.split(r"\{(\w+)\}", template)
    pieces = [re.escape(part) if i % 2 == 0 else f"(?P<{part}>.+?)" for i, part in enumerate(parts)]
    return re.compile("".join(pieces), re.DOTALL)
