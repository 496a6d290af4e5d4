"""What is promised of attention on an H200 holds in the runs that ship."""

import importlib.util
from pathlib import Path

import pytest

from workbench.attention.rows import Prefill
from workbench.catalog.paths import MEASURED
from workbench.questions.long_context.attention.findings import crossover_tokens
from workbench.questions.long_context.attention.rows import latest_cells, measured_at
from workbench.questions.long_context.quality.rows import Retrieval, VariantResult
from workbench.questions.long_context.ring_attention.rows import RingTime
from workbench.questions.long_context.rows import Limit, Served
from workbench.store.runs import read_run_file

ROOT = Path(__file__).parents[3]
H200 = "attention_llama-3.1-8b-shape"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("attention_benchmark", ROOT / "benchmarks" / "attention.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_promises_hold(benchmark):
    run = read_run_file(MEASURED / f"{H200}_64k-128k_h200.json")
    assert run.environment.device == "NVIDIA H200"
    broken = [(what, found) for what, found, bound in benchmark.promises(run) if found < bound]
    assert broken == []
    assert not (run.environment.git_revision or "").endswith("dirty")


def test_a_ring_of_two_is_faster_than_one_and_as_exact():
    rows = read_run_file(MEASURED / "ring_attention_llama-3.1-8b-shape_2-h100.json").rows(RingTime)
    two = next(r for r in rows if r.n_devices == 2 and r.length_tokens == 262144)
    assert two.speedup > 1.5
    assert two.max_error < 2e-2


def test_a_ring_of_four_is_faster_than_one_of_two_and_as_exact():
    rows = read_run_file(MEASURED / "ring_attention_llama-3.1-8b-shape_4-h200.json").rows(RingTime)
    speedups = {(r.length_tokens, r.n_devices): r.speedup for r in rows if r.n_devices > 1}
    assert all(speedups[n, 4] > 1.5 * speedups[n, 2] for n in (65536, 262144))
    assert max(r.max_error for r in rows) < 2e-2


def test_cache_and_longest_context_are_as_predicted():
    run = read_run_file(MEASURED / "long_context_llama-3.1-8b-shape_h200.json")
    held, served, limit = run.rows(Prefill), run.rows(Served), run.row(Limit)
    assert len(held) == 10
    assert served
    for r in held:
        assert r.kv_held_bytes == pytest.approx(r.kv_predicted_bytes, rel=0.01)
    for r in served:
        assert r.kv_allocated_bytes == pytest.approx(r.kv_predicted_bytes, rel=0.01)
    assert limit.predicted_tokens == pytest.approx(limit.found_tokens, rel=0.05)


def test_the_heat_maps_separate():
    run = read_run_file(MEASURED / "context_quality_stdlib-9m_h200.json")
    cells = [r for r in run.rows(Retrieval) if r.variant == "window:1024"]
    outside = [r for r in cells if r.length_tokens * (1 - r.depth_fraction) > 1100]
    inside = [r for r in cells if r.length_tokens * (1 - r.depth_fraction) < 900]
    assert max(r.right_fraction.high for r in outside) < 0.3
    assert min(r.right_fraction.value for r in inside) > 0.9
    against_full = {r.variant: r.against_full for r in run.rows(VariantResult)}
    assert against_full["kv:int8-token"].lost == 0
    assert against_full["kv:int4-token"].mcnemar_p < 0.01
    assert against_full["kv:int4-head"].answer_nll_change_nat_per_token.low > 0


def test_a_window_pays_from_some_length_on_and_not_before():
    runs = [read_run_file(p) for p in MEASURED.glob(f"{H200}*.json")]
    merged = latest_cells(sorted(runs, key=lambda r: r.finished_at, reverse=True))
    start = crossover_tokens(merged, "window", phase="prefill")
    assert start == 32768
    here = {r.technique: r.p50_s.value for r in measured_at(merged, phase="prefill", length_tokens=16384)}
    assert here["window"] > here["fa3"]
