"""Runs from the result files of other load generators."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from workbench.core.runs import Environment, Run
from workbench.load.latency import distribution
from workbench.load.measure import failures_of
from workbench.load.peers.files import read_peers
from workbench.load.peers.result import NOT_RECORDED, PeerResult
from workbench.load.rows import (
    Goodput,
    KeptRequest,
    LoadResult,
    LoadSamples,
    Origins,
    PrefixHits,
    Rates,
    SteadyGoodput,
    SteadyPart,
)
from workbench.load.spec import LoadSpec
from workbench.load.summary import summary

NOTHING = distribution(np.array([]))
NO_ORIGINS = Origins(from_due=NOTHING, from_sent=NOTHING)


def runs_from_peer(path: Path) -> tuple[Run, ...] | None:
    """Return a load run for each load in a file of another load generator; None when it is no such file.

    The file tells nothing of the machine and of the client's health, so both stay unknown.

    Raises:
        StoreError: A file of such a tool without single requests.
    """
    peers = read_peers(path)
    return None if peers is None else tuple(_run(peer) for peer in peers)


def _run(peer: PeerResult) -> Run:
    no_prefix = PrefixHits(hit_fraction=None, warning=None, counters_found=False)
    answers = summary(LoadSpec(url="http://not-recorded", model=peer.model), peer.records, None, no_prefix)
    if not peer.has_times:
        answers = _without_times(answers, peer)
    if not peer.has_gaps:
        answers = replace(answers, itl_s=NO_ORIGINS, steady_state=replace(answers.steady_state, itl_s=NO_ORIGINS))
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
    kept = [KeptRequest.of(r) for r in peer.records] if peer.has_times else []
    return Run(
        kind=LoadSpec.kind,
        spec={"imported_from": peer.tool, "model": peer.model, **peer.settings},
        environment=environment,
        started_at=peer.date,
        finished_at=peer.date,
        seed=0,
        results=[answers],
        samples=LoadSamples(requests=kept),
        failures=[*peer.lacks, *failures_of(peer.records)],
    )


def _without_times(answers: LoadResult, peer: PeerResult) -> LoadResult:
    """Return the answers of a load of which only latencies are known, and perhaps its length."""
    ttft, e2e = (Origins(from_due=NOTHING, from_sent=o.from_sent) for o in (answers.ttft_s, answers.e2e_s))
    span, rates = peer.duration_s, answers.rates
    if rates is not None and span:
        scale = rates.span_s / span
        rates = Rates(
            offered_per_s=None,
            sent_per_s=None,
            completed_per_s=rates.completed_per_s * scale,
            output_tokens_per_s=rates.output_tokens_per_s * scale,
            input_tokens_per_s=rates.input_tokens_per_s * scale,
            span_s=span,
        )
    goodput = _over(answers.goodput, span)
    completed = rates.completed_per_s if rates and span else 0.0
    steady = SteadyPart(
        ttft_s=ttft,
        e2e_s=e2e,
        tpot_s=answers.tpot_s,
        itl_s=answers.itl_s,
        queued_at_client_s=NOTHING,
        connect_s=NOTHING,
        start_s=0.0,
        end_s=span or 0.0,
        n_cut=0,
        output_tokens_per_s=rates.output_tokens_per_s if rates and span else None,
        goodput=SteadyGoodput(**{f.name: getattr(goodput, f.name) for f in fields(goodput)}, completed_per_s=completed)
        if goodput
        else None,
    )
    return replace(
        answers,
        ttft_s=ttft,
        e2e_s=e2e,
        queued_at_client_s=NOTHING,
        rates=rates if span else None,
        goodput=goodput,
        steady_state=steady,
    )


def _over(goodput: Goodput | None, span_s: float | None) -> Goodput | None:
    """Return the goodput over the length of the load; None where that is not known."""
    return replace(goodput, good_per_s=goodput.good / span_s) if goodput and span_s else None
