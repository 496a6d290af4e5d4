"""The FAQ's table of long-context techniques beside what was measured."""

from workbench.catalog.paths import MEASURED
from workbench.catalog.tables import claims
from workbench.core.runs import Run
from workbench.interface.html import table
from workbench.interface.panel import StaticPanel
from workbench.interface.shared_view import runs_of_kind
from workbench.jobs.manager import JobManager
from workbench.questions.long_context.claims.findings import CLAIM_HEAD, Evidence, claim_rows


def claimed_and_measured(manager: JobManager | None = None) -> StaticPanel:
    """Return each claim, what was found on a GPU, and how the two compare."""
    store = (manager or JobManager()).store

    def runs(kind: str) -> list[Run]:
        return [r for r in runs_of_kind(kind, store=store, shipped=MEASURED) if r.environment.device_id != "cpu"]

    evidence = Evidence(attention=runs("attention"), ring=runs("ring_attention"), long_context=runs("long_context"))
    return StaticPanel(table(CLAIM_HEAD, [r.cells for r in claim_rows(claims(), evidence)], left=range(1, 6)))
