"""What the run that ships says of adapters on two busy cores."""

import pytest

from workbench.catalog.paths import MEASURED
from workbench.questions.tuning.adapters.findings import launch_flags, loads, most_that_fit, tenants, verdict
from workbench.questions.tuning.adapters.rows import AdapterLoad, AdapterServer
from workbench.store.runs import read_run_file


@pytest.fixture(scope="module")
def run():
    return read_run_file(MEASURED / "adapters_stdlib-9m_epyc-2-cores.json")


def test_every_request_was_answered_and_the_base_model_was_asked_on_each_server(run):
    assert all(r.n_failed == 0 for r in run.rows(AdapterLoad))
    assert [r.rank for r in run.rows(AdapterLoad) if not r.n_adapters] == [8, 64]
    assert [r.cache_tokens for r in run.rows(AdapterServer)] == [209_664, 209_664]


def test_adapters_cost_throughput_on_a_processor_and_the_rank_costs_more_than_their_number(run):
    shown, said = most_that_fit(loads(run)), verdict(run)
    assert (shown.n_adapters, shown.rank) == (4, 8)
    assert said.answer == "no"
    assert "With rank 64" in said.evidence
    assert "other processes" in said.objection.lower()
    even = {(r.rank, r.n_adapters): r.throughput_ratio for r in loads(run) if not r.skew}
    assert all(even[64, n].high < even[8, n].low for n in (1, 4, 8))


def test_only_eight_adapters_miss_four_slots_often_and_an_even_use_misses_more(run):
    missed = {(r.rank, r.n_adapters, r.skew): r.missed_fraction for r in loads(run)}
    assert missed[8, 8, 0.0] > missed[8, 8, 1.0] > missed[8, 4, 0.0] > missed[8, 1, 0.0] == 0


def test_a_tenant_pays_a_share_and_no_price_is_made_up(run):
    assert [(t.n, t.share) for t in tenants(run) if t.rank == 8] == [(1, 1.0), (4, 0.25), (8, 0.125)]
    assert all(t.usd_per_hour is None for t in tenants(run))
    assert launch_flags(run).startswith("--enable-lora --max-loras 4 --max-lora-rank 8")
