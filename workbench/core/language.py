"""The language that readers see: English, or that of ``WORKBENCH_LANG`` where its tables lie in ``workbench/locale``.

The text in the code is English and the key of the tables, by the conventions of GNU gettext. The language of a process does not change.
What is stored (runs, specs, JSON) stays English; it is translated where it is shown.
"""

import functools
import gettext as gnu
import io
import os
from pathlib import Path

SOURCE = "en"
FOLDER = Path(__file__).parents[1] / "locale"
VARIABLE = "WORKBENCH_LANG"


def offered() -> tuple[str, ...]:
    """Return the languages that have tables, English first."""
    return (SOURCE, *sorted(f.name for f in FOLDER.glob("*") if f.is_dir()))


def spoken(asked: str) -> str | None:
    """Return the language with tables that is nearest to one that is asked for, such as ``zh-CN`` or ``zh_CN.UTF-8``; None where none is."""
    wanted = asked.partition(".")[0].replace("-", "_")
    if not wanted or wanted == SOURCE:
        return SOURCE
    from babel.core import negotiate_locale

    alike = (o for o in offered() if o.partition("_")[0].lower() == wanted.partition("_")[0].lower())
    return negotiate_locale([wanted, *alike], offered())


@functools.cache
def language() -> str:
    """Return the language of this process, such as ``zh_CN``; English where ``WORKBENCH_LANG`` is not set or names one without tables."""
    return spoken(os.environ.get(VARIABLE, "")) or SOURCE


def keep_english() -> None:
    """Fix English as the language of this process: what it says is read by programs or stored; kernels that it starts speak the reader's."""
    asked = os.environ.pop(VARIABLE, None)
    language()
    if asked is not None:
        os.environ[VARIABLE] = asked


@functools.cache
def _tables() -> gnu.NullTranslations:
    if language() == SOURCE:
        return gnu.NullTranslations()
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    merged = gnu.NullTranslations()
    for path in sorted((FOLDER / language() / "LC_MESSAGES").glob("*.po")):
        compiled = io.BytesIO()
        with path.open("rb") as table:
            write_mo(compiled, read_po(table, locale=language()))
        compiled.seek(0)
        merged.add_fallback(gnu.GNUTranslations(compiled))
    return merged


def gettext(text: str) -> str:
    """Return a text in the reader's language; named values are put in afterwards: ``gettext("{n} runs").format(n=3)``."""
    return _tables().gettext(text) if text else text


def ngettext(one: str, many: str, n: int) -> str:
    """Return the form of a text for a number of things in the reader's language."""
    return _tables().ngettext(one, many, n)


def pgettext(context: str, text: str) -> str:
    """Return a text in the reader's language that means one thing here and another elsewhere, such as "late"."""
    return _tables().pgettext(context, text)


def gettext_noop(text: str) -> str:
    """Return a text as it is, so that the tables hold it: it is stored or compared, and translated where it is shown."""
    return text
