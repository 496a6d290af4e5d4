"""A panel whose Run button starts a job that lives outside the notebook."""

import time
from dataclasses import replace
from functools import partial
from typing import Any

from workbench.core.errors import WorkbenchError
from workbench.core.language import gettext
from workbench.core.stored_texts import translated
from workbench.interface.html import message_card
from workbench.interface.job_bar import JobBar
from workbench.interface.panel import Panel, set_html
from workbench.jobs.directory import JobState, JobView
from workbench.jobs.manager import JobManager

POLL_S = 0.3
BEGINS_ANEW = (gettext("Nothing was stored."), gettext("Resume begins anew: its parts belong together."))


class JobPanel(Panel):
    """Run, Cancel, Resume and re-attachment; what is measured and shown is left to the panel of a question."""

    cancelled_note = (gettext("What was finished is kept."), gettext("Resume goes on from there."))
    """What became of a cancelled job's work, and what to do."""

    def __init__(self, kind: str, *, manager: JobManager | None, poll_s: float) -> None:
        super().__init__()
        self.kind, self.poll_s = kind, poll_s
        self.manager = manager or JobManager()
        self.job_id: str | None = None
        self.job_bar = JobBar(
            on_run=self.guarded(self._run), on_cancel=self.guarded(self._cancel), on_resume=self.guarded(self._resume)
        )

    @property
    def plan(self) -> Any:
        """The spec that the choices ask for."""
        raise NotImplementedError

    @property
    def measured_spec(self) -> Any:
        """The spec that Run measures, where it is not what the choices ask for."""
        return self.plan

    def check(self) -> None:
        """Raise a ``WorkbenchError`` when the plan cannot be measured; called away from the kernel's loop."""

    def attached(self, view: JobView) -> None:
        """A running job was found."""

    def progressed(self, view: JobView) -> None:
        """React to the progress of the job that runs."""

    def finished(self, view: JobView) -> None:
        """The job has stored its run."""
        raise NotImplementedError

    def _in_readers_language(self, view: JobView) -> JobView:
        """Return a job, which speaks English, with its step and its error as the question's table translates them."""
        words = partial(translated, domain=type(self).__module__.split(".")[2])
        return replace(view, step=words(view.step), cause=words(view.cause), remedy=words(view.remedy))

    def _run(self, _button: object) -> None:
        self.clear_message()
        self.job_bar.starting()
        self.in_background(self._start)

    def _start(self) -> None:
        try:
            self.check()
            self.job_id = self.manager.submit(self.kind, self.measured_spec.to_dict())
        except WorkbenchError:
            self.job_bar.idle()
            raise
        self._watch(self.job_id)

    def attach_to_live_job(self) -> None:
        """Find the job that an earlier kernel started."""
        views = self.manager.views(self.kind)
        live = next((v for v in views if not v.state.is_final), None)
        if live is not None:
            self.job_id = live.id
            self.attached(live)
            self.in_background(self._watch, live.id)
        elif views and views[0].state is JobState.INTERRUPTED:
            self.job_id = views[0].id
            self._job_ended(views[0])

    def _watch(self, job_id: str) -> None:
        while not (view := self.manager.view(job_id)).state.is_final:
            self.job_bar.show(self._in_readers_language(view))
            self.progressed(view)
            time.sleep(self.poll_s)
        self._job_ended(view)

    def _job_ended(self, view: JobView) -> None:
        view = self._in_readers_language(view)
        self.job_bar.show(view)
        if view.state is JobState.DONE:
            self.finished(view)
        elif view.state is JobState.FAILED:
            title = gettext("The run failed.")
            set_html(self.message, message_card("failure", title, view.cause, view.remedy, view.details))
        elif view.state is JobState.INTERRUPTED:
            title = gettext("The last run was interrupted.")
            set_html(self.message, message_card("caution", title, view.cause, view.remedy))
        elif view.state is JobState.CANCELLED:
            set_html(self.message, message_card("caution", gettext("Cancelled."), *self.cancelled_note))

    def _cancel(self, _button: object) -> None:
        if self.job_id:
            self.job_bar.stopping()
            self.in_background(self.manager.cancel, self.job_id)

    def _resume(self, _button: object) -> None:
        if self.job_id:
            self.clear_message()
            self.job_bar.starting()
            self.in_background(self._resume_job, self.job_id)

    def _resume_job(self, job_id: str) -> None:
        self.manager.resume(job_id)
        self._watch(job_id)
