"""Memory that a graph adds to a process, and its energy: ``python -m workbench.apparatus.footprint GRAPH THREADS INPUTS.npy...``.

A process of its own, since a peak is only ever the largest of all that came before. It imports nothing of PyTorch, which
would take longer than the measurement.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from workbench.core.errors import WorkbenchError
from workbench.core.rows import plain
from workbench.telemetry.energy import processor_meter

SECONDS = 0.25


class FootprintFailed(WorkbenchError):
    """The process that measured a graph ended with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Memory and energy of a graph that answers one batch after another."""

    peak_bytes: int
    """Peak memory above that of the process with ONNX Runtime imported."""
    cpu_s: float
    """Processor time for one input."""
    energy_j: float | None
    """Energy of the processor's package for one input; None where it has no counter that may be read."""

    def energy(self, watts_per_core: float) -> tuple[float, Literal["counter", "estimate"]]:
        """Return the energy of one input and its source: a counter, or an estimate from processor time."""
        return (self.energy_j, "counter") if self.energy_j is not None else (self.cpu_s * watts_per_core, "estimate")


def footprint(graph: Path, *, threads: int, inputs: Sequence[Path]) -> Footprint:
    """Return the memory that a graph adds to a process and its energy, measured in a child process.

    Args:
        graph: Graph that is run.
        threads: Threads of ONNX Runtime.
        inputs: Files (.npy) with one batch each, answered in this order.
    """
    command = [
        sys.executable,
        "-m",
        "workbench.apparatus.footprint",
        str(graph),
        str(threads),
        *map(str, inputs),
    ]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1][-300:]
        raise FootprintFailed(f"{graph.name} could not be run: {last}", remedy="Leave this variant out.")
    return msgspec.json.decode(child.stdout, type=Footprint)


def peak_bytes() -> int:
    """Return the peak memory of this process since the last ``reset_peak``."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reset_peak() -> None:
    """Reset the peak memory where the system can (Linux: 5 in ``clear_refs``)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def cost_of_input(
    answer: Callable[[], object], *, n_inputs: int, meter: Callable[[], float | None]
) -> tuple[float, float | None]:
    """Return the processor seconds and joules of one input, from running for ``SECONDS``."""
    began, cpu, joule, n = time.perf_counter(), time.process_time(), meter(), 0
    while time.perf_counter() - began < SECONDS:
        answer()
        n += n_inputs
    after = meter()
    used = None if joule is None or after is None else (after - joule) / n
    return (time.process_time() - cpu) / n, used


def main() -> None:
    """Open the graph, run it, and write its memory and energy."""
    from workbench.vision.sessions import Graph

    graph, threads, batches = Path(sys.argv[1]), int(sys.argv[2]), [np.load(file) for file in sys.argv[3:]]
    reset_peak()
    before = peak_bytes()
    opened = Graph(graph, threads=threads)

    def answer_all() -> None:
        for batch in batches:
            opened(batch)

    answer_all()
    peak = peak_bytes() - before
    cpu_s, joule = cost_of_input(answer_all, n_inputs=sum(map(len, batches)), meter=processor_meter())
    sys.stdout.write(json.dumps(plain(Footprint(peak_bytes=peak, cpu_s=cpu_s, energy_j=joule))))


if __name__ == "__main__":
    main()
