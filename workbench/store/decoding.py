"""Runs read from JSON: checked where they enter, so that whatever comes later can rely on them."""

import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from workbench.core.errors import InvalidSpec, StoreError
from workbench.core.kinds import contents
from workbench.core.language import gettext, gettext_noop
from workbench.core.provenance import Provenance
from workbench.core.rows import Failure, Row
from workbench.core.runs import SCHEMA_VERSION, Environment, Run
from workbench.store.migration import migrated

T = TypeVar("T")
MOST_BYTES = 256 << 20
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""Ids and kinds: what can stand in a file name, a link and a command without being quoted."""
REMEDY = gettext_noop("Export the run again with `workbench runs export`.")


class _Document(msgspec.Struct, kw_only=True):
    """A run as JSON holds it, whose rows have not been read yet."""

    kind: str
    spec: dict[str, Any]
    environment: Environment
    started_at: str
    finished_at: str
    seed: int
    results: list[dict[str, Any]]
    samples: dict[str, Any]
    failures: list[dict[str, str | None]]
    provenance: Provenance
    id: str
    schema_version: int


def run_from_json(text: str, *, source: str = "This text") -> Run:
    """Return the run of a JSON document.

    Args:
        text: The document.
        source: What errors call the place that it comes from.

    Raises:
        StoreError: The document is no run; the message names the source, the field, and what belongs there.
    """
    if len(text) > MOST_BYTES:
        raise StoreError(
            gettext("{source} has {n} MiB; a run has at most {most}.").format(
                source=source, n=len(text) >> 20, most=MOST_BYTES >> 20
            ),
            remedy=gettext(REMEDY),
        )
    try:
        data: Any = msgspec.json.decode(text)
        version = data.get("schema_version") if isinstance(data, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise StoreError(
                gettext("{source} holds a run of format {version}; this version reads up to {known}.").format(
                    source=source, version=version, known=SCHEMA_VERSION
                ),
                remedy=gettext("Upgrade the workbench."),
            )
        document = _read(data, _Document, "")
        if problem := _problem(document):
            raise _Damaged(problem)
        return _run(_read(_migrated(data, document), _Document, ""))
    except (msgspec.MsgspecError, _Damaged, RecursionError, UnicodeError, InvalidSpec) as error:
        raise StoreError(
            gettext("{source} is not a stored run: {error}.").format(source=source, error=str(error).rstrip(".")),
            remedy=gettext(REMEDY),
        ) from error


class _Damaged(ValueError):
    """A part of a document that is not what it should be."""


def _read(value: object, kind: type[T], place: str) -> T:
    """Return a part of a document as a type; ``place`` says where it stands."""
    try:
        return msgspec.convert(value, kind, str_keys=True)
    except msgspec.ValidationError as error:
        problem, _, field = str(error).partition(" - at `$")
        raise _Damaged(f"{problem} - at `${place}{field.rstrip('`')}`" if place or field else problem) from error


def _migrated(data: dict[str, Any], document: _Document) -> dict[str, Any]:
    """Return the document in the present format; one of an older format may lack what its migration needs."""
    try:
        return migrated(data)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise _Damaged(
            f"it has format {document.schema_version}, and {type(error).__name__} {error} came up in its migration"
        ) from error


def _run(document: _Document) -> Run:
    holds = contents(document.kind)
    return Run(
        **{f.name: getattr(document, f.name) for f in fields(Run) if f.name not in {"results", "samples", "failures"}},
        results=[_row(row, holds.rows, f".results[{i}]") for i, row in enumerate(document.results)],
        samples=_read(document.samples, holds.samples, ".samples"),
        failures=[_read(f, Failure, f".failures[{i}]") for i, f in enumerate(document.failures)],
    )


def _row(row: dict[str, Any], classes: Mapping[str, type[Row]], place: str) -> Row:
    part = row.get("part", "")
    if not isinstance(part, str) or part not in classes:
        known = ", ".join(repr(name) for name in classes)
        raise _Damaged(f"{part!r} is no part of this kind of run, which has {known} - at `${place}.part`")
    return _read(row, classes[part], place)


def _problem(run: _Document) -> str | None:
    """Return what is wrong with a document whose fields have the right types."""
    for name, text in (("id", run.id), ("kind", run.kind)):
        if not NAME.fullmatch(text):
            return f"`{name}` is {text[:80]!r}, not a name of letters, digits, dots, dashes and underscores"
    for name, text in (("started_at", run.started_at), ("finished_at", run.finished_at)):
        try:
            datetime.fromisoformat(text)
        except ValueError:
            return f"`{name}` is {text[:80]!r}, not a date and time in ISO 8601"
    return None
