"""The FAQ's table of precisions, row by row, beside what was measured."""

from html import escape

from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.catalog.tables import claims
from workbench.experiments.precision_claims import claim_rows
from workbench.figures.tables import table
from workbench.jobs.manager import JobManager
from workbench.panels.base import StaticPanel
from workbench.panels.quantization_state import known_runs
from workbench.panels.shared_view import runs_of_kind


def claimed_and_measured(manager: JobManager | None = None) -> StaticPanel:
    """Claim, best measured value within one engine, the range in vLLM, and quality on the reference model."""
    store = (manager or JobManager()).store
    rows = claim_rows(
        claims(),
        quantization=known_runs(store),
        speed=runs_of_kind("serving_speed", store=store, shipped=SHIPPED),
        evaluations=runs_of_kind("evaluation", store=store, shipped=SHIPPED),
    )
    cells = [
        (
            escape(r.scored.claim.technique),
            r.scored.claim.metric.replace("_", " "),
            f"▬ {escape(r.scored.claim.shown_range)}",
            escape(r.scored.claim.condition),
            _marked(r.scored.measured) + (f" on {escape(r.scored.device)}" if r.scored.device != "–" else ""),
            _marked(r.in_vllm),
            _marked(r.on_reference),
            r.scored.outcome,
        )
        for r in rows
    ]
    head = (
        "Technique",
        "metric",
        "claimed",
        "for",
        "best measured",
        "in vLLM, 8B shape",
        "on the 9M reference model",
        "outcome",
    )
    return StaticPanel(table(head, cells, left=tuple(range(1, 8))))


def _marked(text: str) -> str:
    return text if text == "–" else f"● {escape(text)}"
