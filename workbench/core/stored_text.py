"""Sentences that runs keep in English, in the reader's language.

A stored sentence was made from a text with named values, such as ``{n} of {pairs} greedy answers differ``. The tables hold that text, so that it is
found again by its own words, and its values are translated in turn.
"""

import functools
import re
from string import Formatter

from workbench.core.language import FOLDER, SOURCE, gettext, language

LISTED = "; "
"""Stands between the sentences of a stored list."""


def translated(text: str, *, domain: str) -> str:
    """Return a stored English text in the reader's language; what no text of the domain's table made stays as it is."""
    return text if language() == SOURCE else _translated(text, domain)


@functools.lru_cache(maxsize=4096)
def _translated(text: str, domain: str) -> str:
    if (known := _known(text)) is not None:
        return known
    whole, parts = _filled(text, domain, is_list=True), text.split(LISTED)
    if whole is None and len(parts) > 1:
        return gettext("; ").join(_translated(part, domain) for part in parts)
    return whole or _filled(text, domain, is_list=False) or text


def _known(text: str) -> str | None:
    """Return the translation of a text that stands in a table as it is, or as the beginning of a sentence."""
    return next((t for key in (text, text[:1].upper() + text[1:]) if (t := gettext(key)) != key), None)


def _filled(text: str, domain: str, *, is_list: bool) -> str | None:
    """Return the translation by the text with named values that has most words of its own; of those with a separator inside, or of the others."""
    matches = ((t, p.fullmatch(text)) for t, p in _patterns(domain) if (LISTED in t) is is_list)
    template, match = next(((t, m) for t, m in matches if m), ("", None))
    if match is None:
        return None
    values = {name: _translated(value, domain) for name, value in match.groupdict().items()}
    return re.sub(r"\{(\w+)[^}]*\}", lambda m: values[m[1]], gettext(template))


@functools.cache
def _patterns(domain: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Return the texts with named values of a domain with what they match, those with most words of their own first."""
    from babel.messages.pofile import read_po

    file = FOLDER / language() / "LC_MESSAGES" / f"{domain}.po"
    if not file.is_file():
        return ()
    with file.open("rb") as table:
        texts = [m.id for m in read_po(table) if isinstance(m.id, str) and re.search(r"\{[a-z]", m.id)]
    parts = {text: list(Formatter().parse(text)) for text in texts}
    ordered = sorted(texts, key=lambda text: -sum(len(literal) for literal, *_ in parts[text]))
    return tuple((text, _pattern(parts[text])) for text in ordered)


def _pattern(parts: list[tuple[str, str | None, str | None, str | None]]) -> re.Pattern[str]:
    """Return what a text with named values matches; a value with a format is a number, and one that comes again is the same."""
    made, names = "", set[str]()
    for literal, name, form, _ in parts:
        made += re.escape(literal)
        if name:
            made += f"(?P={name})" if name in names else f"(?P<{name}>{r'[^ ]+' if form else '.+'})"
            names.add(name)
    return re.compile(made, re.DOTALL)
