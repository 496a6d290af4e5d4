"""The command that hides facts in long texts and asks for them."""

from workbench.core.runs import Run
from workbench.interface.command import measures, printed
from workbench.questions.long_context.quality.spec import ContextQualitySpec, check_lengths

COLUMNS = (
    "part",
    "label",
    "variant",
    "task",
    "length_tokens",
    "depth_fraction",
    "right_fraction.value",
    "right_fraction.low",
    "right_fraction.high",
    "against_full.mean_kl_nat_per_token.value",
    "against_full.mcnemar_p",
)


@measures(ContextQualitySpec, can_resume=True, check=check_lengths)
def context_quality(run: Run) -> None:
    """Hide facts in long texts and ask for them, under attention techniques and cache formats or from a server."""
    printed(run, COLUMNS, as_json=False)


COMMANDS = (context_quality,)
