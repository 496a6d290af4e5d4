"""The command that prices a load."""

from workbench.core.rows import plain
from workbench.interface.command import computes, print_table
from workbench.interface.readable import out
from workbench.questions.cost.findings import (
    SAVING_HEAD,
    UNIT_HEAD,
    Priced,
    cost_summary,
    launch_lines,
    price_load,
    saving_rows,
    unit_rows,
)
from workbench.questions.cost.spec import CostSpec
from workbench.simulate.planned import plan_label


@computes(CostSpec, price_load, lambda answer: plain(cost_summary(answer)))
def cost(answer: Priced) -> None:
    """Price a load: by request and token, on demand, on spot, owned and over a day; and what would save how much."""
    out.print(f"◌ {plan_label(answer.plan)}: {answer.usd_per_hour:.2f} USD/h ({answer.case.offer.price_label})")
    print_table(UNIT_HEAD, unit_rows(answer))
    print_table(SAVING_HEAD, saving_rows(answer))
    out.print(launch_lines(answer), markup=False, highlight=False, soft_wrap=True)


COMMANDS = (cost,)
