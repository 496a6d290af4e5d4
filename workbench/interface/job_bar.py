"""Run, Cancel, Resume and how far the job is."""

from collections.abc import Callable

import ipywidgets as widgets

from workbench.core.language import gettext
from workbench.core.units import shown_duration
from workbench.interface.html import note
from workbench.interface.panel import html, set_html
from workbench.jobs.directory import JobState, JobView


class JobBar:
    """Buttons and progress; it shows a job's view and knows nothing else."""

    def __init__(
        self,
        *,
        on_run: Callable[[object], None],
        on_cancel: Callable[[object], None],
        on_resume: Callable[[object], None],
    ) -> None:
        self.run = widgets.Button(
            description=gettext("Run"), button_style="primary", tooltip=gettext("Measure with these choices")
        )
        self.cancel = widgets.Button(
            description=gettext("Cancel"), disabled=True, tooltip=gettext("Stop and free the device")
        )
        self.resume = widgets.Button(description=gettext("Resume"), tooltip=gettext("Go on from the finished parts"))
        self.resume.layout.display = "none"
        for button, handler in ((self.run, on_run), (self.cancel, on_cancel), (self.resume, on_resume)):
            button.layout.flex = "1 1 70px"
            button.layout.width = "auto"
            button.on_click(handler)
        self.bar = widgets.FloatProgress(min=0, max=1, layout=widgets.Layout(width="100%", height="12px"))
        self.text = html(note(gettext("Nothing is running.")))
        self.box = widgets.Box(
            [widgets.HBox([self.run, self.cancel, self.resume]), widgets.VBox([self.bar, self.text])]
        )
        self.box.add_class("wb-job")
        self._busy, self._allowed = False, True

    def allow_run(self, allowed: bool) -> None:
        """Whether the chosen hardware can be measured here."""
        self._allowed = allowed
        self.run.disabled = self._busy or not allowed

    def _set_busy(self, busy: bool) -> None:
        self._busy = busy
        self.run.disabled = busy or not self._allowed
        self.cancel.disabled = not busy

    def _say(self, text: str) -> None:
        set_html(self.text, note(text))

    def starting(self) -> None:
        """A job was asked for."""
        self._set_busy(True)
        self.resume.layout.display = "none"
        self.bar.value, self.bar.bar_style = 0, "info"
        self._say(gettext("starting"))

    def stopping(self) -> None:
        """A cancel was asked for."""
        self.cancel.disabled = True
        self._say(gettext("stopping"))

    def idle(self) -> None:
        """Show that no job runs."""
        self._set_busy(False)
        self._say(gettext("Nothing is running."))

    def show(self, view: JobView) -> None:
        """The job as it is."""
        self._set_busy(not view.state.is_final)
        if view.state is JobState.STOPPING:
            self.cancel.disabled = True
        self.bar.value = view.done_fraction
        styles = {JobState.DONE: "success", JobState.FAILED: "danger", JobState.RUNNING: "info"}
        self.bar.bar_style = styles.get(view.state, "warning")
        self.resume.layout.display = None if view.state.can_resume else "none"
        parts = [
            gettext(str(view.state)) if view.state is not JobState.RUNNING else view.step,
            f"{view.done_fraction:.0%}",
        ]
        if view.state is JobState.DONE:
            parts.append(gettext("in {duration}").format(duration=shown_duration(view.elapsed_s)))
        elif view.remaining_s is not None:
            parts.append(gettext("about {duration} left").format(duration=shown_duration(view.remaining_s)))
        self._say(" · ".join(part for part in parts if part))
