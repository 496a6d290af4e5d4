"""The command that simulates autoscaling rules on real traffic."""

from workbench.interface.command import computes, print_table
from workbench.questions.surge.scaling.findings import compared, played_data
from workbench.questions.surge.scaling.spec import ScalingSpec
from workbench.simulate.autoscaling import Played


@computes(ScalingSpec, compared, played_data)
def scaling(played: dict[str, Played]) -> None:
    """Simulate autoscaling rules on real traffic: minutes with SLO misses against GPU hours."""
    head = ("rule", "minutes with SLO misses", "SLO misses, %", "GPU hours", "most replicas")
    numbers = ((n, p.slo_minutes, 100 * p.late_fraction, p.gpu_hours, p.most) for n, p in played.items())
    print_table(head, ((name, *(f"{v:.1f}" for v in values), str(most)) for name, *values, most in numbers))


COMMANDS = (scaling,)
