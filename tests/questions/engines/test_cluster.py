"""A sweep on a real Ray cluster loses a node in the middle and still stores every trial exactly once."""

import importlib.util

import pytest
from support.ray_cluster import cluster_of_two
from support.waiting import wait_for

from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.engines.server import free_port
from workbench.jobs.directory import JobState
from workbench.jobs.manager import JobManager
from workbench.questions.engines.rows import EngineResult
from workbench.questions.engines.spec import EngineSweepSpec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
]
RATES = (4.0, 6.0, 8.0)


@pytest.fixture(scope="module")
def cluster():
    with cluster_of_two() as made:
        yield made


def test_a_node_is_killed_and_every_trial_is_stored_exactly_once(tmp_path, cluster):
    _, first, second = cluster.running
    with MockProcess(MockSettings(ttft_s=0.02, itl_s=0.002)) as a, MockProcess(MockSettings(ttft_s=0.02)) as b:
        spec = EngineSweepSpec(
            model=str(REFERENCE_MODEL),
            engines=(a.url, b.url),
            rates_per_s=RATES,
            duration_s=3.0,
            input_tokens=16,
            output_tokens=8,
            device="cpu",
            cluster=cluster.address,
        )
        manager = JobManager(tmp_path / "home")
        job_id = manager.submit("engine_sweep", spec.to_dict())
        folder = manager.directory(job_id).path / "parts"

        def trials():
            return {p.name: p.stat().st_mtime_ns for p in folder.glob("*.json") if not p.name.endswith("@server.json")}

        try:
            wait_for(lambda: len({name.split("@")[0] for name in trials()}) == 2)  # both measure the next one now
            kept = trials()
            cluster.kill(second)
            wait_for(lambda: manager.view(job_id).state.is_final)
            view = manager.view(job_id)
            assert view.state is JobState.DONE, (view.cause, manager.log(job_id))
        finally:
            manager.cancel(job_id)
    run = manager.store.get(job_id)
    for result in run.rows(EngineResult):
        assert result.status == "measured"
        assert [t.rate_per_s for t in result.trials] == list(RATES)
        assert all(t.n_failed == 0 for t in result.trials)
    assert len(trials()) == 2 * len(RATES)
    assert {n: t for n, t in trials().items() if n in kept} == kept  # what was kept is not measured again
    (loss,) = run.failures
    assert "was lost after" in loss.cause
    assert first.poll() is None


def test_an_address_without_a_cluster_and_a_wish_that_no_node_meets_say_so(tmp_path, cluster):
    manager = JobManager(tmp_path / "home")
    for changes, words in (
        ({"cluster": f"127.0.0.1:{free_port()}"}, "does not answer"),
        ({"cluster": cluster.address, "n_gpus": 1.0}, "No node of the cluster has 1 CPU and 1 GPU"),
    ):
        spec = EngineSweepSpec(model=str(REFERENCE_MODEL), engines=("http://127.0.0.1:9",), device="cpu", **changes)
        job_id = manager.submit("engine_sweep", spec.to_dict())
        wait_for(lambda job_id=job_id: manager.view(job_id).state.is_final)
        assert manager.view(job_id).state is JobState.FAILED
        assert words in manager.view(job_id).cause
