"""A stand-in for any job: real life cycle, and a run that is read from the file that WORKBENCH_FAKE_RUN names."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from workbench.core.progress import Progress
from workbench.jobs.child import carry_out
from workbench.jobs.directory import JobDirectory
from workbench.store.runs import RunStore, read_run_file


def pretend(kind, spec, folder):
    for i in range(3):
        time.sleep(0.2)
        yield Progress(step=f"step {i + 1}", done=i + 1, total=3)
    stored = read_run_file(Path(os.environ["WORKBENCH_FAKE_RUN"]))
    yield replace(stored, spec={**stored.spec, **spec}, finished_at="2100-01-01T00:00:00+00:00")


if __name__ == "__main__":
    carry_out(JobDirectory(Path(sys.argv[1])), RunStore(Path(sys.argv[2])), pretend)
