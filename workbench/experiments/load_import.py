"""Runs from the result files of other load generators."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from workbench.core.load import ClientHealth, LoadSpec
from workbench.core.runs import Environment, Run
from workbench.experiments.load import KIND, failures_of, sample
from workbench.load.latency import distribution
from workbench.load.peers import read_peer
from workbench.load.summary import summary

NOT_RECORDED = "not recorded"


def run_from_peer(path: Path) -> Run | None:
    """A load run from a file of another load generator; None when it is no such file.

    The file tells nothing of the machine and of the client's health, so both stay unknown.

    Raises:
        StoreError: a file of theirs without single requests.
    """
    peer = read_peer(path)
    if peer is None:
        return None
    unknown = ClientHealth(verdict="doubtful", reason="", loop_lag_p99_s=0.0, send_lateness_p99_s=0.0, cpu_fraction=0.0)
    answers = summary(LoadSpec(url="http://not-recorded", model=peer.model), peer.records, unknown)
    answers |= {"client_health": None, "prefix_cache": {"hit_fraction": None, "warning": None, "counters_found": False}}
    if not peer.has_gaps:
        answers["itl_s"] = dict.fromkeys(("from_due", "from_sent"), asdict(distribution(np.array([]))))
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
