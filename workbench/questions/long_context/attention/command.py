"""The command that times attention techniques."""

from workbench.catalog.models import model_spec_from
from workbench.core.runs import Run
from workbench.interface.command import measures, printed
from workbench.questions.long_context.attention.spec import AttentionSpec

COLUMNS = (
    "technique",
    "phase",
    "length_tokens",
    "p50_s.value",
    "ceiling_fraction",
    "flop_per_s",
    "peak_bytes",
    "energy_j",
    "max_error",
    "distance_from_full",
    "status",
)


@measures(AttentionSpec, can_resume=True, check=lambda spec: model_spec_from(spec.model))
def attention(run: Run) -> None:
    """Time attention techniques over length with a model's heads: prefill and decode, memory, energy, error."""
    printed(run, COLUMNS, as_json=False)


COMMANDS = (attention,)
