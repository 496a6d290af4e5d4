"""The JSON and YAML documents of a file, one or several."""

import json
from pathlib import Path

import yaml

from workbench.core.errors import StoreError


def documents_in(path: Path) -> tuple[object, ...] | None:
    """Return what a file holds: one JSON document, several after one another or on lines of their own, or YAML.

    NaN and Infinity are read, which Python's tools write. None: the file holds none, or something else.

    Raises:
        StoreError: The file begins with JSON and breaks off.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    if path.suffix in {".yaml", ".yml"}:
        return _from_yaml(text)
    decoder, found, at = json.JSONDecoder(), [], 0
    try:
        while at < len(text):
            while at < len(text) and text[at].isspace():
                at += 1
            if at < len(text):
                document, at = decoder.raw_decode(text, at)
                found.append(document)
    except (ValueError, RecursionError) as error:
        if not any(isinstance(document, dict | list) for document in found):
            return None
        line = text.count("\n", 0, at) + 1
        raise StoreError(
            f"{path.name} breaks off or is damaged at line {line}.",
            remedy="The program that wrote it may have been ended; remove what follows, or measure again.",
        ) from error
    return tuple(found) or None


def _from_yaml(text: str) -> tuple[object, ...] | None:
    try:
        document: object = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except (yaml.YAMLError, RecursionError):
        return None
    return (document,) if isinstance(document, dict | list) else None
