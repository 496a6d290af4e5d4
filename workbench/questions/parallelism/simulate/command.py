"""The command that replays traffic on simulated engines."""

from workbench.core.rows import plain
from workbench.interface.command import computes, print_table
from workbench.interface.readable import out
from workbench.questions.parallelism.simulate.findings import (
    SIMULATION_HEAD,
    SimulationAnswer,
    simulation,
    simulation_rows,
)
from workbench.questions.parallelism.simulate.spec import SimulateSpec


@computes(SimulateSpec, simulation, plain)
def simulate(answer: SimulationAnswer) -> None:
    """Replay traffic on simulated engines: latency, and the share of the requests that meet the SLO."""
    print_table(SIMULATION_HEAD, simulation_rows(answer))
    for note in answer.notes:
        out.print(note)


COMMANDS = (simulate,)
