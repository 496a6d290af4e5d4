"""The command that simulates autoscaling rules on real traffic."""

from workbench.catalog.paths import MEASURED
from workbench.interface.command import computes, print_table
from workbench.interface.readable import out
from workbench.interface.shared_view import runs_of_kind
from workbench.jobs.manager import JobManager
from workbench.questions.surge.scaling.findings import compared, played_data
from workbench.questions.surge.scaling.spec import ScalingSpec
from workbench.questions.surge.standby.findings import measured_starts
from workbench.questions.surge.standby.spec import StandbySpec
from workbench.simulate.autoscaling import Played


@computes(ScalingSpec, compared, played_data)
def scaling(played: dict[str, Played]) -> None:
    """Simulate autoscaling rules on real traffic: minutes with SLO misses against GPU hours."""
    head = ("rule", "minutes with SLO misses", "SLO misses, %", "GPU hours", "most replicas")
    numbers = ((n, p.slo_minutes, 100 * p.late_fraction, p.gpu_hours, p.most) for n, p in played.items())
    print_table(head, ((name, *(f"{v:.1f}" for v in values), str(most)) for name, *values, most in numbers))
    out.print(measured_starts(runs_of_kind(StandbySpec.kind, store=JobManager().store, shipped=MEASURED)))


COMMANDS = (scaling,)
