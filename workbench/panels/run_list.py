"""A panel that shows one of several runs, its own and those that ship, chosen from a list."""

from typing import Any

from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.core.runs import Run
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import runs_of_kind


class RunListPanel(AnswerPanel):
    """Its state has ``run_id`` and its controls a list of that name; a run that ends is shown."""

    def __init__(self, kind: str, *, css_class: str, manager: JobManager | None, poll_s: float = POLL_S) -> None:
        super().__init__(kind, css_class=css_class, manager=manager, poll_s=poll_s)
        self.runs = self._found()

    def _found(self) -> list[Run]:
        return runs_of_kind(self.kind, store=self.manager.store, shipped=SHIPPED)

    def label(self, run: Run) -> str:
        """How a run is called in the list."""
        return f"{run.environment.device} · {run.finished_at[:16].replace('T', ' ')}"

    def options(self) -> list[tuple[str, str | None]]:
        """Runs to choose from."""
        return [(self.label(r), r.id) for r in self.runs] or [("nothing measured yet", None)]

    @property
    def first_id(self) -> str | None:
        """The newest run."""
        return self.runs[0].id if self.runs else None

    @property
    def run(self) -> Run | None:
        """The run that is shown."""
        return next((r for r in self.runs if r.id == self.state.run_id), None)

    def finished(self, view: JobView) -> None:
        """Show the run."""
        self.runs = self._found()
        self.update(run_id=view.id)

    def show_controls(self) -> None:
        """What there is to choose from."""
        control: Any = self.controls["run_id"]
        if list(control.options) != self.options():
            control.options = self.options()
        super().show_controls()
