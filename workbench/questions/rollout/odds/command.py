"""The command that simulates how often rollback rules err."""

from workbench.core.rows import plain
from workbench.interface.command import computes, print_table
from workbench.questions.rollout.odds.findings import RULE_HEAD, RuleReport, rule_report, rule_rows
from workbench.questions.rollout.odds.spec import OddsSpec


@computes(OddsSpec, rule_report, plain)
def rollout_odds(report: RuleReport) -> None:
    """Simulate rollouts: how often each rollback rule rolls back healthy and degraded versions."""
    print_table(RULE_HEAD, rule_rows(report))


COMMANDS = (rollout_odds,)
