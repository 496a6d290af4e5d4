"""Runs from the result files of other load generators."""

from pathlib import Path

from workbench.core.load import ClientHealth, LoadSpec
from workbench.core.runs import Environment, Run
from workbench.experiments.load import KIND, failures_of, sample
from workbench.load.peers import read_vllm_bench
from workbench.load.summary import summary

NOT_RECORDED = "not recorded"


def run_from_vllm_bench(path: Path) -> Run:
    """A load run from a file of ``vllm bench serve``; raises ``StoreError`` for anything else.

    The file tells nothing of the machine and of the client's health, so both stay unknown.
    """
    peer = read_vllm_bench(path)
    unknown = ClientHealth(verdict="doubtful", reason="", loop_lag_p99_s=0.0, send_lateness_p99_s=0.0, cpu_fraction=0.0)
    answers = summary(LoadSpec(url="http://not-recorded", model=peer.model), peer.records, unknown)
    answers |= {"client_health": None, "prefix_cache": {"hit_fraction": None, "warning": None, "counters_found": False}}
    environment = Environment(
        device=f"{NOT_RECORDED} ({peer.tool})",
        device_id="unknown",
        cpu=NOT_RECORDED,
        n_cpus=0,
        memory_bytes=0,
        driver=None,
        python=NOT_RECORDED,
        packages={},
        git_revision=None,
    )
    return Run(
        kind=KIND,
        spec={"imported_from": peer.tool, "model": peer.model, **peer.settings},
        environment=environment,
        started_at=peer.date,
        finished_at=peer.date,
        seed=0,
        results=[answers],
        samples={"requests": [sample(r) for r in peer.records]},
        failures=failures_of(list(peer.records)),
    )
