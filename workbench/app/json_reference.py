"""``docs/json.md``: what a run and ``--json`` hold, written from the dataclasses themselves.

``python -m workbench.app.json_reference > docs/json.md`` writes it anew.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

from workbench.core.kinds import contents, spec_classes
from workbench.core.rows import Failure, Row, Samples
from workbench.core.runs import SCHEMA_VERSION, Environment, Run

UNITS = {
    "_per_s": "1/s",
    "_s": "s",
    "_us": "µs",
    "_ms": "ms",
    "_bytes_per_s": "bytes/s",
    "_bytes_per_token": "bytes/token",
    "_bytes": "bytes",
    "_tokens": "tokens",
    "tokens_per_s": "tokens/s",
    "_nat_per_token": "nat/token",
    "_bits": "bits",
    "_fraction": "0 to 1",
    "_percent": "%",
    "_w": "W",
    "_j": "J",
    "_usd": "USD",
    "_usd_per_hour": "USD/h",
    "_usd_per_million_tokens": "USD per million tokens",
    "usd_per_hour": "USD/h",
}
SIMPLE = {float: "number", int: "integer", str: "text", bool: "true or false", NoneType: "null", object: "any"}
HEAD = f"""# What a run and `--json` hold

This page is written from the program's own types: `python -m workbench.app.json_reference > docs/json.md`.

A run is one JSON object of format {SCHEMA_VERSION}. `workbench runs export RUN` writes it with its raw `samples`; `--json` of a command
that measures prints it without them. Runs of older formats are read and brought to this one. All times are seconds, sizes bytes, rates
per second, shares between 0 and 1; `null` means "not known" or "does not apply". An interval holds 95 % of what the value could be.
"""


def reference() -> str:
    """Return the page as Markdown."""
    shown: set[type] = set()
    parts = [HEAD, "## The run\n", *_tables(Run, shown), *_tables(Environment, shown), *_tables(Failure, shown)]
    for kind in sorted(spec_classes()):
        spec, holds = spec_classes()[kind], contents(kind)
        parts.append(f"## `{kind}`\n\n`workbench {spec.command}`. {_first_sentence(spec)}\n")
        for part, row in holds.rows.items():
            parts.append(f"Rows whose `part` is `{part}`:\n" if part else "Rows:\n")
            parts += _tables(row, shown)
        if holds.samples is not Samples:
            parts.append("Raw samples:\n")
            parts += _tables(holds.samples, shown)
    return "\n".join(parts)


def _tables(kind: type, shown: set[type]) -> Iterator[str]:
    """Yield the table of a dataclass and those of the dataclasses in it, each once on the page."""
    if kind in shown:
        yield f"See [{kind.__name__}](#{kind.__name__.lower()}).\n"
        return
    shown.add(kind)
    assert is_dataclass(kind)
    hints, meanings = get_type_hints(kind), _meanings(kind)
    lines = [
        f"### {kind.__name__}\n",
        f"{_first_sentence(kind)}\n",
        "| field | type | unit | meaning |",
        "| --- | --- | --- | --- |",
    ]
    lines += [_line(f, hints[f.name], meanings.get(f.name, "")) for f in fields(kind)]
    yield "\n".join(lines) + "\n"
    for nested in dict.fromkeys(n for f in fields(kind) for n in _dataclasses(hints[f.name])):
        if nested not in shown and nested is not Samples:
            yield from _tables(nested, shown)


def _line(field: "Field[object]", hint: object, meaning: str) -> str:
    return f"| `{field.name}` | {_type_text(hint)} | {unit_of(field.name)} | {meaning.replace('|', chr(92) + '|')} |"


def unit_of(name: str) -> str:
    """Return the unit that a field's name ends in; "" where it has none."""
    return next((UNITS[end] for end in sorted(UNITS, key=len, reverse=True) if name.endswith(end)), "")


def _type_text(hint: object) -> str:
    """Return a type as a reader of JSON calls it."""
    arguments = get_args(hint)
    origin = get_origin(hint)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in {Union, UnionType}:
        return " or ".join(_type_text(a) for a in sorted(arguments, key=lambda a: a is NoneType))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"object: {_type_text(arguments[1])} by name"
    if origin is tuple and arguments[-1] is not Ellipsis:
        return f"list of {len(arguments)}: {', '.join(dict.fromkeys(_type_text(a) for a in arguments))}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"list of {_type_text(arguments[0])}"
    if hint in (Row, Samples):
        return "object"
    if isinstance(hint, type):
        return f"[{hint.__name__}](#{hint.__name__.lower()})" if is_dataclass(hint) else SIMPLE.get(hint, "text")
    return "any"


def _dataclasses(hint: object) -> Iterator[type]:
    """Yield the dataclasses that a type holds."""
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for argument in get_args(hint):
        yield from _dataclasses(argument)


def _first_sentence(kind: type) -> str:
    text = re.split(r"\n\s*\n", inspect.getdoc(kind) or "")[0]
    return " ".join(text.replace("``", "`").split())


@cache
def _meanings(kind: type) -> Mapping[str, str]:
    """Return the texts below the fields of a dataclass and of its bases, by field."""
    meanings: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not is_dataclass(base):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in zip(definition.body, definition.body[1:], strict=False):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                meanings[field.target.id] = " ".join(str(text.value.value).replace("``", "`").split())
    return meanings


if __name__ == "__main__":
    print(reference(), end="")
