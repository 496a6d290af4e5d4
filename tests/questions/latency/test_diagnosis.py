"""Causes from observations: each is named when its own evidence is there, and nothing is named when there is none."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.load.rows import ServedModel, ServerCard
from workbench.questions.latency.findings import diagnosis_of
from workbench.questions.latency.findings.answers import verdict
from workbench.questions.latency.findings.cause_list import CAUSES
from workbench.questions.latency.findings.observation import Observation

HEALTHY = Observation(
    values={
        "ttft_s": 0.05,
        "e2e_s": 0.5,
        "tpot_s": 0.015,
        "input_tokens": 384.0,
        "output_tokens": 24.0,
        "failed_fraction": 0.0,
        "offered_per_s": 4.5,
        "hit_tokens_per_request": 288.0,
        "stalls_per_answer": 0.0,
        "stall_fraction": 0.0,
        "probe.health_s": 0.0003,
        "probe.tokenize_s": 0.001,
        "probe.tpot_s": 0.007,
        "probe.failed_fraction": 0.0,
        "tokenizing_s": 0.0008,
        "front_s": 0.001,
        "outside_ttft_s": 0.002,
        "server.queue_s": 0.01,
        "server.prefill_s": 0.04,
        "server.decode_s": 0.45,
        "engine.kv_cache_usage_perc.max": 0.1,
        "engine.num_preemptions_total.per_s": 0.0,
        "engine.num_requests_running.max": 4.0,
        "others_cores": 0.02,
        "server.waited_percent": 10.0,
        "server.allowed_cores": 4.0,
        "memory_used_fraction": 0.2,
        "host.memory_stalled_s.per_s": 0.0,
        "host.retransmitted_segments.per_s": 0.0,
        "longest_metrics_gap_s": 1.0,
    },
    spreads={},
    answers=("a", "b", "c", "d"),
    server=ServerCard(
        limits={"num_gpu_blocks": "512", "max_num_seqs": "8"},
        models=(ServedModel(id="m", root="m"),),
        version={"version": "1"},
    ),
    n_requests=60,
    ttfts_s=tuple(0.05 + 0.001 * (i % 7) for i in range(60)),
)
SLOWER = {"ttft_s": 0.5, "e2e_s": 1.2, "server.queue_s": 0.6, "server.prefill_s": 0.06, "server.decode_s": 0.53}


def changed(*, server=None, answers=None, errors=(), **values):
    ttfts = tuple(10 * w for w in HEALTHY.ttfts_s) if "ttft_s" in values else HEALTHY.ttfts_s
    limits = HEALTHY.server.limits | (server or {})
    return replace(
        HEALTHY,
        values=dict(HEALTHY.values) | {k.replace("__", "."): v for k, v in values.items()},
        server=replace(HEALTHY.server, limits=limits),
        answers=answers or HEALTHY.answers,
        errors=errors,
        ttfts_s=ttfts,
    )


def slower(server=None, **values):
    return changed(server=server, **SLOWER, **values)


OUTSIDE = {"ttft_s": 0.25, "e2e_s": 0.75, "outside_ttft_s": 0.2}
CASES = {
    "surge": slower(offered_per_s=9.0),
    "longer prompts": slower(input_tokens=1000.0),
    "longer answers": slower(output_tokens=60.0),
    "prefix cache missed": slower(hit_tokens_per_request=20.0),
    "KV cache too small": slower({"num_gpu_blocks": "20"}, engine__kv_cache_usage_perc__max=1.0),
    "batch limit raised": slower({"max_num_seqs": "64"}, tpot_s=0.06, engine__num_requests_running__max=40.0),
    "batch limit lowered": slower({"max_num_seqs": "1"}, engine__num_requests_running__max=1.0),
    "processor taken by others": slower(others_cores=2.0, server__waited_percent=150.0, probe__tpot_s=0.02),
    "server has fewer cores": slower(server__allowed_cores=1.0, probe__tpot_s=0.02),
    "memory pressure": slower(memory_used_fraction=0.9, others_cores=1.0, probe__tpot_s=0.01),
    "slow network": changed(**OUTSIDE, probe__health_s=0.2),
    "packets lost": changed(**OUTSIDE, stalls_per_answer=1.0, stall_fraction=0.4, stalls_shared_fraction=0.42),
    "slow tokenizer": changed(ttft_s=0.2, e2e_s=0.7, tokenizing_s=0.1, front_s=0.1),
    "model or precision changed": changed(answers=("a", "x", "y", "d")),
    "server errors": changed(failed_fraction=0.2, errors=("HTTP 503: no",) * 12),
    "server pauses": slower(stalls_per_answer=0.3, stall_fraction=0.3, stalls_shared_fraction=1.0),
    "GPU shared": replace(
        slower(probe__tpot_s=0.02),
        values=dict(slower(probe__tpot_s=0.02).values) | {"gpu0.utilisation_percent": 99.0, "gpu0.processes": 2.0},
    ),
    "GPU clocks held down": replace(
        slower(probe__tpot_s=0.02),
        values=dict(slower(probe__tpot_s=0.02).values) | {"gpu0.utilisation_percent": 99.0, "gpu0.sm_clock_mhz": 900.0},
    ),
}
GPU = {"gpu0.utilisation_percent": 97.0, "gpu0.processes": 1.0, "gpu0.sm_clock_mhz": 1900.0}


def test_every_cause_has_a_case():
    assert set(CASES) == {c.key for c in CAUSES}


@pytest.mark.parametrize("cause", CASES)
def test_a_cause_is_named_by_its_own_evidence(cause):
    healthy = replace(HEALTHY, values=dict(HEALTHY.values) | (GPU if cause.startswith("GPU") else {}))
    diagnosis = diagnosis_of(healthy, CASES[cause])
    assert diagnosis.alarm
    assert diagnosis.named == cause
    assert diagnosis.causes[0].evidence[0].score > 0
    assert sum(c.probability for c in diagnosis.causes) == pytest.approx(1.0)


def test_the_same_load_raises_no_alarm():
    diagnosis = diagnosis_of(HEALTHY, HEALTHY)
    assert not diagnosis.alarm
    assert diagnosis.named is None
    assert diagnosis.abstains is None


TIMED_OUT = {"failed_fraction": 0.4, "gave_up_fraction": 0.4, "errors": ("timeout after 20 s",) * 24}


@pytest.mark.parametrize("cause", ["surge", "longer prompts", "batch limit lowered", "KV cache too small"])
def test_clients_that_gave_up_are_evidence_of_waiting_and_not_of_errors(cause):
    current = CASES[cause]
    gave_up = replace(
        current,
        values=dict(current.values) | {"failed_fraction": 0.4, "gave_up_fraction": 0.4, "probe.failed_fraction": 0.5},
        errors=TIMED_OUT["errors"],
    )
    assert diagnosis_of(HEALTHY, gave_up).named == cause


def test_clients_that_only_gave_up_leave_the_cause_open():
    diagnosis = diagnosis_of(HEALTHY, changed(**TIMED_OUT))
    assert diagnosis.alarm
    assert diagnosis.named is None


def test_refusals_of_a_surge_are_no_errors_but_failures_of_the_same_load_are():
    refused = {"failed_fraction": 0.3, "errors": ("HTTP 503: queue full",) * 9 + ("HTTP 429: slow down",) * 9}
    assert diagnosis_of(HEALTHY, slower(offered_per_s=9.0, **refused)).named == "surge"
    assert diagnosis_of(HEALTHY, changed(**refused)).named == "server errors"
    mixed = refused["errors"] + ("timeout after 20 s",) * 6
    assert diagnosis_of(HEALTHY, changed(failed_fraction=0.4, errors=mixed)).named == "server errors"


def test_errors_are_seen_beside_clients_that_gave_up_in_both_loads():
    before = replace(
        changed(failed_fraction=0.4, gave_up_fraction=0.4, errors=("timeout after 20 s",) * 24), n_requests=60
    )
    errors = ("HTTP 500: refused",) * 12 + ("timeout after 20 s",) * 12
    now = replace(changed(failed_fraction=0.4, gave_up_fraction=0.2, errors=errors), n_requests=60)
    assert diagnosis_of(before, now).named == "server errors"


BUSY = {"others_cores": 1.2, "server.waited_percent": 60.0, "probe.tpot_s": 0.02}


def busy(observation):
    return replace(observation, values=dict(observation.values) | BUSY)


def test_on_a_busy_machine_a_latency_without_evidence_is_no_alarm():
    diagnosis = diagnosis_of(busy(HEALTHY), busy(slower()))
    assert (diagnosis.alarm, diagnosis.named, diagnosis.abstains) == (False, None, None)
    assert diagnosis.withheld.startswith("other programs used 1.2 cores in the healthy load too")
    assert diagnosis_of(HEALTHY, slower()).withheld is None
    assert "other programs" in verdict(diagnosis, None).headline


@pytest.mark.parametrize(
    "cause", ["surge", "longer answers", "prefix cache missed", "batch limit lowered", "server errors"]
)
def test_on_a_busy_machine_causes_are_still_named(cause):
    assert diagnosis_of(busy(HEALTHY), busy(CASES[cause])).named == cause


@pytest.mark.parametrize(
    "chance", [{"probe.health_s": 0.028, "outside_ttft_s": 0.025}, {"tokenizing_s": 0.02, "front_s": 0.025}]
)
def test_on_a_busy_machine_waits_for_a_core_are_neither_network_nor_tokenizer(chance):
    assert not diagnosis_of(busy(HEALTHY), busy(slower(**chance))).alarm


def test_slower_without_any_reason_abstains():
    diagnosis = diagnosis_of(HEALTHY, slower())
    assert diagnosis.alarm
    assert diagnosis.named is None
    assert "no evidence clearly supports one cause" in diagnosis.abstains


def test_two_equal_reasons_abstain_and_are_both_ranked():
    diagnosis = diagnosis_of(HEALTHY, slower(input_tokens=1000.0, output_tokens=60.0))
    assert {c.key for c in diagnosis.causes[:2]} == {"longer prompts", "longer answers"}
    assert diagnosis.causes[0].probability < 0.75


def test_what_was_not_read_makes_less_certain_and_never_wrong():
    for cause, seen in CASES.items():
        if cause.startswith("GPU"):
            continue
        client = {
            k: v
            for k, v in seen.values.items()
            if not k.startswith(("server.", "engine.", "host.", "others", "memory"))
        }
        before = {k: v for k, v in HEALTHY.values.items() if k in client}
        blind = diagnosis_of(replace(HEALTHY, values=before, server=None), replace(seen, values=client, server=None))
        assert blind.named in {cause, None}, cause


def test_gpu_causes_are_not_weighed_without_a_gpu():
    diagnosis = diagnosis_of(HEALTHY, slower())
    assert all(c.score == -1.0 for c in diagnosis.causes if c.key.startswith("GPU"))


@given(st.floats(1.0, 1.9), st.floats(0.7, 1.2))
def test_what_two_healthy_loads_differ_by_is_no_alarm(waits, rate):
    now = replace(
        HEALTHY,
        values=dict(HEALTHY.values) | {"ttft_s": 0.05 * waits, "e2e_s": 0.5 * waits, "offered_per_s": 4.5 * rate},
        ttfts_s=tuple(waits * w for w in HEALTHY.ttfts_s),
    )
    assert not diagnosis_of(HEALTHY, now).alarm


@given(st.floats(2.0, 50.0))
def test_more_of_a_cause_does_not_make_it_less_likely(factor):
    less, more = (diagnosis_of(HEALTHY, slower(offered_per_s=4.5 * f)) for f in (factor, factor * 1.2))
    assert more.causes[0].key == less.causes[0].key == "surge"
    assert more.causes[0].score >= less.causes[0].score - 1e-9
