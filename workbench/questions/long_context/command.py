"""The command that measures prefill and decode of long prompts."""

from workbench.core.runs import Run
from workbench.interface.command import measures, printed
from workbench.questions.long_context.limits import check_fits_here
from workbench.questions.long_context.spec import LongContextSpec

COLUMNS = (
    "part",
    "label",
    "cache",
    "length_tokens",
    "chunk_tokens",
    "ttft_s",
    "ttft_prefix_s",
    "step_p50_s",
    "kv_held_bytes",
    "kv_predicted_bytes",
    "predicted_tokens",
    "found_tokens",
    "status",
)


@measures(LongContextSpec, can_resume=True, check=check_fits_here)
def long_context(run: Run) -> None:
    """Measure prefill and decode of long prompts, compare KV caches, and search for the longest context that fits."""
    printed(run, COLUMNS, as_json=False)


COMMANDS = (long_context,)
