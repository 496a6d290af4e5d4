"""The FAQ's table of long-context techniques beside what was measured."""

from html import escape

from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.catalog.tables import claims
from workbench.experiments.context_claims import claim_rows
from workbench.figures.tables import table
from workbench.jobs.manager import JobManager
from workbench.panels.base import StaticPanel
from workbench.panels.shared_view import runs_of_kind


def claimed_and_measured(manager: JobManager | None = None) -> StaticPanel:
    """Claim, what was found on a GPU, and how the two compare."""
    store = (manager or JobManager()).store
    runs = {
        kind: runs_of_kind(kind, store=store, shipped=SHIPPED)
        for kind in ("attention", "ring_attention", "long_context")
    }
    rows = claim_rows(
        claims(), attention=runs["attention"], ring=runs["ring_attention"], long_context=runs["long_context"]
    )
    cells = [
        (
            escape(r.claim.technique),
            r.claim.metric.replace("_", " "),
            f"▬ {escape(r.claim.shown_range)}",
            escape(r.claim.condition),
            escape(r.found),
            r.outcome,
        )
        for r in rows
    ]
    head = ("Technique", "metric", "claimed", "for", "found", "outcome")
    return StaticPanel(table(head, cells, left=tuple(range(1, 6))))
