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
    plan_list,
    plan_load,
    plan_rows,
    plan_verdict,
)
from workbench.questions.parallelism.spec import PlanSpec


@computes(PlanSpec, plan_load, lambda answer: plain(plan_list(answer)))
def plan(answer: Planned) -> None:
    """List the plans that meet the SLO, cheapest first, and the reason against the others."""
    rows = plan_rows(answer)
    out.print(plan_verdict(answer).headline)
    print_table(PLAN_HEAD, rows)
    for line in hidden_plans(answer):
        out.print(line)
    for line in list(dict.fromkeys(f"{p.device_name}: {p.reason}" for p in answer.plans if p.reason))[:SHOWN]:
        out.print(line)
    if answer.spec.trace:
        load = answer.spec
        out.print(
            f"Planned for the trace's busiest minute, {three_digits(load.requests_per_s)} requests/s, and its mean lengths: "
            f"{load.input_tokens:,} tokens in, {load.output_tokens:,} out."
        )


COMMANDS = (plan,)
