"""``workbench tune``: the best server flags for a load."""

from workbench.catalog.models import model_spec_from
from workbench.core.runs import Run
from workbench.interface.command import measures, print_table
from workbench.questions.tuning import findings
from workbench.questions.tuning.findings import tables
from workbench.questions.tuning.spec import TuneSpec


@measures(TuneSpec, can_resume=True, check=lambda spec: model_spec_from(spec.model))
def tune(run: Run) -> None:
    """Find the server flags that are best for a load: all settings are simulated, the promising ones measured."""
    spec = run.asked(TuneSpec)
    tuned = findings.tuned_under(run, slo_ttft_s=spec.slo_ttft_s, slo_tpot_s=spec.slo_tpot_s)
    if tuned is None:
        print("Nothing was measured: see the failures of the run.")
        return
    print("\n".join(findings.verdict(tuned).lines))
    print_table(tables.setting_head(tuned.aim.objective), tables.setting_rows(tuned))
    print(findings.launch_command(tuned))
    for name, reason in tables.refused_rows(run):
        print(f"Not tried: {name}: {reason}")


COMMANDS = (tune,)
