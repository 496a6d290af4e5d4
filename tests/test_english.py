"""Text that readers see, and names that they meet in code, are the field's English."""

import ast
import json
import re
from pathlib import Path

import click
import pytest
import typer

from workbench.app.main import app
from workbench.core.kinds import spec_classes
from workbench.core.knobs import knobs_of

ROOT = Path(__file__).parents[1]
BANNED = re.compile(
    r"\b(promises?|promised|in turns|told|beliefs?|worn|does more|further tokens?|came about|theirs|ours|pictures?|utilisation|what waits)\b",
    re.IGNORECASE,
)
"""Private words for which the field has others: SLO, interleaved, notified, probability, corrupted, gain, TPOT, image."""
OLD_NAMES = {"store/migration"}  # reads what older versions wrote
SENTENCE = re.compile(r"^[A-Z\"'`(0-9a-z].*[.:)]$", re.DOTALL)
SOURCES = [p for p in sorted((ROOT / "workbench").rglob("*.py")) if not any(old in str(p) for old in OLD_NAMES)]


def banned_in(text: str) -> list[str]:
    return [match.group(0) for match in BANNED.finditer(text)]


def test_texts_and_docstrings_have_no_private_words():
    constants = (
        (path, n.value)
        for path in SOURCES
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Constant)
    )
    assert [
        (str(path.relative_to(ROOT)), text[:80], words)
        for path, text in constants
        if isinstance(text, str) and " " in text and (words := banned_in(text))
    ] == []


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebooks_have_no_private_words(path):
    cells = json.loads(path.read_text())["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    assert [words for text in texts if (words := banned_in(text))] == []


def test_docstrings_say_more_than_a_name():
    short = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {text}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and (text := ast.get_docstring(node))
        and (len(text.split()) <= 4 or not SENTENCE.match(text.split("\n\n")[0].strip()))
    ]
    assert short == []


def test_every_knob_has_a_noun_phrase_as_label_and_a_sentence_as_help():
    for kind, spec in spec_classes().items():
        for name, field in knobs_of(spec).items():
            assert SENTENCE.match(field.knob.help), (kind, name, field.knob.help)
            assert len(field.knob.help.split()) >= 4, (kind, name, field.knob.help)
            assert re.match(r"^\w.*[^.]$", field.knob.label), (kind, name, field.knob.label)


def leaves(command: click.Command, words: tuple[str, ...] = ()):
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from leaves(inner, (*words, name))
    else:
        yield words, command


def test_every_command_and_option_has_a_sentence_as_help():
    for words, command in leaves(typer.main.get_command(app)):
        assert command.help, words
        assert SENTENCE.match(command.help.split("\n\n")[0].strip()), (words, command.help)
        for parameter in command.params:
            if isinstance(help_text := getattr(parameter, "help", None), str):
                assert SENTENCE.match(help_text), (words, parameter.name, help_text)
