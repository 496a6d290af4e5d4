"""A panel whose view is shared: link, file, report, runs side by side."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from markupsafe import Markup

from workbench.catalog.paths import MEASURED
from workbench.core.errors import InvalidSpec, WorkbenchError, system_message
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.interface.declared_panel import DeclaredPanel
from workbench.interface.html import heading, joined, message_card, paragraph, table
from workbench.interface.knobs import hold
from workbench.interface.panel import set_html
from workbench.interface.report.page import page
from workbench.interface.shared_state import COMPARED, RUN, PanelChoices, choice_of, choice_text, view_file
from workbench.interface.shared_view import shipped_ids
from workbench.interface.view_link import ViewLink

MOST_OFFERED = 20
"""Newest runs that are offered for comparison."""


class SharedPanel(DeclaredPanel):
    """Link, file and report of what a panel shows, and other runs beside the shown one."""

    def _share_box(self) -> widgets.Widget:
        """Buttons that save, copy and reset; and the list of runs to compare, which the frame places."""
        needs = gettext("Write one HTML file that needs no network.")
        self.save = self._button(gettext("Save HTML report"), needs, self._save_report)
        opens = gettext("Write a small file that opens with these choices.")
        self.save_view = self._button(gettext("Save view"), opens, self._save_view)
        takes_back = gettext("Take back all choices since the panel was opened.")
        self.reset = self._button(gettext("Reset"), takes_back, self._reset)
        self.compare = widgets.VBox()
        self.link = ViewLink()
        self.link.observe(self.guarded(lambda change: self.open_link(change["new"])), names="opened")
        share = widgets.HBox([self.save, self.save_view, self.link, self.reset])
        share.add_class("wb-share")
        return share

    @classmethod
    def name(cls) -> str:
        """Return what a link calls the panel, such as "cost" or "quantization/sensitivity"."""
        return cls.__module__.removeprefix("workbench.questions.").removesuffix(".panel").replace(".", "/")

    def shared_choices(self) -> PanelChoices:
        """Return all choices as a link carries them."""
        names = (*self.view_fields, *self.fields)
        values = {name: choice_text(self._field(name), self._value(name)) for name in names}
        runs = ({RUN: self.run.id} if self.run else {}) | (
            {COMPARED: ",".join(ids)} if (ids := self.state.compared_ids) else {}
        )
        return PanelChoices(panel=self.name(), values=values | runs)

    def open_link(self, text: str) -> None:
        """Show what the text of a link carries, where it is about this panel; raises ``InvalidSpec``."""
        choices = PanelChoices.read(text)
        if choices.panel == self.name():
            self.open_with(choices.values)

    def open_with(self, values: Mapping[str, object]) -> None:
        """Show choices by name, given as texts, numbers or lists; the others stay. Raises ``InvalidSpec``."""
        unknown = sorted(set(values) - {RUN, COMPARED, *self.view_fields, *self.fields})
        if unknown:
            raise InvalidSpec(
                gettext("The panel {name} has no control {names}.").format(name=self.name(), names=", ".join(unknown)),
                remedy=gettext("Use {names}.").format(names=", ".join((*self.view_fields, *self.fields))),
            )
        run_id = values.get(RUN, self.state.run_id)
        others = tuple(part for part in str(values.get(COMPARED, "")).split(",") if part)
        missing = {i for i in (run_id, *others) if i is not None} - {r.id for r in self.runs}
        if missing:
            raise InvalidSpec(
                gettext("Run {names} is not stored here.").format(names=", ".join(sorted(map(str, missing)))),
                remedy=gettext(
                    "Ask for the file of the view, which carries its run, and open it with `workbench show FILE`."
                ),
            )
        offered = self.choices()
        chosen = {
            n: choice_of(self._field(n), v, self._offered(n, offered))
            for n, v in values.items()
            if n not in (RUN, COMPARED)
        }
        with self._turn:
            self.clear_message()
            asked = {k: v for k, v in chosen.items() if k in self.fields}
            shown = {k: v for k, v in chosen.items() if k not in self.fields}
            runs = {RUN: run_id, COMPARED: others}
            self.state = replace(self.state, asked={**self.state.asked, **asked}, **runs, **shown)
            self.draw()

    def _own(self, settings: Mapping[str, object]) -> dict[str, object]:
        """Those of a notebook's settings that this panel has; the others are for the notebook's other panels."""
        known = {*self.view_fields, *self.fields}
        wanted = settings.get("runs", ())
        run_id = next((r.id for r in self.runs if isinstance(wanted, list | tuple) and r.id in wanted), None)
        return {k: v for k, v in settings.items() if k in known} | ({} if run_id is None else {RUN: run_id})

    def _offered(self, name: str, choices: Mapping[str, list[Any]]) -> list[object] | None:
        """The values that a control offers; None where it takes anything."""
        own, knob = choices.get(name), self._field(name).knob
        if own and isinstance(own[0], tuple):
            return [value for _, value in own]
        return None if knob.choices is None or knob.suggestions else list(knob.choices)

    def _reset(self, _button: object) -> None:
        with self._turn:
            self.clear_message()
            self.state = self._first
            self.draw()

    def _compared(self) -> list[Run]:
        return [r for r in self.runs if r.id in self.state.compared_ids and r.id != self.state.run_id]

    def _offer_runs(self) -> None:
        """Set the boxes of runs that can be set beside the shown one from the state."""
        others = [r for r in self.runs if r.id != self.state.run_id][:MOST_OFFERED]
        labels = [self.run_label(r) for r in others]
        if [box.description for box in self.compare.children] != labels:
            self.compare.children = [self._run_box(r) for r in others]
        for box, run in zip(self.compare.children, others, strict=True):
            hold(box, run.id in self.state.compared_ids)

    def _run_box(self, run: Run) -> widgets.Checkbox:
        box = widgets.Checkbox(
            description=self.run_label(run),
            tooltip=gettext("Set this run beside the shown one."),
            value=run.id in self.state.compared_ids,
            indent=False,
            layout={"width": "auto"},
        )

        def ticked(change: Mapping[str, object]) -> None:
            if change["new"] is not (run.id in self.state.compared_ids):
                rest = tuple(i for i in self.state.compared_ids if i != run.id)
                self.update(compared_ids=(*rest, run.id) if change["new"] else rest)

        box.observe(self.guarded(ticked), names="value")
        return box

    def _comparison(self) -> Markup:
        others = self._compared()
        if self.run is None or not others:
            return paragraph(gettext("Tick runs to set them beside the shown one."))
        return self.compared([self.run, *others])

    def _button(self, label: str, tooltip: str, handler: Callable[[object], None]) -> widgets.Button:
        made = widgets.Button(description=label, tooltip=tooltip, layout={"width": "auto"})
        made.on_click(self.guarded(handler))
        return made

    def _choice_table(self) -> Markup:
        names = (*self.view_fields, *self.fields)
        rows = [(self._field(n).label, choice_text(self._field(n), self._value(n)) or "–") for n in names]
        return joined(
            heading(gettext("Choices"), level=3), table((gettext("Choice"), gettext("Value")), rows, left=(1,))
        )

    def _save_report(self, _button: object) -> None:
        kind = self.kind or type(self).__name__.removesuffix("Panel").lower()
        content = page(self.title, self.static_html(), footer=Markup("{}").format(gettext("Saved from the panel.")))
        self._save(f"{kind}_{self.state.run_id or 'latest'}.html", content, gettext("One file, no network needed."))

    def _save_view(self, _button: object) -> None:
        own = self.run if self.run is not None and self.run.id not in shipped_ids(MEASURED) else None
        name = f"{self.name().replace('/', '_')}_view.json"
        remedy = gettext("{command} opens it with the same choices, also on another machine.")
        remedy = remedy.format(command=f"`workbench show {name}`")
        self._save(name, view_file(self.shared_choices(), own), remedy)

    def _save(self, name: str, content: str, remedy: str) -> None:
        target = Path.cwd() / name
        try:
            target.write_text(content, encoding="utf-8")
        except OSError as error:
            remedy = gettext("Free disk space or open the notebook from a writable folder.")
            cause = gettext("{file} cannot be written: {error}.").format(file=target, error=system_message(error))
            raise WorkbenchError(cause, remedy=remedy) from error
        set_html(self.message, message_card("info", gettext("Saved."), str(target), remedy))
