"""A panel's choices as text: what a link, a small file and the settings of a notebook carry."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from workbench.core.errors import InvalidSpec, system_reason
from workbench.core.knobs import KnobField
from workbench.core.language import gettext
from workbench.core.rows import Json
from workbench.core.runs import Run

FORMAT = 1
"""Version of the file of a view."""
RUN = "run_id"
"""Name under which the shown run is carried."""
COMPARED = "compared_ids"
"""Name under which the runs beside it are carried."""
YES_NO = {"yes": True, "no": False}
WORDS: Mapping[type, str] = {
    bool: gettext("yes or no"),
    int: gettext("a whole number"),
    float: gettext("a number"),
    str: gettext("text"),
    dict: gettext("an object"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelChoices:
    """The panel that is meant, such as "cost" or "quantization/sensitivity", and its choices as texts, by name."""

    panel: str
    values: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.panel}?{urlencode(self.values)}"

    @classmethod
    def read(cls, text: str) -> "PanelChoices":
        """Return the choices of a link's text; raises ``InvalidSpec``."""
        panel, mark, rest = text.strip().partition("?")
        try:
            values = dict(parse_qsl(rest, keep_blank_values=True, strict_parsing=bool(rest), max_num_fields=200))
        except ValueError as error:
            raise InvalidSpec(
                gettext("{text} is no state of a panel: {error}.").format(text=repr(text[:80]), error=error),
                remedy=COPY_AGAIN,
            ) from error
        if not mark or not panel:
            raise InvalidSpec(gettext("{text} is no state of a panel.").format(text=repr(text[:80])), remedy=COPY_AGAIN)
        return cls(panel=panel, values=values)


COPY_AGAIN = gettext("Copy the link, or save the file of the view, again from the panel.")


class _ViewFile(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    workbench_view: int
    state: str
    run: dict[str, Any] | None = None


def view_file(choices: PanelChoices, run: Run | None) -> str:
    """Return the content of a view's file; with a run, it can be opened where that run is not stored."""
    content: dict[str, Json] = {"workbench_view": FORMAT, "state": str(choices)}
    if run is not None:
        content["run"] = json.loads(run.to_json())
    return json.dumps(content)


def read_view_file(file: Path) -> tuple[PanelChoices, bytes | None]:
    """Return the choices of a view's file and the run that it carries, as JSON; raises ``InvalidSpec``."""
    try:
        content = msgspec.json.decode(file.read_bytes(), type=_ViewFile)
    except OSError as error:
        raise InvalidSpec(
            gettext("{file} cannot be read: {reason}.").format(file=file, reason=system_reason(error)),
            remedy=gettext("Check the path."),
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidSpec(
            gettext("{file} is not the file of a view: {error}.").format(file=file, error=error), remedy=COPY_AGAIN
        ) from error
    if content.workbench_view != FORMAT:
        raise InvalidSpec(
            gettext("{file} is a view of format {own}; this version reads format {format}.").format(
                file=file, own=content.workbench_view, format=FORMAT
            ),
            remedy=gettext("Open it with the version of the workbench that saved it."),
        )
    return PanelChoices.read(content.state), None if content.run is None else msgspec.json.encode(content.run)


def choice_text(field: KnobField, value: object) -> str:
    """Return a stored value as the text that ``choice_of`` reads."""
    if field.base is bool:
        return "" if value is None else "yes" if value else "no"
    return field.to_text(value)


def choice_of(field: KnobField, given: object, offered: Collection[object] | None) -> object:
    """Return the stored value of a text, a number or a list.

    Args:
        field: What is asked for.
        given: What a link, a file or a notebook's settings say.
        offered: What the control offers; None where it takes anything.

    Raises:
        InvalidSpec: The control could not hold the value.
    """
    value = _stored(field, given)
    if value is None and not field.is_optional:
        raise InvalidSpec(gettext("{label} has no value.").format(label=field.label), remedy=field.help)
    kinds = (int, float) if field.base is float else Mapping if field.base is dict else field.base
    for item in value if isinstance(value, tuple) else () if value is None else (value,):
        if not isinstance(item, kinds) or (isinstance(item, bool) and field.base is not bool):
            cause = gettext("{label}: {value} is not {what}.")
            raise InvalidSpec(
                cause.format(label=field.label, value=repr(item), what=WORDS[field.base]), remedy=field.help
            )
        if offered is not None and item not in offered:
            raise InvalidSpec(
                gettext("{label}: {value} is not offered here.").format(label=field.label, value=repr(item)),
                remedy=gettext("Choose of {offered}.").format(
                    offered=", ".join(map(str, offered)) or gettext("nothing: no run has it")
                ),
            )
        low, high = field.knob.low or 0, 1e9 if field.knob.high is None else field.knob.high
        if field.is_number and isinstance(item, int | float) and not low <= field.shown(item) <= high:
            raise InvalidSpec(
                gettext("{label}: {value} is out of range.").format(label=field.label, value=f"{field.shown(item):g}"),
                remedy=gettext("Give {low} to {high}.").format(low=f"{low:g}", high=f"{high:g}"),
            )
    return value


def _stored(field: KnobField, given: object) -> object:
    if isinstance(given, str):
        return YES_NO.get(given, given) if field.base is bool and given else field.from_text(given)
    if isinstance(given, list):
        return tuple(given)
    if isinstance(given, int | float) and not isinstance(given, bool) and field.base in (int, float):
        return field.stored(given)
    return given


def notebook_settings() -> Mapping[str, object]:
    """Return what the notebook's variable ``settings`` holds: papermill and the export put it before the first cell."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    found = shell.user_ns.get("settings") if shell is not None else None
    return found if isinstance(found, dict) else {}
