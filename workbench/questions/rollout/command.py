"""The command that measures rollouts between real versions."""

from workbench.core.runs import Run
from workbench.interface.command import measures, print_table
from workbench.questions.rollout.findings import RESULT_HEAD, result_rows
from workbench.questions.rollout.rows import RolloutResult
from workbench.questions.rollout.spec import RolloutSpec


@measures(RolloutSpec)
def rollout(run: Run) -> None:
    """Roll out healthy and degraded versions behind the gateway, and measure how each rollout ends."""
    print_table(RESULT_HEAD, result_rows(run.rows(RolloutResult)))


COMMANDS = (rollout,)
