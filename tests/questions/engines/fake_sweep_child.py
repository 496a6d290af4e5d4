"""A job process that measures nothing: requests happen at once, and the run is an invented one."""

import sys
import time
from dataclasses import replace
from pathlib import Path

from support import invented_sweep

from workbench.core.progress import Progress
from workbench.jobs.child import carry_out
from workbench.jobs.directory import JobDirectory
from workbench.load.messages import FinishedRequest, LoadProgress
from workbench.questions.engines.rows import LiveTrial
from workbench.store.runs import RunStore


def measure(kind, spec, folder):
    for i in range(6):
        ended = FinishedRequest(index=i, due_s=0.1 * i, ttft_s=0.05, e2e_s=0.3, n_chunks=8, error=None)
        load = LoadProgress(
            elapsed_s=0.1 * i, n_sent=i, n_in_flight=0, n_waiting=0, n_finished=i, n_failed=0, finished=(ended,)
        )
        live = LiveTrial(engine="torch", rate_per_s=2.0, load=load)
        yield Progress(step=f"torch · step {i}", done=i, total=6, result=live)
        time.sleep(0.3)
    yield replace(invented_sweep(), spec=dict(spec))


if __name__ == "__main__":
    carry_out(JobDirectory(Path(sys.argv[1])), RunStore(Path(sys.argv[2])), measure)
