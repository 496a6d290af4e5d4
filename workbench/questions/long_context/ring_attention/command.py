"""The command that times attention over several devices."""

from workbench.catalog.models import model_spec_from
from workbench.core.runs import Run
from workbench.interface.command import measures, printed
from workbench.questions.long_context.ring_attention.spec import RingSpec

COLUMNS = ("n_devices", "length_tokens", "p50_s.value", "speedup", "max_error", "peak_bytes")


@measures(RingSpec, can_resume=True, check=lambda spec: model_spec_from(spec.model))
def ring_attention(run: Run) -> None:
    """Time attention over a sequence that is spread over several devices."""
    printed(run, COLUMNS, as_json=False)


COMMANDS = (ring_attention,)
