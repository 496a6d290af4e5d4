"""A tuning run on a real Ray cluster loses its node in the middle; another one goes on from what was kept."""

import importlib.util

import pytest
from support.ray_cluster import cluster_of_two
from support.waiting import wait_for

from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.jobs.directory import JobState
from workbench.jobs.manager import JobManager
from workbench.questions.tuning.rows import TuneChoice
from workbench.questions.tuning.spec import TuneSpec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
]


def test_a_lost_node_loses_no_finished_part(tmp_path):
    with cluster_of_two() as cluster, MockProcess(MockSettings(ttft_s=0.02, itl_s=0.002)) as server:
        spec = TuneSpec(
            model=str(REFERENCE_MODEL),
            url=server.url,
            rate_per_s=4,
            duration_s=3.0,
            input_tokens=16,
            output_tokens=8,
            device="cpu",
            cluster=cluster.address,
        )
        manager = JobManager(tmp_path / "home")
        job_id = manager.submit("tuning", spec.to_dict())
        folder = manager.directory(job_id).path / "parts"

        def parts():
            return {p.name: p.stat().st_mtime_ns for p in folder.glob("*.json")}

        try:
            wait_for(lambda: any(name.startswith("probe@") for name in parts()))
            kept = parts()
            cluster.kill(cluster.running_task("_measurement"))
            wait_for(lambda: manager.view(job_id).state.is_final)
            assert manager.view(job_id).state is JobState.DONE, (manager.view(job_id).cause, manager.log(job_id))
        finally:
            manager.cancel(job_id)
    run = manager.store.get(job_id)
    assert run.row(TuneChoice).n_measured == 1
    assert {n: t for n, t in parts().items() if n in kept} == kept
    assert any("was lost with" in failure.cause for failure in run.failures)
