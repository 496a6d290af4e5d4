"""Controls, command options, command lines and report inputs, all made from the knobs of a spec."""

import inspect
import shlex
from collections.abc import Callable, Sequence
from dataclasses import MISSING, replace
from functools import wraps
from typing import Annotated, Any

import ipywidgets as widgets
import typer
from markupsafe import Markup

from workbench.core.knobs import KnobField, knobs_of
from workbench.core.language import gettext
from workbench.interface.readable import ReadableErrors
from workbench.interface.toggles import Toggles

FREE_TEXT = {"continuous_update": False}


def control(field: KnobField, value: Any, offered: Sequence[Any] | None = None) -> widgets.Widget:
    """Return the widget that asks for a field, holding a stored value.

    Args:
        field: What is asked for.
        value: As the spec stores it.
        offered: What can be chosen, where the knob does not say it: pairs of label and value, or suggested texts.
    """
    knob = field.knob
    common = {
        "description": field.label,
        "tooltip": field.help,
        "style": {"description_width": "auto"},
        "layout": {"width": "auto"},
    }
    if field.base is bool:
        return widgets.Checkbox(value=bool(value), indent=False, **common)
    if knob.choices is not None or (offered and isinstance(offered[0], tuple)):
        options = list(offered or ()) or field.labelled_choices
        if field.is_tuple:
            return Toggles(options, value, label=field.label, tooltip=field.help, examples=knob.suggestions)
        return widgets.Dropdown(options=[("–", None)] * field.is_optional + options, value=value, **common)
    if field.is_number:
        low, high = knob.low or 0, 1e9 if knob.high is None else knob.high
        whole = field.base is int
        if knob.step is not None and knob.high is not None:
            slider = widgets.IntSlider if whole else widgets.FloatSlider
            bounds = {"min": low, "max": high, "step": knob.step}
            return slider(value=field.shown(value), **bounds, **common, **FREE_TEXT)
        box = widgets.BoundedIntText if whole else widgets.BoundedFloatText
        bounds = {"min": int(low), "max": int(high)} if whole else {"min": low, "max": high}
        return box(value=field.shown(value), **bounds, **common, **FREE_TEXT)
    text = field.to_text(value)
    if knob.suggestions:
        return widgets.Combobox(value=text, options=offered or list(knob.suggestions), **common, **FREE_TEXT)
    return widgets.Text(value=text, placeholder=gettext("none") if field.is_optional else "", **common, **FREE_TEXT)


def set_control(widget: widgets.Widget, field: KnobField, value: Any) -> None:
    """Make a control hold a stored value; raises what the widget raises where it is no choice."""
    if isinstance(widget, widgets.Text | widgets.Combobox):
        value = field.to_text(value)
    elif field.is_number:
        value = field.shown(value)
    hold(widget, value)


def hold(widget: widgets.Widget, value: object) -> None:
    """Make a control hold a value as it shows it; of a list, the entry for None too, which ipywidgets would show as blank."""
    if widget.value != value:
        widget.value = value
    if value is None and isinstance(widget, widgets.Dropdown) and widget.index is None:
        nothing = (i for i, option in enumerate(widget.options) if isinstance(option, tuple) and option[1] is None)
        widget.index = next(nothing, None)


def stored(field: KnobField, value: object) -> object:
    """Return what a control or an option holds as the spec stores it; raises ``InvalidSpec``."""
    if isinstance(value, list):
        if field.knob.is_repeated:
            return tuple(value)
        return tuple(item for text in value for item in field.from_text(text))
    if isinstance(value, str):
        return field.from_text(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return field.stored(value)
    return value


def named(words: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command without a spec the words that are typed for it, such as "engines list"."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        function.words = words  # type: ignore[attr-defined]
        return function

    return decorate


def option_name(field: KnobField) -> str:
    """Return the name on the command line, with its dashes."""
    return "--" + (field.knob.option or field.name).replace("_", "-")


def switch_names(field: KnobField) -> tuple[str, str]:
    """Return the names that turn a yes-or-no option on and off; a knob may name both, as "stream/no-stream"."""
    on, _, off = option_name(field).partition("/")
    return on, f"--{off}" if off else f"--no-{on[2:]}"


def _parameter(field: KnobField) -> inspect.Parameter:
    """The parameter by which typer asks for a field."""
    knob, kind = field.knob, field.base if field.is_number or field.base is bool else str
    help_text = knob.help
    if knob.choices is not None:
        help_text += f" {'Any' if field.is_tuple else 'One'} of: {', '.join(knob.choices)}."
    if field.is_tuple:
        help_text += " Repeat it for several." if knob.is_repeated else " Separate several with commas."
    default: Any = inspect.Parameter.empty if field.default is MISSING else field.default
    if default is not inspect.Parameter.empty and field.base is not bool:
        default = field.shown(default) if field.is_number else None if default is None else field.to_text(default)
    annotation: Any = kind | None if default is None else kind
    if knob.is_argument and field.is_tuple:
        annotation, default = list[str], default if field.default is MISSING else default.split(",")
    if knob.is_repeated:
        annotation, default = list[str], []
    if knob.is_argument:
        asked = typer.Argument(help=help_text, metavar=field.name.upper())
    elif field.base is bool:
        names = "/".join(switch_names(field))
        asked = typer.Option(names, help=help_text, rich_help_panel="Advanced" if knob.is_advanced else None)
    else:
        panel = "Advanced" if knob.is_advanced else None
        asked = typer.Option(option_name(field), help=help_text, metavar=knob.unit or None, rich_help_panel=panel)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, asked]
    )


def asks_for(
    spec_class: type[Any], *, may_be_left_out: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function whose first argument is a spec: each knob becomes an option.

    Further arguments of the function stay options of their own. A ``WorkbenchError`` ends the command with cause and remedy.

    Args:
        spec_class: Class of the spec.
        may_be_left_out: Whether the function also takes None, which it is given where a required knob is left out.
    """
    fields = knobs_of(spec_class)
    if may_be_left_out:
        fields = {n: replace(f, default=None) if f.default is MISSING else f for n, f in fields.items()}
    required = [n for n, f in knobs_of(spec_class).items() if f.default is MISSING]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

        @wraps(function)
        def command(**given: Any) -> None:
            with ReadableErrors():
                values = {name: stored(field, given.pop(name)) for name, field in fields.items()}
                is_left_out = may_be_left_out and any(values[name] is None for name in required)
                function(None if is_left_out else spec_class(**values), **given)

        parameters = [*map(_parameter, fields.values()), *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own)]
        parameters.sort(key=lambda p: p.default is not inspect.Parameter.empty)
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        command.words = spec_class.command  # type: ignore[attr-defined]
        return command

    return decorate


def command_line(command: str, spec: object) -> str:
    """Return the shell command that asks for a spec: its arguments, and the options that differ from their defaults."""
    words = ["workbench", *command.split()]
    for name, field in knobs_of(type(spec)).items():
        value = getattr(spec, name)
        if value == field.default:
            continue
        if field.knob.is_argument:
            words += map(str, value) if field.is_tuple else [field.to_text(value)]
        elif field.base is bool:
            words.append(switch_names(field)[not value])
        elif field.knob.is_repeated:
            words += [part for item in value for part in (option_name(field), str(item))]
        else:
            words += [option_name(field), field.to_text(value)]
    return shlex.join(words)


def report_input(field: KnobField, name: str, value: float) -> Markup:
    """Return the input of a report's form that asks for a number without a kernel; a slider where a panel has one."""
    knob = field.knob
    step = "any" if knob.step is None else f"{knob.step:g}"
    low = "" if knob.low is None else Markup(' min="{}"').format(f"{knob.low:g}")
    high = "" if knob.high is None else Markup(' max="{}"').format(f"{knob.high:g}")
    is_slider = knob.step is not None and knob.high is not None
    asked = Markup('<input name="{}" type="{}" step="{}" value="{}"{}{}>').format(
        name, "range" if is_slider else "number", step, f"{field.shown(value):.12g}", low, high
    )
    if is_slider:
        asked = Markup('<span>{} <output data-shows="{}"></output></span>').format(asked, name)
    return Markup('<label title="{}">{} {}</label>').format(field.help, field.label, asked)
