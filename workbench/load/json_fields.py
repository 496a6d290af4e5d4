"""JSON that a reader gives for requests: files, and further fields whose secret values are kept out of specs."""

import json
from pathlib import Path

from workbench.core.errors import InvalidSpec, system_message
from workbench.core.language import gettext
from workbench.load.credentials import HIDDEN, SECRET_NAME, hidden, hide


def object_of(text: str) -> dict[str, object]:
    """Return a JSON object; raises ``InvalidSpec`` for text that is none."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidSpec(
            gettext("The further fields (extra_body) are no JSON object."),
            remedy=gettext("Give one such as '{\"top_p\": 0.9}'."),
        )
    return found


def json_file(path: str, what: str) -> object:
    """Return what a file holds; raises ``InvalidSpec``, which says ``what`` of, where it cannot be read."""
    try:
        found: object = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidSpec(
            gettext("The file {path} of the {what} cannot be read: {error}.").format(
                path=path, what=what, error=system_message(error)
            ),
            remedy=gettext("Name a JSON file."),
        ) from error
    return found


def without_secrets(value: object, name: str) -> object:
    """Return JSON with the values of fields that sound secret blotted out; they are kept for requests."""
    if isinstance(value, dict):
        return {k: without_secrets(v, f"{name}.{k}") for k, v in value.items()}
    if isinstance(value, str) and value != HIDDEN and SECRET_NAME.search(name.rpartition(".")[2]):
        hide(name, value)
        return HIDDEN
    return value


def with_secrets(value: object, name: str) -> object:
    """Return JSON with the values that ``without_secrets`` has blotted out."""
    if isinstance(value, dict):
        return {k: with_secrets(v, f"{name}.{k}") for k, v in value.items()}
    return (hidden(name) or value) if value == HIDDEN else value
