"""A sweep that is cancelled or killed leaves no server behind."""

import json
import os
import signal
import time

import psutil
import pytest

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.engine_sweep import EngineSweepSpec
from workbench.jobs.directory import JobState
from workbench.jobs.manager import JobManager
from workbench.testing.waiting import wait_for

pytestmark = pytest.mark.slow


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def running(tmp_path):
    """A sweep whose server answers, and the pid of that server."""
    manager = JobManager(tmp_path)
    spec = EngineSweepSpec(model=str(REFERENCE_MODEL), engines=("torch",), device="cpu", duration_s=30)
    job_id = manager.submit("engine_sweep", spec.to_dict())
    wait_for(lambda: "requests/s" in manager.view(job_id).step)
    (card,) = (manager.directory(job_id).path / "servers").glob("*.json")
    pid = json.loads(card.read_text())["pid"]
    assert alive(pid)
    yield manager, job_id, pid
    manager.cancel(job_id)


def test_cancelling_a_sweep_ends_its_server(running):
    manager, job_id, pid = running
    started = time.monotonic()
    manager.cancel(job_id)
    assert time.monotonic() - started < 2
    assert manager.view(job_id).state is JobState.CANCELLED
    assert not alive(pid)


def test_a_killed_sweep_takes_its_server_with_it(running):
    manager, job_id, pid = running
    os.kill(manager.directory(job_id).process().pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), timeout_s=10)
    wait_for(lambda: manager.view(job_id).state is JobState.INTERRUPTED, timeout_s=10)
