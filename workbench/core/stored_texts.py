"""Sentences that are stored in English, in the reader's language: each was made from a template, which the tables hold."""

import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Formatter

from workbench.core.language import FOLDER, SOURCE, gettext, language

QUESTIONS = Path(__file__).parents[1] / "questions"
LISTED = "; "
"""Stands between the sentences of a stored list."""
LEAST_CHARACTERS = 12
"""Of its own, with which a library's template is recognised among those of a question."""


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
            return _filled(template, match.groupdict())
    return gettext(text)


def translated(text: str, *, domain: str) -> str:
    """Return a stored text translated by whichever text of a domain's table made it, and its values in turn; as it is where none did.

    A library's text may have made it too, such as the cause of a job's failure. Several sentences may stand in it, with ``LISTED`` between them.
    """
    return text if language() == SOURCE else _translated(text, domain)


@functools.lru_cache(maxsize=4096)
def _translated(text: str, domain: str) -> str:
    if (known := _known(text)) is not None:
        return known
    whole, parts = _matched(text, domain, is_list=True), text.split(LISTED)
    if whole is None and len(parts) > 1:
        return gettext("; ").join(_translated(part, domain) for part in parts)
    return whole or _matched(text, domain, is_list=False) or text


def _known(text: str) -> str | None:
    """Return the translation of a text that stands in a table as it is, or as the beginning of a sentence."""
    return next((t for key in (text, text[:1].upper() + text[1:]) if (t := gettext(key)) != key), None)


def _matched(text: str, domain: str, *, is_list: bool) -> str | None:
    """Return the translation by the template that has most words of its own; of those with a separator inside, or of the others."""
    matches = ((t, _pattern(t).fullmatch(text)) for t in _templates(domain) if (LISTED in t) is is_list)
    template, match = next(((t, m) for t, m in matches if m), ("", None))
    if match is None:
        return None
    return _filled(template, {name: _translated(value, domain) for name, value in match.groupdict().items()})


@functools.cache
def _templates(domain: str) -> tuple[str, ...]:
    """Return the texts with named values of a domain and of the libraries, those with most words of their own first."""
    found: dict[str, int] = {}
    for file in (FOLDER / language() / "LC_MESSAGES").glob("*.po"):
        if file.stem == domain or not (QUESTIONS / file.stem).is_dir():
            own = ((text, _n_characters(text)) for text in _open_texts(file))
            found |= {text: n for text, n in own if n >= LEAST_CHARACTERS or file.stem == domain}
    return tuple(sorted(found, key=lambda text: -found[text]))


def _open_texts(file: Path) -> list[str]:
    """Return the texts with named values of a table."""
    from babel.messages.pofile import read_po

    with file.open("rb") as table:
        return [m.id for m in read_po(table) if isinstance(m.id, str) and re.search(r"\{[a-z]", m.id)]


def _n_characters(template: str) -> int:
    """Return the characters of a template besides its values."""
    return sum(len(literal) for literal, *_ in Formatter().parse(template))


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    """Return the pattern of the texts that a template makes; a value with a format is a number, and one that comes again is the same."""
    made, names = "", set[str]()
    for literal, name, form, _ in Formatter().parse(template):
        made += re.escape(literal)
        if name:
            made += f"(?P={name})" if name in names else f"(?P<{name}>{r'[^ ]+' if form else '.+'})"
            names.add(name)
    return re.compile(made, re.DOTALL)


def _filled(template: str, values: Mapping[str, str]) -> str:
    """Return a template in the reader's language with its values, which are texts already."""
    return re.sub(r"\{(\w+)[^}]*\}", lambda match: values[match[1]], gettext(template))
