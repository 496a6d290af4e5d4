"""The FAQ's table of precisions, with the measurements of each row."""

from workbench.catalog.paths import MEASURED
from workbench.catalog.tables import claims
from workbench.interface.html import table
from workbench.interface.panel import StaticPanel
from workbench.interface.shared_view import runs_of_kind
from workbench.jobs.manager import JobManager
from workbench.questions.quantization.claims.findings import CLAIM_HEAD, claim_rows


def claimed_and_measured(manager: JobManager | None = None) -> StaticPanel:
    """Return each claim with the best measured value within one engine, the range in vLLM, and quality on the reference model."""
    store = (manager or JobManager()).store
    kinds = {"quantization": "quantization", "speed": "serving_speed", "evaluations": "evaluation"}
    runs = {name: runs_of_kind(kind, store=store, shipped=MEASURED) for name, kind in kinds.items()}
    return StaticPanel(table(CLAIM_HEAD, claim_rows(claims(), **runs), left=tuple(range(1, len(CLAIM_HEAD)))))
