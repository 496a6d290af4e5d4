"""Notebooks in the reader's language: their text cells are translated, their code is not touched."""

import hashlib
import json
from pathlib import Path
from typing import Any

import nbformat

from workbench.core.language import gettext

MARK = "workbench_copied"
"""Metadata of a copy: the digest of the cells that were copied."""
UNREADABLE = (OSError, ValueError, AttributeError, TypeError, KeyError)
"""What reading a file raises that is no notebook, whatever JSON it is."""


def translate(content: Any) -> None:
    """Translate the text cells of a notebook that have a translation."""
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = gettext(cell.source)


def copy_translated(source: Path, folder: Path) -> Path:
    """Write a notebook in the reader's language into a folder, unless its copy there is current; return the copy.

    A copy that the reader has changed, or that cannot be read, is kept under another name before a new one is written.
    """
    content = nbformat.read(source, as_version=4)
    translate(content)
    content.metadata[MARK] = _digest(content)
    target = folder / source.name
    if target.exists():
        try:
            copy = nbformat.read(target, as_version=4)
            copied, is_changed = copy.metadata.get(MARK), copy.metadata.get(MARK) != _digest(copy)
        except UNREADABLE:
            copied, is_changed = None, True
        if copied == content.metadata[MARK]:
            return target
        if is_changed:
            target.rename(_free_name(target))
    target.write_text(nbformat.writes(content), encoding="utf-8")
    return target


def _digest(content: Any) -> str:
    """Return a digest of what a reader writes in a notebook; outputs and settings do not count."""
    cells = [[cell.cell_type, cell.source] for cell in content.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def _free_name(file: Path) -> Path:
    number = 1
    while (kept := file.with_stem(f"{file.stem}_edited_{number}")).exists():
        number += 1
    return kept
