"""What holds for every question: its files, its knobs, its commands."""

import re
import shlex
import sys
from dataclasses import MISSING, fields

import click
import ipywidgets as widgets
import pytest
import typer
from support.every_panel import FOLDER, question_modules

from workbench.app.main import app
from workbench.core.kinds import PACKAGE, spec_classes
from workbench.core.knobs import knobs_of
from workbench.core.specs import Spec, default_of
from workbench.interface.knobs import command_line, control, option_name, stored

TOPICS = sorted(p.name for p in FOLDER.iterdir() if (p / "__init__.py").exists())
NOTEBOOKS = sorted(p.stem for p in (PACKAGE.parent / "notebooks").glob("*.ipynb"))
STANDARD = ("spec", "rows", "measure", "findings", "figures", "panel", "command")
SHARED = ("knobs", "limits", "claims")
"""Knobs of several specs of a topic; what is refused before anything is measured; judges of published claims."""
ROOT = typer.main.get_command(app)


def commands(group=ROOT, words=()):
    """Every command by the words that are typed for it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group) or hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = dict(commands())
SPEC_MODULES = {m.__name__: m for m in question_modules("spec")} | {
    c.__module__: sys.modules[c.__module__] for c in spec_classes().values()
}
SPECS = {
    f"{name}.{c.__name__}": c
    for name, module in sorted(SPEC_MODULES.items())
    for c in vars(module).values()
    if isinstance(c, type) and issubclass(c, Spec) and c is not Spec
}


def has(folder, name):
    return (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()


def test_each_notebook_has_its_question_of_the_same_name():
    assert [n.split("_", 1)[1] for n in NOTEBOOKS if n != "00_start"] == sorted(
        TOPICS, key=lambda t: next(n for n in NOTEBOOKS if n.endswith(t))
    )


@pytest.mark.parametrize("topic", TOPICS)
def test_a_question_has_the_standard_files(topic):
    """A measuring question has all seven; one whose spec lies in a library, or that only computes, has no rows and no measure."""
    folder = FOLDER / topic
    needed = {"findings", "figures", "panel", "command"}
    if has(folder, "spec"):
        kinds = {k for k, c in spec_classes().items() if c.__module__ == f"workbench.questions.{topic}.spec"}
        needed |= {"spec", "rows", "measure"} if kinds else {"spec"}
    assert not [name for name in sorted(needed) if not has(folder, name)]


def test_no_file_of_a_question_has_another_name():
    odd = [
        str(p.relative_to(FOLDER))
        for p in FOLDER.rglob("*.py")
        if p.parent.parent == FOLDER and p.stem not in (*STANDARD, *SHARED, "__init__")
    ]
    assert odd == []


def test_every_room_says_in_a_sentence_what_it_is_for():
    silent = [str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("__init__.py") if not p.read_text().startswith('"""')]
    assert silent == []


def test_a_kind_of_run_is_spelt_once():
    written = re.compile(r'^\s*(?:KIND\b.*= *|kind: ClassVar\[str\] = )"(\w+)"', re.M)
    found = [(kind, str(p)) for p in PACKAGE.rglob("*.py") for kind in written.findall(p.read_text())]
    assert sorted(kind for kind, _ in found) == sorted(spec_classes())


def test_questions_write_no_html():
    tags = re.compile(
        r"<(?:p|h\d|b|i|small|div|span|table|tr|td|th|ul|li|br|pre|details|summary|a|img|style|script)\b[^<]*>"
    )
    for path in FOLDER.rglob("*.py"):
        text = path.read_text()
        assert "escape(" not in text, path
        assert 'Markup("' not in text.replace('Markup("")', ""), path
        if path.name != "figures.py" and "figures" not in path.parts:  # plotly breaks lines with a tag of its own
            assert not tags.search(text), (path, tags.search(text))


@pytest.mark.parametrize("spec_class", SPECS.values(), ids=SPECS)
def test_a_knob_says_what_it_is_in_whole_sentences(spec_class):
    for name, field in knobs_of(spec_class).items():
        assert field.knob.label, name
        assert not field.knob.label.endswith((".", ":", ",")), name
        assert field.knob.help.endswith("."), name
        assert len(field.knob.help.split()) >= 4, (name, field.knob.help)
        assert field.knob.help[0].isupper() or not field.knob.help[0].isalpha(), name


@pytest.mark.parametrize("spec_class", SPECS.values(), ids=SPECS)
def test_panel_command_and_spec_have_the_same_default(spec_class):
    defaults = {f.name: default_of(f) for f in fields(spec_class)}
    command = COMMANDS[words_of(spec_class)[0]]
    parameters = {p.name: p for p in command.params}
    for name, field in knobs_of(spec_class).items():
        assert field.default == defaults[name]
        if name not in parameters:  # the command has an option of its own for it: `monitor` goes on until it is stopped
            assert option_name(field) in {o for p in command.params for o in p.opts}
            continue
        widget = control(field, field.start)
        held = widget.value
        if field.start != "":
            assert stored(field, held) == field.start, name
        parameter = parameters[name]
        if not field.knob.is_argument:
            assert option_name(field).split("/")[0] in parameter.opts
        if field.default is not MISSING and not parameter.required:
            given = parameter.get_default(click.Context(command))
            assert (None if given is None else stored(field, given)) == field.default, name
        widgets.Widget.close(widget)


@pytest.mark.parametrize("spec_class", SPECS.values(), ids=SPECS)
def test_the_printed_command_asks_for_the_same_spec(spec_class, monkeypatch):
    """Every knob is changed, as far as the spec allows it; what is printed is read back by the real command line."""
    spec = sample(spec_class)
    typed, flags = words_of(spec_class)
    words = shlex.split(command_line(spec_class.command, spec))
    assert words[: 1 + len(typed)] == ["workbench", *typed]
    assert words[1 + len(typed) :][: len(flags)] == list(flags)
    context = COMMANDS[typed].make_context("workbench", words[1 + len(typed) :])
    by_option = {o: context.params[p.name] for p in COMMANDS[typed].params for o in p.opts}
    given = {n: context.params.get(n, by_option.get(option_name(f))) for n, f in knobs_of(spec_class).items()}
    values = {n: None if given[n] is None else stored(f, given[n]) for n, f in knobs_of(spec_class).items()}
    assert spec_class(**{**{f.name: getattr(spec, f.name) for f in fields(spec_class)}, **values}) == spec


def words_of(spec_class):
    """The words of the command of a spec, and the options that belong to them."""
    words = spec_class.command.split()
    flags = [w for w in words if w.startswith("-")]
    return tuple(w for w in words if w not in flags), tuple(flags)


def sample(spec_class):
    """A spec in which as many knobs as possible have another value than their default."""
    values = {n: f.start if f.start != "" else needed(f) for n, f in knobs_of(spec_class).items()}
    for name, field in knobs_of(spec_class).items():
        for other in others(field, values[name]):
            try:
                spec_class(**{**values, name: other})
            except Exception:  # these values do not go together
                continue
            values[name] = other
            break
    return spec_class(**values)


def needed(field):
    """A value for a field that has no default."""
    if field.base is dict:
        return {"qkv": "fp8"}
    return ("kv:int8-token",) if field.is_tuple else "http://localhost:1"


def others(field, value):
    """Values of a field beside the one it has."""
    if field.base is bool:
        return [not value]
    if field.is_tuple:
        return [tuple(value[:1]), tuple(value) * 2] if value else []
    if field.knob.choices is not None:
        return [c for c in field.knob.choices if c != value]
    if field.base in (int, float):
        step = 1 / field.knob.factor
        return [
            field.stored(field.shown(v))
            for v in ([step, 2 * step] if value is None else [value + step, value / 2, value * 2])
        ]
    return [f"{value}-other"] if field.base is str and not field.knob.is_path else []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_and_every_option_has_a_help_text(words):
    command = COMMANDS[words]
    assert command.help, words
    assert command.help.strip().splitlines()[0].endswith("."), words
    for parameter in command.params:
        text = getattr(parameter, "help", None)
        assert text, (words, parameter.name)
