"""The command that measures the KL divergence of a whole plan."""

from collections.abc import Callable, Mapping

from workbench.catalog.models import model_spec_from
from workbench.compress.rows import coverage_text
from workbench.core.columns import cells_of
from workbench.core.runs import Run
from workbench.core.units import shown_duration, three_digits
from workbench.interface.command import measures, print_table
from workbench.interface.numbers import with_ends
from workbench.interface.readable import out
from workbench.questions.quantization.plan_damage.rows import PlanDamage
from workbench.questions.quantization.plan_damage.spec import PlanDamageSpec

COLUMNS: Mapping[str, Callable[[PlanDamage], str]] = {
    "calibration text, tokens": lambda r: f"{r.calibration_tokens:,}",
    "bits per weight": lambda r: three_digits(r.stored_bits),
    "KL, nat/token": lambda r: with_ends(r.mean_kl_nat_per_token),
    "quantization time": lambda r: shown_duration(r.make_s),
}


@measures(PlanDamageSpec, can_resume=True, check=lambda spec: model_spec_from(spec.model))
def verify_plan(run: Run) -> None:
    """Measure the KL divergence of a whole plan, for one or several amounts of calibration text."""
    rows = run.rows(PlanDamage)
    print_table(COLUMNS, cells_of(COLUMNS, rows))
    out.print(f"Quantized: {coverage_text(rows[0].coverage)}.")


COMMANDS = (verify_plan,)
