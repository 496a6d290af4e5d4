"""What no test asserts, because it is the speed of a machine: how fast the workbench itself is here.

    make bench            prints a table: what, median, range, aim; with machine, versions and date

Each figure is taken several times, interleaved with the others, so that what else the machine does falls on all of them.
"""

import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from workbench.core.runs import utc_now
from workbench.core.units import shown_duration
from workbench.gateway.endpoints import COMPLETION
from workbench.gateway.request_json import BadRequest
from workbench.gateway.validation import Limits, check_request
from workbench.jobs.manager import JobManager
from workbench.telemetry.devices import cpu_device
from workbench.telemetry.environment import read_environment

ROUNDS = 5
ROOT = Path(__file__).parents[1]
CHILD = (str(ROOT / "tests" / "jobs" / "fake_child.py"),)


def cancel_s() -> float:
    """Seconds from Cancel until a job's processes have ended."""
    with tempfile.TemporaryDirectory() as home:
        jobs = JobManager(Path(home), child=CHILD)
        job = jobs.submit("pretend", {"steps": 1000, "grandchild": True})
        while not (jobs.directory(job).path / "grandchild").exists():
            time.sleep(0.05)
        process = jobs.directory(job).process()
        family = [process, *process.children(recursive=True)] if process else []
        began = time.perf_counter()
        jobs.cancel(job)
        psutil.wait_procs(family, timeout=10)
        return time.perf_counter() - began


def megabyte_s() -> float:
    """Seconds of the processor to refuse a prompt of a megabyte."""
    raw = json.dumps({"model": "m", "prompt": "a.a." * 250_000}).encode()
    began = time.process_time()
    with contextlib.suppress(BadRequest):
        check_request(raw, Limits(max_bytes=2_000_000), endpoint=COMPLETION)
    return time.process_time() - began


def command_s() -> float:
    """Seconds until ``workbench --help`` has answered."""
    return _process_s("-m", "workbench.app", "--help")


def panel_s() -> float:
    """Seconds until the cost panel has opened in a new Python."""
    return _process_s("-c", "from workbench.questions.cost.panel import CostPanel; CostPanel()")


def redraw_s() -> float:
    """Seconds that the cost panel takes to answer one changed control."""
    from workbench.questions.cost.panel import CostPanel

    panel = CostPanel()
    rate = next(c for c in panel.controls.values() if isinstance(c.value, float))
    began = time.perf_counter()
    rate.value = rate.value + 1
    return time.perf_counter() - began


def _process_s(*words: str) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *words],
        check=True,
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
    )
    return time.perf_counter() - began


FIGURES: dict[str, tuple[Callable[[], float], float | None]] = {
    "cancel a job and all that it started": (cancel_s, 2.0),
    "refuse a prompt of a megabyte (processor time)": (megabyte_s, 1.0),
    "workbench --help": (command_s, None),
    "open a panel in a new Python": (panel_s, None),
    "answer a changed control": (redraw_s, 0.05),
}
"""By what is timed: how, and the most that it should take."""


def main() -> None:
    """Print the table."""
    os.environ["PYTHONPATH"] = str(ROOT / "tests")
    samples: dict[str, list[float]] = {name: [] for name in FIGURES}
    for _ in range(ROUNDS):
        for name in random.sample(list(FIGURES), len(FIGURES)):
            samples[name].append(FIGURES[name][0]())
    environment = read_environment(cpu_device())
    table = Table("what", "median", "range", "at most", title=f"● measured, {ROUNDS} rounds, interleaved")
    for name, values in samples.items():
        most = FIGURES[name][1]
        spread = f"{shown_duration(min(values))} to {shown_duration(max(values))}"
        table.add_row(
            name, shown_duration(statistics.median(values)), spread, "–" if most is None else shown_duration(most)
        )
    out = Console()
    out.print(table)
    out.print(
        f"{environment.cpu}, {environment.n_cpus} cores, Python {environment.python}, revision {environment.git_revision}, {utc_now()}; `make bench`",
        highlight=False,
    )


if __name__ == "__main__":
    main()
