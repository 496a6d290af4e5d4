"""Several of a few choices, each a button that is on or off; where others are allowed, they are typed below."""

from collections.abc import Mapping, Sequence

import ipywidgets as widgets
import traitlets

from workbench.core.language import gettext


class Toggles(widgets.VBox):  # type: ignore[misc]
    """A group of buttons whose ``value`` is the tuple of choices that are on, in their order, and what was typed.

    Args:
        options: Text and value of each button.
        value: Values that are on.
        label: Heading.
        tooltip: Explanation.
        examples: Of other values; where there are any, other values may be typed, with commas between them.
    """

    value = traitlets.Tuple()

    def __init__(
        self,
        options: Sequence[tuple[str, str]],
        value: Sequence[str],
        *,
        label: str,
        tooltip: str,
        examples: Sequence[str] = (),
    ) -> None:
        self.buttons = {key: widgets.ToggleButton(description=text, value=key in value) for text, key in options}
        self._labels = {key: text for text, key in options}
        self._is_setting = False
        box = widgets.Box(list(self.buttons.values()))
        box.add_class("wb-methods")
        self.others = widgets.Text(
            description=gettext("Others"),
            value=self._typed(value),
            placeholder=", ".join(examples),
            continuous_update=False,
            style={"description_width": "auto"},
            layout={"width": "auto"},
        )
        rows = [widgets.Label(label, tooltip=tooltip), box, *([self.others] if examples else [])]
        super().__init__(rows, value=tuple(value))
        for control in (*self.buttons.values(), self.others):
            control.observe(self._pressed, names="value")
        self.observe(self._set, names="value")

    def _pressed(self, _change: object) -> None:
        if not self._is_setting:
            typed = (text.strip() for text in self.others.value.split(","))
            self.value = (*(k for k, button in self.buttons.items() if button.value), *(t for t in typed if t))

    def _typed(self, value: Sequence[str]) -> str:
        return ", ".join(v for v in value if v not in self.buttons)

    def _set(self, change: Mapping[str, Sequence[str]]) -> None:
        self._is_setting = True
        try:
            for key, button in self.buttons.items():
                button.value = key in change["new"]
            self.others.value = self._typed(change["new"])
        finally:
            self._is_setting = False

    def mark_unavailable(self, reasons: Mapping[str, str], *, note: str) -> None:
        """Disable the choices that cannot be measured or shown, each with the reason and a note; enable the others."""
        for key, button in self.buttons.items():
            reason = reasons.get(key)
            button.disabled, button.tooltip = reason is not None, reason or ""
            button.description = self._labels[key] + (f" · {note}" if reason else "")
