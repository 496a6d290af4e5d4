"""The command that sends a surge through the gateway to a real engine."""

from collections.abc import Mapping

from workbench.core.rows import Json, plain
from workbench.core.runs import Run
from workbench.core.units import three_digits
from workbench.interface.command import measures, print_table
from workbench.interface.readable import out
from workbench.questions.surge.findings import RESULT_HEAD, result_rows
from workbench.questions.surge.rows import SurgeResult, SurgeSamples
from workbench.questions.surge.spec import SurgeSpec

SHOWN = (0, 1, 3, 4, 8, 9)
"""Columns of the panel's table that fit on a terminal."""


def _limits(run: Run) -> Mapping[str, Json]:
    """Return what the limits were derived from, and the limits."""
    samples = run.sampled(SurgeSamples)
    return {
        "capacity": plain(samples.capacity),
        "slo_tpot_s": samples.slo_tpot_s,
        "flags": plain(samples.flags),
    }


@measures(SurgeSpec, also=_limits)
def surge(run: Run) -> None:
    """Send a surge of requests through the gateway to an engine, once with each set of controls."""
    samples = run.sampled(SurgeSamples)
    out.print(f"Capacity: {three_digits(samples.capacity.requests_per_s)} requests/s.")
    rows = result_rows(run.rows(SurgeResult), run.asked(SurgeSpec).after_s)
    print_table([RESULT_HEAD[column] for column in SHOWN], ([row[column] for column in SHOWN] for row in rows))
    out.print(" ".join(f"{k} {v}" for k, v in samples.flags.items()))


COMMANDS = (surge,)
