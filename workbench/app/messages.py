"""The tables of translations: every text that readers see, by domain, in each language of ``workbench/locale``.

``python -m workbench.app.messages [DOMAIN...]`` brings them up to date from the sources, in a checkout: new texts come in without a
translation, texts that are gone are left out, translations of texts that stay are kept. ``--add fr`` begins a language.
"""

import argparse
import ast
import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from importlib import import_module
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.plurals import get_plural
from babel.messages.pofile import normalize, read_po

from workbench.catalog.paths import DATA, NOTEBOOKS
from workbench.core.knobs import knobs_of
from workbench.core.language import FOLDER, SOURCE, offered

PACKAGE = Path(__file__).parents[1]
FUNCTIONS = {"gettext": 1, "gettext_noop": 1, "ngettext": 2, "pgettext": 2}
"""Functions that mark texts, and how many of their first arguments are texts."""
CONTEXT = "\x04"
"""What stands between a context and its text, as in the tables that GNU gettext compiles."""
WORDS = re.compile("[a-z]{4}")
"""Tells a unit that is counted in words, such as requests/s, from symbols."""
KNOBS = {"Knob": (0, 1), "needed": (0, 1), "knob": (1, 2), "advanced": (1, 2)}
"""Functions that declare a knob, and where label and help stand."""
FACTS = {
    "questions.csv": ("title",),
    "claims.csv": ("technique", "metric", "condition", "unit"),
    "threats.csv": ("threat", "faq_control", "control", "evidence", "limits"),
    "engines.csv": (
        "what_for",
        "quantization",
        "parallelism",
        "multimodal",
        "hardware",
        "started",
        "install",
        "source",
    ),
    "published.csv": ("condition", "unit"),
    "prices.csv": ("price_date", "reserved_term"),
}
"""Columns of the catalogue that hold texts, by file."""
PLACEHOLDER = re.compile(r"\{[a-z_]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text as tables hold it."""

    one: str
    """After its context, where it has one."""
    many: str = ""
    """Its plural; "" where it has none."""
    place: str = ""
    """Where a translator finds it, if its domain does not say it."""


def domains() -> Mapping[str, Sequence[Text]]:
    """Return the texts of each domain, sorted; a question's domain leaves out what a library's holds."""
    topics = {folder.name for folder in (PACKAGE / "questions").iterdir()}
    found: dict[str, dict[str, Text]] = {}
    for domain, text in sorted(_texts(), key=lambda pair: pair[0] in topics):
        is_shared = domain in topics and any(text.one in t for other, t in found.items() if other not in topics)
        texts = found.setdefault(domain, {})
        if not is_shared and (text.many or text.one not in texts):
            texts[text.one] = text
    for domain, text in _inherited():
        if all(text.one not in texts for other, texts in found.items() if other == domain or other not in topics):
            found.setdefault(domain, {})[text.one] = text
    return {domain: [texts[one] for one in sorted(texts)] for domain, texts in sorted(found.items()) if texts}


def _texts() -> Iterator[tuple[str, Text]]:
    for file in sources():
        yield from ((domain_of(file), text) for text in _marked(ast.parse(file.read_text(encoding="utf-8"))))
    yield from (("notebooks", text) for text in _cells())
    yield from (("catalog", text) for text in _facts())


def _inherited() -> Iterator[tuple[str, Text]]:
    """Yield the texts of all knobs, those that their declaration does not spell out too."""
    for file in sources():
        if any(f"{name}(" in file.read_text(encoding="utf-8") for name in KNOBS):
            yield from ((domain_of(file), text) for text in _knobs(file))


def sources() -> list[Path]:
    """Return the source files of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def domain_of(file: Path) -> str:
    """Return the domain of a source file: its question's topic, or its room."""
    room, *rest = file.relative_to(PACKAGE).parts
    return rest[0] if room == "questions" and len(rest) > 1 else room.removesuffix(".py")


def _marked(tree: ast.AST) -> Iterator[Text]:
    """Yield the texts that code marks, and labels and help of the knobs that it declares."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        constants = [a.value if isinstance(a, ast.Constant) else None for a in node.args]
        if node.func.id in FUNCTIONS:
            texts = [t for t in constants[: FUNCTIONS[node.func.id]] if isinstance(t, str)]
            if texts and len(texts) == FUNCTIONS[node.func.id]:
                is_in_context = node.func.id == "pgettext"
                yield Text(one=CONTEXT.join(texts)) if is_in_context else Text(one=texts[0], many="".join(texts[1:]))
        elif node.func.id in KNOBS:
            at = [i for i in KNOBS[node.func.id] if i < len(constants)]
            yield from (Text(one=t) for i in at if isinstance(t := constants[i], str) and t)


def _knobs(file: Path) -> Iterator[Text]:
    """Yield what the knobs of a module's dataclasses show: labels, help, units in words, and the labels of choices that are not their values."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    module = import_module(".".join([PACKAGE.name, *(p for p in parts if p != "__init__")]))
    for kind in vars(module).values():
        if not isinstance(kind, type) or kind.__module__ != module.__name__ or not is_dataclass(kind):
            continue
        for field in knobs_of(kind).values():
            labels = [label for key, label in (field.knob.choices or {}).items() if label != key]
            units = [field.knob.unit] if WORDS.search(field.knob.unit) else []
            yield from (Text(one=text) for text in (field.knob.label, field.knob.help, *units, *labels) if text)


def _cells() -> Iterator[Text]:
    for file in sorted(NOTEBOOKS.glob("*.ipynb")):
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                yield Text(one="".join(cell["source"]), place=file.stem)


def _facts() -> Iterator[Text]:
    """Yield the texts of the catalogue that readers see; names of metrics are shown with spaces."""
    for name, columns in FACTS.items():
        with (DATA / name).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for column in columns:
                    text = row[column].replace("_", " ") if column == "metric" else row[column]
                    if any(map(str.isalpha, text)):
                        yield Text(one=text, place=f"{name}: {column}")


def updated(texts: Sequence[Text], known: Mapping[str, Sequence[str]], language: str) -> str:
    """Return the table of a domain with the known translations; those of plural texts have one for each form of the language.

    Neither dates nor lines of the sources stand in it, so that it changes with the texts alone.
    """
    plural = get_plural(language)
    head = [
        "Content-Type: text/plain; charset=utf-8\n",
        f"Language: {language}\n",
        f"Plural-Forms: nplurals={plural.num_plurals}; plural={plural.plural_expr};\n",
    ]
    parts = ['msgid ""\nmsgstr ""\n' + "\n".join(normalize(line, width=0) for line in head)]
    for text in texts:
        lines = [f"#. {text.place}"] if text.place else []
        lines += ["#, python-brace-format"] if PLACEHOLDER.search(text.one) and not text.place else []
        context, is_in_context, one = text.one.rpartition(CONTEXT)
        lines += [f"msgctxt {normalize(context, width=0)}"] if is_in_context else []
        lines.append(f"msgid {normalize(one, width=0)}")
        forms = known.get(text.one, ())
        if text.many:
            lines.append(f"msgid_plural {normalize(text.many, width=0)}")
            forms = [*forms, *[""] * plural.num_plurals][: plural.num_plurals]
            lines += [f"msgstr[{i}] {normalize(form, width=0)}" for i, form in enumerate(forms)]
        else:
            lines.append(f"msgstr {normalize(forms[0] if forms else '', width=0)}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def translations(file: Path) -> Mapping[str, Sequence[str]]:
    """Return the translations of a table, by the English text; texts without one are left out."""
    with file.open("rb") as table:
        catalog: Catalog = read_po(table)
    found: dict[str, Sequence[str]] = {}
    for message in catalog:
        forms = (message.string,) if isinstance(message.string, str) else message.string or ()
        if any(forms):
            one = message.id if isinstance(message.id, str) else message.id[0]
            found[f"{message.context}{CONTEXT}{one}" if message.context else one] = forms
    found.pop("", None)
    return found


def tables(language: str) -> Mapping[str, Path]:
    """Return the files of a language, by domain."""
    return {file.stem: file for file in sorted((FOLDER / language / "LC_MESSAGES").glob("*.po"))}


def update(language: str, wanted: Sequence[str] = ()) -> None:
    """Write the tables of a language anew, or those of some domains; a new text has the translation that another domain gave it."""
    files, texts = tables(language), domains()
    known = {domain: translations(file) for domain, file in files.items()}
    elsewhere = {one: forms for translated in known.values() for one, forms in translated.items()}
    folder = FOLDER / language / "LC_MESSAGES"
    folder.mkdir(parents=True, exist_ok=True)
    for domain in wanted or texts.keys() | files.keys():
        if domain not in texts:
            files[domain].unlink(missing_ok=True)
            continue
        content = updated(texts[domain], {**elsewhere, **known.get(domain, {})}, language)
        (folder / f"{domain}.po").write_text(content, encoding="utf-8")


def main() -> None:
    """Write the tables anew and say what is not translated."""
    parser = argparse.ArgumentParser(prog="python -m workbench.app.messages", description=__doc__)
    parser.add_argument("domains", nargs="*", help="Domains to write; all if left out.")
    parser.add_argument("--add", metavar="LANGUAGE", help="Language to begin, such as fr or pt_BR.")
    asked = parser.parse_args()
    for language in [asked.add] if asked.add else [name for name in offered() if name != SOURCE]:
        update(language, asked.domains)
        for domain, texts in domains().items():
            known = (
                translations(FOLDER / language / "LC_MESSAGES" / f"{domain}.po") if domain in tables(language) else {}
            )
            missing = sum(text.one not in known for text in texts)
            print(f"{language} {domain}: {len(texts)} texts, {missing} without a translation")


if __name__ == "__main__":
    main()
