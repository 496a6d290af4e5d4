import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from jobs.fake_child import pretend
from support import invented_run
from support.waiting import wait_for

from workbench.core.errors import StoreError
from workbench.core.progress import Progress
from workbench.jobs.child import carry_out
from workbench.jobs.directory import JobDirectory, JobState
from workbench.jobs.manager import JobManager
from workbench.store.runs import RunStore

CHILD = (str(Path(__file__).with_name("fake_child.py")),)


@pytest.fixture
def jobs(tmp_path):
    return JobManager(tmp_path / "home", child=CHILD)


def test_a_job_runs_to_its_end_and_its_run_and_its_state_stay(jobs):
    job = jobs.submit("pretend", {})
    view = jobs.wait(job, timeout_s=180)
    assert (view.state, view.done_fraction) == (JobState.DONE, 1.0)
    assert jobs.store.get(job).id == job
    jobs.cancel(job)
    assert jobs.directory(job).finish(JobState.FAILED, cause="late") is False
    assert jobs.view(job).state is JobState.DONE


@pytest.mark.parametrize(
    ("fails", "cause", "remedy"),
    [
        ("ours", "too short", "longer"),
        ("defect", "ZeroDivisionError", "log"),
        ("disk", "No space left", "Free disk space"),
    ],
)
def test_a_failure_says_what_happened_and_what_to_do(tmp_path, fails, cause, remedy):
    directory = JobDirectory.create(tmp_path / "job", kind="pretend", spec={"fails": fails}, created_at="2026-01-01")
    carry_out(directory, RunStore(tmp_path / "runs.sqlite"), pretend)
    view = directory.view()
    assert view.state is JobState.FAILED
    assert cause in view.cause
    assert remedy in view.remedy
    assert "Traceback" in view.details


def test_cancel_returns_when_the_whole_family_has_ended(jobs):
    job = jobs.submit("pretend", {"steps": 1000, "grandchild": True})
    folder = jobs.directory(job).path
    wait_for(lambda: (folder / "grandchild").exists() and (folder / "grandchild").read_text())
    child, grandchild = jobs.directory(job).process(), psutil.Process(int((folder / "grandchild").read_text()))
    jobs.cancel(job)
    _, alive = psutil.wait_procs([child, grandchild], timeout=60)  # until the system has taken them off its list
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    assert jobs.view(job).state is JobState.CANCELLED


def test_a_killed_job_is_interrupted_and_resumes_from_its_parts(jobs):
    job = jobs.submit("pretend", {"steps": 3, "waits_at": 2})
    parts = jobs.directory(job).path / "parts"
    wait_for(lambda: (parts / "1").exists())
    os.killpg(jobs.directory(job).process().pid, signal.SIGKILL)
    wait_for(lambda: jobs.view(job).state is JobState.INTERRUPTED)
    view = jobs.view(job)
    assert "Resume" in view.remedy
    kept = {p.name: p.stat().st_mtime_ns for p in parts.iterdir()}
    (parts.parent / "go").touch()
    jobs.resume(job)
    assert jobs.wait(job, timeout_s=180).state is JobState.DONE
    assert all((parts / name).stat().st_mtime_ns == at for name, at in kept.items())


KERNEL = """
import sys, time
from pathlib import Path
from workbench.jobs.manager import JobManager
manager = JobManager(Path(sys.argv[1]), child=(sys.argv[2],))
print(manager.submit("pretend", {"waits_at": 0}), flush=True)
time.sleep(600)
"""


def test_a_killed_kernel_loses_nothing(jobs):
    kernel = subprocess.Popen(
        [sys.executable, "-c", KERNEL, str(jobs.home), CHILD[0]], stdout=subprocess.PIPE, text=True
    )
    job = kernel.stdout.readline().strip()
    kernel.kill()
    kernel.wait()
    kernel.stdout.close()
    assert jobs.view(job).state in {JobState.STARTING, JobState.RUNNING}
    (jobs.directory(job).path / "go").touch()
    assert jobs.wait(job, timeout_s=180).state is JobState.DONE
    assert jobs.store.has(job)


def test_a_job_that_stored_its_run_but_died_counts_as_done(jobs):
    job = jobs.submit("pretend", {"steps": 1})
    jobs.wait(job, timeout_s=180)
    wait_for(lambda: jobs.directory(job).process() is None)
    (jobs.directory(job).path / "result.json").unlink()
    assert jobs.view(job).state is JobState.DONE


def test_a_later_process_with_the_same_number_is_not_taken_for_the_job(tmp_path):
    directory = JobDirectory.create(tmp_path / "job", kind="pretend", spec={}, created_at="2026-01-01")
    directory._write("pid", {"pid": os.getpid(), "started": psutil.Process().create_time() - 1000})
    assert directory.view().state is JobState.INTERRUPTED


def test_a_process_that_a_cancel_ended_is_cancelled_not_interrupted(tmp_path):
    directory = JobDirectory.create(tmp_path / "job", kind="pretend", spec={}, created_at="2026-01-01")
    directory._write("pid", {"pid": os.getpid(), "started": psutil.Process().create_time() - 1000})
    directory.mark_stopping()
    assert directory.view().state is JobState.STOPPING  # the one who cancels is still tidying up
    os.utime(directory.path / "stopping", (1, 1))
    assert directory.view().state is JobState.CANCELLED  # it was killed before it could say so


def test_a_torn_event_line_is_passed_over(tmp_path):
    directory = JobDirectory.create(tmp_path / "job", kind="pretend", spec={}, created_at="2026-01-01")
    directory.append_event(Progress(step="one", done=1, total=2), elapsed_s=1)
    with (directory.path / "events.jsonl").open("a") as file:
        file.write('{"step": "tw')
    assert directory.last_event().step == "one"


def test_unknown_jobs_are_named(jobs):
    with pytest.raises(StoreError, match="no job nothing"):
        jobs.view("nothing")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_loses_no_stored_run_and_the_new_one_is_saved_where_there_is_room(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(disk)], check=False, capture_output=True
    ).returncode:
        pytest.skip("mount is not allowed here")
    try:
        jobs = JobManager(disk, child=CHILD)
        jobs.store.add(invented_run())
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        job = jobs.submit("pretend", {"steps": 2, "waits_at": 1})
        wait_for(lambda: jobs.view(job).state is JobState.RUNNING)
        try:
            with (disk / "filler").open("wb") as filler:
                while True:
                    filler.write(b"x" * 4096)
                    filler.flush()
        except OSError:
            pass
        (disk / "jobs" / job / "go").touch()
        view = jobs.wait(job, timeout_s=60)
        assert view.state is JobState.DONE
        assert "could not be stored" in view.cause
        assert str(tmp_path / "workbench-run") in view.remedy
        assert jobs.result(job).results
        (disk / "filler").unlink()
        assert jobs.store.has("invented")
        wait_for(lambda: jobs.directory(job).process() is None)  # until it ends, its log keeps the disk busy
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
