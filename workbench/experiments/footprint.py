"""What a graph adds to a process, and what it costs in energy: ``python -m workbench.experiments.footprint GRAPH THREADS BATCH INPUTS.npy``.

A process of its own, since a peak is only ever the largest of all that came before.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.core.errors import WorkbenchError
from workbench.telemetry.energy import processor_meter

SECONDS = 0.25


class FootprintFailed(WorkbenchError):
    """The process that was to measure a graph ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Of a graph that answers one batch after another."""

    peak_bytes: int
    """Above what the process had with ONNX Runtime imported."""
    cpu_s: float
    """Processor time for one input."""
    energy_j: float | None
    """Of the processor's package for one input; None where it has no counter that may be read."""


def footprint(graph: Path, *, threads: int, inputs: Path) -> Footprint:
    """Measured in a child.

    Args:
        graph: To run.
        threads: Of ONNX Runtime.
        inputs: .npy with one batch.
    """
    command = [sys.executable, "-m", "workbench.experiments.footprint", str(graph), str(threads), str(inputs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1][-300:]
        raise FootprintFailed(f"{graph.name} could not be run: {last}", remedy="Leave this variant out.")
    return Footprint(**json.loads(done.stdout))


def peak_bytes() -> int:
    """Most memory that this process has had since the last ``forget_peak``."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak() -> None:
    """Start the peak anew, where the system can (Linux: 5 in ``clear_refs``)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def timed(
    answer: Callable[[], object], *, n_inputs: int, meter: Callable[[], float | None]
) -> tuple[float, float | None]:
    """Processor seconds and joule for one input, from running for a while."""
    began, cpu, joule, n = time.perf_counter(), time.process_time(), meter(), 0
    while time.perf_counter() - began < SECONDS:
        answer()
        n += n_inputs
    after = meter()
    used = None if joule is None or after is None else (after - joule) / n
    return (time.process_time() - cpu) / n, used


def main() -> None:
    """Open the graph, run it and tell."""
    from workbench.vision.sessions import Graph

    graph, threads, inputs = Path(sys.argv[1]), int(sys.argv[2]), np.load(sys.argv[3])
    forget_peak()
    before = peak_bytes()
    opened = Graph(graph, threads=threads)
    opened(inputs)
    peak = peak_bytes() - before
    cpu_s, joule = timed(lambda: opened(inputs), n_inputs=len(inputs), meter=processor_meter())
    sys.stdout.write(json.dumps({"peak_bytes": peak, "cpu_s": cpu_s, "energy_j": joule}))


if __name__ == "__main__":
    main()
