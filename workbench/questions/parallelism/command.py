"""The command that plans devices for a load."""

from workbench.core.rows import plain
from workbench.core.units import three_digits
from workbench.interface.command import computes, print_table
from workbench.interface.readable import out
from workbench.questions.parallelism.findings import (
    PLAN_HEAD,
    SHOWN,
    Planned,
    hidden_plans,
    launch_lines,
    plan_list,
    plan_load,
    plan_rows,
    plan_verdict,
    reasons_by_precision,
)
from workbench.questions.parallelism.spec import PlanSpec


@computes(PlanSpec, plan_load, lambda answer: plain(plan_list(answer)))
def plan(answer: Planned) -> None:
    """List the plans that meet the SLO, cheapest first, and the reason against the others."""
    verdict = plan_verdict(answer)
    out.print(verdict.headline)
    print_table(PLAN_HEAD, plan_rows(answer))
    for line in (*hidden_plans(answer), *reasons_by_precision(answer)[:SHOWN], *verdict.lines[1:]):
        out.print(line)
    if answer.spec.trace:
        load = answer.spec
        out.print(
            f"Planned for the trace's busiest minute, {three_digits(load.requests_per_s)} requests/s, and its mean lengths: "
            f"{load.input_tokens:,} tokens in, {load.output_tokens:,} out."
        )
    out.print(launch_lines(answer), markup=False, highlight=False, soft_wrap=True)


COMMANDS = (plan,)
