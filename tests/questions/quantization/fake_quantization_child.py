"""A stand-in for the quantization job: real life cycle, invented numbers."""

import sys
import time
from dataclasses import replace
from pathlib import Path

from support import invented_run

from workbench.core.errors import InvalidSpec
from workbench.core.progress import Progress
from workbench.jobs.child import carry_out
from workbench.jobs.directory import JobDirectory
from workbench.store.runs import RunStore
from workbench.telemetry.devices import cpu_device


def pretend(kind, spec, folder):
    text = Path(spec["text"] or "").name
    if text == "short":
        raise InvalidSpec("The text is too short.", remedy="Use a longer one.")
    steps = 1000 if text == "slow" else 3
    for i in range(steps):
        time.sleep(0.3)
        yield Progress(step=f"step {i + 1}", done=i + 1, total=steps)
    yield replace(invented_run(device=cpu_device().name), finished_at="2100-01-01T00:00:00+00:00")


if __name__ == "__main__":
    carry_out(JobDirectory(Path(sys.argv[1])), RunStore(Path(sys.argv[2])), pretend)
