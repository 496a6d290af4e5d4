"""The command that measures the damage of each format in each layer group alone."""

from collections.abc import Callable, Mapping

from workbench.catalog.formats import FORMATS
from workbench.catalog.models import model_spec_from
from workbench.compress.rows import coverage_text
from workbench.core.columns import cells_of
from workbench.core.runs import Run
from workbench.core.units import three_digits
from workbench.interface.command import measures, print_table
from workbench.interface.numbers import with_ends
from workbench.interface.readable import out
from workbench.questions.quantization.sensitivity.rows import GroupDamage, LayerCoverage, PlanResult
from workbench.questions.quantization.sensitivity.spec import SensitivitySpec

GROUP_COLUMNS: Mapping[str, Callable[[GroupDamage], str]] = {
    "layer group": lambda r: r.group,
    "format": lambda r: FORMATS[r.format].label,
    "bits per weight": lambda r: three_digits(r.stored_bits),
    "KL, nat/token": lambda r: with_ends(r.kl_nat_per_token),
    "Fisher proxy, nat/token": lambda r: three_digits(r.fisher_kl_nat_per_token),
}
PLAN_COLUMNS: Mapping[str, Callable[[PlanResult], str]] = {
    "plan": lambda r: r.origin,
    "budget, bits per weight": lambda r: three_digits(r.budget_bits),
    "bits per weight": lambda r: three_digits(r.stored_bits),
    "predicted KL, nat/token": lambda r: three_digits(r.predicted_kl_nat_per_token),
    "measured KL, nat/token": lambda r: with_ends(r.verified_kl_nat_per_token),
}


@measures(SensitivitySpec, can_resume=True, check=lambda spec: model_spec_from(spec.model))
def sensitivity(run: Run) -> None:
    """Measure the damage of each format in each layer group alone, and verify the best plans at several budgets."""
    print_table(GROUP_COLUMNS, cells_of(GROUP_COLUMNS, run.rows(GroupDamage)))
    print_table(PLAN_COLUMNS, cells_of(PLAN_COLUMNS, run.rows(PlanResult)))
    for row in run.rows(LayerCoverage):
        out.print(f"Weights in these groups: {coverage_text(row.coverage)}.")
        if row.not_reached:
            out.print(f"No measured format fits {', '.join(row.not_reached)}.")


COMMANDS = (sensitivity,)
