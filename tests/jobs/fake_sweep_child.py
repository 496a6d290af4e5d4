"""A job process that measures nothing: requests happen at once, and the run is an invented one."""

import sys
import time
from dataclasses import replace
from pathlib import Path

from workbench.core.progress import Progress
from workbench.jobs.child import carry_out
from workbench.jobs.directory import JobDirectory
from workbench.store.runs import RunStore
from workbench.testing import invented_sweep


def measure(spec, folder):
    for i in range(6):
        finished = [{"index": i, "due_s": 0.1 * i, "ttft_s": 0.05, "e2e_s": 0.3, "n_chunks": 8, "error": None}]
        result = {"engine": "torch", "rate_per_s": 2.0, "finished": finished}
        yield Progress(step=f"torch · step {i}", done=i, total=6, result=result)
        time.sleep(0.3)
    yield replace(invented_sweep(), spec=dict(spec))


if __name__ == "__main__":
    carry_out(JobDirectory(Path(sys.argv[1])), RunStore(Path(sys.argv[2])), {"engine_sweep": measure})
