"""A knob: how a field of a spec is asked for, declared once, beside the field.

    overload: float = knob(3.0, "Peak request rate / capacity", "...", low=1, high=10, step=0.5)

A knob that several specs share is an annotation instead: ``seed: Seed = 0``.

From it ``workbench.interface.knobs`` makes the control of a panel, the option of a command, the command line and the code that a panel
prints, and the control of a report.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from workbench.core.errors import InvalidSpec, system_message
from workbench.core.language import gettext
from workbench.core.specs import default_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """How a value is asked for and shown.

    Args:
        label: Noun phrase, without the unit.
        help: A whole sentence: what the value means and what it changes.
        unit: Unit in which it is shown and typed.
        factor: What the stored value is multiplied with to be shown: 1e3 for seconds that are shown in milliseconds.
        low: Smallest value, as shown.
        high: Largest value, as shown.
        step: Step of a slider, which a number with both bounds and a step becomes.
        choices: Values that are allowed, each with its label; left out for a ``Literal``.
        suggestions: Values that are offered beside free text, or beside ``choices``, which are then not all that is allowed; the first is
            what a panel starts with where the spec has no default.
        option: Name on the command line, where it is not that of the field.
        is_argument: Whether the command takes it by position.
        is_advanced: Whether a panel folds it away.
        is_path: Whether it names a file of the reader, which a job in another folder must find too, unless it is offered.
        is_repeated: Whether the option is given once for each item, which may hold commas; in one text they are separated by semicolons.
    """

    label: str = field(kw_only=False)
    help: str = field(kw_only=False)
    unit: str = ""
    factor: float = 1.0
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: Mapping[str, str] | None = None
    suggestions: tuple[str, ...] = ()
    option: str | None = None
    is_argument: bool = False
    is_advanced: bool = False
    is_path: bool = False
    is_repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobField:
    """A field with its knob and what its type says."""

    name: str
    knob: Knob
    base: type
    """``bool``, ``int``, ``float``, ``str`` or ``dict``; of the items where it is a tuple."""
    is_tuple: bool
    is_optional: bool
    default: Any
    """``MISSING`` where the spec has none."""

    @property
    def label(self) -> str:
        """Return the label with its unit, in the reader's language."""
        label = gettext(self.knob.label)
        return f"{label} ({gettext(self.knob.unit)})" if self.knob.unit else label

    @property
    def help(self) -> str:
        """Return what the value means, in the reader's language."""
        return gettext(self.knob.help)

    @property
    def labelled_choices(self) -> list[tuple[str, str]]:
        """Return the label in the reader's language and the value of each choice."""
        labels = (self.knob.choices or {}).items()
        return [(gettext(label), value) for value, label in labels]

    @property
    def start(self) -> Any:
        """Return the value that a panel starts with."""
        if self.default is not MISSING:
            return self.default
        if self.is_tuple and self.knob.choices is not None:
            return ()
        return self.knob.suggestions[0] if self.knob.suggestions else ""

    @property
    def is_number(self) -> bool:
        """Return whether one number is asked for, which cannot be left out."""
        return self.base in (int, float) and not self.is_tuple and not self.is_optional

    def shown(self, value: float) -> float:
        """Return a stored number as it is shown; whole numbers stay whole."""
        return value if self.knob.factor == 1 else float(f"{value * self.knob.factor:.12g}")

    def to_text(self, value: Any) -> str:
        """Return a stored value as text that ``from_text`` reads; "" for None."""
        if value is None:
            return ""
        if self.is_tuple:
            return ("; " if self.knob.is_repeated else ",").join(self._item_text(v) for v in value)
        return self._item_text(value)

    def _item_text(self, value: Any) -> str:
        if self.base is dict:
            return json.dumps(dict(value))
        if self.base is float:
            return f"{self.shown(value):.12g}"
        return str(self.shown(value)) if self.base is int else str(value)

    def from_text(self, text: str) -> Any:
        """Return the stored value of a text; raises ``InvalidSpec`` for text that is no such value."""
        text = text.strip()
        if not text and (self.is_optional or self.is_tuple):
            return None if self.is_optional else ()
        if self.is_tuple:
            parts = text.split(";" if self.knob.is_repeated else ",")
            return tuple(self._item(part.strip()) for part in parts if part.strip())
        return self._item(text)

    def _item(self, text: str) -> Any:
        if self.base is dict:
            return _mapping(text, label=gettext(self.knob.label))
        if self.base is str:
            is_own = self.knob.is_path and text and text not in {*self.knob.suggestions, *(self.knob.choices or ())}
            return str(Path(text).expanduser().resolve()) if is_own else text
        try:
            number = float(text)
            if self.base is int and number != int(number):
                raise ValueError(text)
        except (ValueError, OverflowError) as error:
            what = gettext("a whole number") if self.base is int else gettext("a number")
            several = gettext("Give {what}, or several with commas between them.")
            raise InvalidSpec(
                gettext("{label}: {value} is not {what}.").format(label=self.label, value=repr(text), what=what),
                remedy=(several if self.is_tuple else gettext("Give {what}.")).format(what=what),
            ) from error
        return self.stored(number)

    def stored(self, shown: float) -> float:
        """Return a shown number as it is stored."""
        number = shown / self.knob.factor
        return round(number) if self.base is int else number


def _mapping(text: str, *, label: str) -> dict[str, str]:
    """A JSON object, or the one in a file; a plan file's own key ``plan`` is looked into."""
    try:
        content = text if text.startswith("{") else Path(text).expanduser().read_text(encoding="utf-8")
        data = json.loads(content)
        return {str(k): str(v) for k, v in data.get("plan", data).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise InvalidSpec(
            gettext("{label}: {text} cannot be read: {error}.").format(
                label=label, text=text, error=system_message(error)
            ),
            remedy=gettext('Give JSON such as {"qkv": "fp8"}, or a file with it.'),
        ) from error


def knobs_of(kind: type) -> Mapping[str, KnobField]:
    """Return the knobs of a dataclass by the name of their field, arguments first; fields without one are left out."""
    hints = get_type_hints(kind, include_extras=True)
    found: dict[str, KnobField] = {}
    for declared in fields(kind):
        hint = hints[declared.name]
        inner, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        its = declared.metadata.get("knob") or next((e for e in extras if isinstance(e, Knob)), None)
        if its is not None:
            found[declared.name] = _field(declared.name, inner, its, default_of(declared))
    return dict(sorted(found.items(), key=lambda item: not item[1].knob.is_argument))


def knob(default: T, label: str, help: str, **rest: Any) -> T:  # noqa: A002
    """Return a dataclass field that has a default and a knob, with what ``Knob`` takes; a dict is copied for each spec."""
    metadata = {"knob": Knob(label, help, **rest)}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)  # type: ignore[return-value]
    made: T = field(default=default, metadata=metadata)
    return made


def advanced(default: T, label: str, help: str, **rest: Any) -> T:  # noqa: A002
    """Return what ``knob`` returns, for a knob that a panel folds away."""
    return knob(default, label, help, is_advanced=True, **rest)


def needed(label: str, help: str, **rest: Any) -> Any:  # noqa: A002
    """Return a dataclass field with a knob and without a default."""
    return field(metadata={"knob": Knob(label, help, **rest)})


def _field(name: str, hint: Any, knob: Knob, default: Any) -> KnobField:
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    is_optional = type(None) in options
    (hint,) = [o for o in options if o is not type(None)]
    is_tuple = get_origin(hint) is tuple
    if is_tuple:
        hint = get_args(hint)[0]
    if get_origin(hint) is Literal:
        if knob.choices is None:
            knob = Knob(
                **{f.name: getattr(knob, f.name) for f in fields(Knob)} | {"choices": {v: v for v in get_args(hint)}}
            )
        hint = type(get_args(hint)[0])
    base = dict if get_origin(hint) is not None and issubclass(get_origin(hint), Mapping) else hint
    return KnobField(name=name, knob=knob, base=base, is_tuple=is_tuple, is_optional=is_optional, default=default)


Seed = Annotated[
    int,
    Knob(
        "Random seed",
        "Seed of every random choice; the same seed repeats the same measurement.",
        low=0,
        high=2**31,
        is_advanced=True,
    ),
]
DeviceChoice = Annotated[
    Literal["auto", "cpu", "cuda"],
    Knob("Device", "Device to measure on; auto takes the GPU where there is one.", is_advanced=True),
]
RandomWeights = Annotated[
    bool,
    Knob(
        "Random weights",
        "Give the model random weights: its speed and memory are measured, its answers mean nothing.",
        is_advanced=True,
    ),
]
