"""Two measured loads of an H100 compared: the parts add up, and the queue is what grew."""

from dataclasses import replace

import pytest

from workbench.catalog.paths import MEASURED
from workbench.core.errors import NotAvailable
from workbench.questions.latency.findings.latency_split import PARTS, latency_split, parts_of
from workbench.store.runs import read_run_file


def shipped(share):
    return read_run_file(MEASURED / f"load_llama-3.1-8b-shape_conv-{share}-percent_h100.json")


@pytest.fixture(scope="module")
def split():
    return latency_split(shipped(80), shipped(95))


def test_parts_add_up_to_what_users_saw(split):
    for parts in (split.baseline, split.current):
        assert sum(parts.by_part_s.values()) == pytest.approx(parts.e2e_s)
        assert set(parts.by_part_s) == set(PARTS)
        assert all(value > -0.2 for value in parts.by_part_s.values())
    assert sum(split.by_part_s.values()) == pytest.approx(split.change_s)


def test_closer_to_saturation_the_queue_and_decoding_grow(split):
    grown = split.by_part_s
    assert split.change_s > 0
    assert split.largest in {"decode", "queue"}
    assert grown["queue"] > 0.3
    assert split.current.requests_per_s > split.baseline.requests_per_s * 1.1
    assert split.current.input_tokens == pytest.approx(split.baseline.input_tokens, rel=0.05)


def test_a_load_without_its_servers_counters_is_refused():
    with pytest.raises(NotAvailable, match="no samples of its server"):
        parts_of(shipped(50))
    run = shipped(80)
    signals = [s for s in run.samples.telemetry.signals if "queue_time" not in s.name]
    lacking = replace(run.samples, telemetry=replace(run.samples.telemetry, signals=signals))
    with pytest.raises(NotAvailable, match="request_queue_time_seconds was not sampled"):
        parts_of(replace(run, samples=lacking))
