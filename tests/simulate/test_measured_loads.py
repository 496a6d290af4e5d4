"""Loads that were measured on vLLM beside their simulation: errors, and what share of them the intervals hold."""

import pytest
from support.beside_vllm import beside_measured, measured_names, measured_summary

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import DATA, MEASURED
from workbench.core.traces import read_trace
from workbench.estimate.device_calibration import machine_of
from workbench.simulate.costs import FRONT, step_cost
from workbench.simulate.engine import Engine, EngineLimits
from workbench.simulate.summary import summary
from workbench.store.runs import read_run_file


@pytest.mark.parametrize(("share", "bound"), [("33-percent", 0.2), ("62-percent", 0.2), ("80-percent", 0.3)])
def test_a_trace_on_vllm_is_as_its_simulation(share, bound):
    """Measured on an H200; the bound of 80 % is wider for the p99 of TTFT, as the benchmark says."""
    rows = beside_measured(f"llama-3.1-8b-shape_conv-{share}_h200")
    off = {r.name: abs(r.error_fraction) for r in rows}
    assert max(off.values()) <= bound
    assert off["goodput_requests_per_s"] <= 0.1
    assert max(v for k, v in off.items() if k != "ttft_p99_s") <= 0.2


@pytest.mark.parametrize(
    "load",
    [
        "mistral-small-24b-shape_bf16_closed-8",
        "mistral-small-24b-shape_bf16_closed-32",
        "mistral-small-24b-shape_bf16_closed-96",
        "qwen2.5-32b-shape_fp8_closed-32",
        "qwen2.5-32b-shape_fp8_closed-96",
    ],
)
def test_closed_loops_of_shapes_that_no_fit_saw_are_as_simulated(load):
    """Measured on an H200: all users send at once, so TTFT comes in waves that depend on which step sees whom."""
    off = {r.name: abs(r.error_fraction) for r in beside_measured(f"{load}_h200")}
    assert max(off["ttft_p50_s"], off["ttft_p99_s"]) <= 0.25
    assert max(off["tpot_p50_s"], off["tpot_p99_s"]) <= 0.12


@pytest.mark.parametrize("latency", ["ttft_p50_s", "tpot_p50_s"])
def test_nominal_80_percent_intervals_hold_about_80_percent(latency):
    rows = [next(r for r in beside_measured(name) if r.name == latency) for name in measured_names()]
    assert all(r.low <= r.simulated <= r.high for r in rows)
    held = sum(r.low <= r.measured <= r.high for r in rows)
    assert 0.75 <= held / len(rows) <= 0.85


@pytest.mark.parametrize(("cache", "bounds"), [("on", (0.1, 0.05)), ("off", (0.3, 0.1))])
def test_a_trace_that_shares_prompts_is_as_its_simulation(cache, bounds):
    """253 requests of Mooncake's conversations on vLLM with a cache of 120,000 tokens, of which prompt_tokens_cached_total was 42.15 %."""
    model = model_spec_from("data/models/llama-3.1-8b-shape")
    machine, _ = machine_of("h200-sxm")
    limits = EngineLimits(
        cache_tokens=120_000,
        front=FRONT,
        has_prefix_cache=cache == "on",
    )
    engine = Engine(step_cost(model, "bf16", machine, context_tokens=5000), limits, has_hash_ids=True)
    arrivals = read_trace(DATA / "traffic" / "mooncake_conversation_sample.jsonl", speed=1.0).arrivals
    simulated = summary(engine.run(arrivals), arrivals, ttft_s=2.0, tpot_s=0.05)
    run = read_run_file(MEASURED / f"trace_llama-3.1-8b-shape_mooncake_cache-{cache}_h200.json")
    measured = measured_summary(run, ttft_s=2.0, tpot_s=0.05)
    assert abs(simulated.ttft_s.p50 / measured["ttft_p50_s"] - 1) <= bounds[0]
    assert abs(simulated.tpot_s.p50 / measured["tpot_p50_s"] - 1) <= bounds[1]
    if cache == "on":
        assert abs(engine.hit_tokens / engine.prompt_tokens - 0.4215) <= 0.03
