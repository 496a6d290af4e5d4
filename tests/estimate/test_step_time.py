"""Predicted times: properties, constants that are found again, and what is promised of unseen precisions."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.models import catalog_models
from workbench.catalog.paths import MEASURED
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.core.rows import plain
from workbench.core.statistics import Interval
from workbench.estimate.calibration import Calibration, ProductCurve, curve_s, fitted_curves, product_s
from workbench.estimate.ceilings import published_ceilings
from workbench.estimate.device_calibration import (
    SHIPPED,
    from_runs,
    known_calibration,
    machine_of,
)
from workbench.estimate.machine import Link, Machine, Split
from workbench.estimate.prediction import Question, predicted
from workbench.estimate.roofline import prefill_floor_s, step_floor_s
from workbench.estimate.rows import ProductTime, StepTime
from workbench.estimate.step_time import decode_step_s, prompt_s
from workbench.store.runs import read_run_file

ROOT = Path(__file__).parents[2]
MODEL = catalog_models()["meta-llama/Meta-Llama-3.1-8B"]
KNOWN = Calibration.from_json((SHIPPED / "h200-sxm.json").read_text())
CEILINGS = published_ceilings("h200-sxm")
MACHINE = Machine(known=KNOWN, ceilings=CEILINGS)


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("estimate_benchmark", ROOT / "benchmarks" / "estimate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def step(batch, context, *, machine=MACHINE, plan=None, kv_bits=16, model=MODEL):
    size = {"batch": np.array([float(batch)]), "context": np.array([float(context)])}
    return float(decode_step_s(model, plan or {}, machine, kv_bits=kv_bits, **size)[0])


@pytest.mark.parametrize("names", ["NAMES", "SHORT"])
def test_what_the_fit_never_saw_is_predicted_within_the_promise(benchmark, names):
    reference = from_runs(benchmark.runs_of(benchmark.NAMES))
    known = reference if names == "NAMES" else from_runs(benchmark.runs_of(benchmark.SHORT), reference=reference)
    logs = {k: v for k, v in benchmark.left_out(known, CEILINGS).items() if benchmark.is_dense(k)}
    assert any("qwen3-14b" in name for name, _ in logs)
    medians = [np.median(benchmark.relative(np.concatenate([v[i] for v in logs.values()]))) for i in (0, 1)]
    assert medians[0] <= 6
    assert medians[1] <= 10
    if names == "NAMES":
        assert all(0.7 <= benchmark.coverage(logs, i) <= 0.9 for i in (0, 1))
        # What ships is this fit.
        assert known.log_error_unseen_step == pytest.approx(KNOWN.log_error_unseen_step, rel=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_four_cards_are_predicted_from_one_and_their_links(benchmark, precision):
    name = f"left_out/serving_speed_llama-3.1-70b-shape_{precision}_tp4_h200"
    ((step, prompt),) = benchmark.left_out(KNOWN, CEILINGS, (name,)).values()
    assert np.median(benchmark.relative(step)) <= 4
    assert np.median(benchmark.relative(prompt)) <= 8


def test_two_cards_of_another_kind_are_predicted_from_one_card_and_its_link(benchmark):
    reference = from_runs(benchmark.runs_of(benchmark.NAMES))
    known = from_runs(benchmark.runs_of(benchmark.SHORT_H100), reference=reference)
    logs = benchmark.left_out(known, published_ceilings("h100-sxm"), benchmark.CHECKED_H100)
    assert {run.split("shape")[0] for run, _ in logs} > {"left_out/serving_speed_llama-3.1-70b-"}
    medians = [np.median(benchmark.relative(np.concatenate([v[i] for v in logs.values()]))) for i in (0, 1)]
    assert medians[0] <= 6
    assert medians[1] <= 10
    # What ships is this fit. Its constants trade against each other, so that processors end in different ones; what it predicts is the same.
    shipped = Calibration.from_json((SHIPPED / "h100-sxm.json").read_text())
    again = benchmark.left_out(shipped, published_ceilings("h100-sxm"), benchmark.CHECKED_H100)
    for run, errors in logs.items():
        for here, there in zip(errors, again[run], strict=True):
            np.testing.assert_allclose(here, there, atol=0.02)


def test_steps_of_a_mixture_are_predicted_though_none_was_fitted_to(benchmark):
    known = from_runs(benchmark.runs_of(benchmark.NAMES))
    ((step, _),) = (v for k, v in benchmark.left_out(known, CEILINGS).items() if not benchmark.is_dense(k))
    assert np.median(benchmark.relative(step)) <= 10


def test_aiconfigurators_predictions_are_of_the_same_cells(benchmark):
    rows = json.loads(benchmark.PEER.read_text())["rows"]
    (run,) = benchmark.runs_of([benchmark.CHECKED[1]])
    step, prompt = benchmark.peer_logs(rows, run, "bf16")
    assert step.size == prompt.size == len([r for r in run.rows(StepTime) if r.served == "bf16"])


@given(st.integers(1, 500), st.integers(1, 100_000))
def test_more_sequences_and_more_context_never_take_less(batch, context):
    here = step(batch, context)
    assert step(batch + 1, context) >= here * 0.93  # measured products are not smooth
    assert step(batch, context + 1000) > here
    assert step(batch, context, kv_bits=8) <= here


@given(st.integers(1, 64), st.integers(256, 50_000))
def test_prompts_take_longer_the_longer_they_are(batch, context):
    def reading(n):
        size = {"batch": np.array([float(batch)]), "context": np.array([float(n)])}
        return float(prompt_s(MODEL, {}, MACHINE, **size)[0])

    assert reading(2 * context) > reading(context)


def test_many_plans_at_once_are_the_plans_one_by_one():
    batch, context = np.array([1.0, 8, 64]), np.array([128.0, 1024, 8192])
    together = decode_step_s(MODEL, {}, MACHINE, batch=batch, context=context, kv_bits=16)
    assert together == pytest.approx([step(b, c) for b, c in zip(batch, context, strict=True)])


@pytest.mark.parametrize("device", ["l4", "a100-sxm-80", "h100-sxm", "b200-sxm", "l40s"])
@pytest.mark.parametrize("precision", ["bf16", "w4a16"])
def test_nothing_is_faster_than_the_published_peaks_allow(device, precision):
    machine, _ = machine_of(device)
    plan = dict.fromkeys(("qkv", "o_proj", "gate_up", "down_proj"), precision)
    for batch, context in ((1, 128), (64, 1024), (256, 4096)):
        size = {"batch": batch, "context_tokens": context, "ceilings": machine.ceilings}
        assert step(batch, context, machine=machine, plan=plan) > step_floor_s(MODEL, plan, kv_bits=16, **size)
        one = {"batch": np.array([float(batch)]), "context": np.array([float(context)])}
        assert prompt_s(MODEL, plan, machine, **one)[0] > prefill_floor_s(MODEL, plan, **size)


def test_two_devices_read_half_the_weights_and_pay_for_joining():
    alone, two = step(1, 1024), step(1, 1024, machine=replace(MACHINE, split=Split(tensor=2)))
    free = step(1, 1024, machine=replace(MACHINE, split=Split(tensor=2), link=Link(latency_s=0.0, bytes_per_s=1e18)))
    assert free < two < alone
    assert two - free == pytest.approx(2 * 32 * Link().latency_s, rel=0.01)
    assert Link().all_reduce_s(np.array([1e6]), n_devices=1) == 0


def test_a_window_keeps_steps_from_growing():
    windowed = catalog_models()["mistralai/Mistral-7B-v0.1"]
    assert step(8, 100_000, model=windowed) == pytest.approx(step(8, 4096, model=windowed))


def test_constants_of_a_curve_are_found_again():
    from support import invented_run

    true = ProductCurve(launch_s=4e-6, bandwidth_fraction=0.7, flop_fraction=0.6, log_error=0.0)
    shapes = {"qkv": (6144, 4096), "gate_up": (28672, 4096)}
    rows = [
        ProductTime(format="bf16", role=role, rows=r, columns=c, kernel="", batch=n, p50_s=Interval(p50, p50, p50), n=1)
        for role, (r, c) in shapes.items()
        for n in (1, 16, 256, 4096)
        for p50 in curve_s(true, "bf16", rows=r, columns=c, tokens=np.array([float(n)]), ceilings=CEILINGS).tolist()
    ]
    run = replace(invented_run(), kind="gemm", results=rows)
    curves, tables = fitted_curves([run], CEILINGS)
    assert curves["bf16"].bandwidth_fraction == pytest.approx(0.7, rel=0.01)
    assert curves["bf16"].flop_fraction == pytest.approx(0.6, rel=0.01)
    assert curves["bf16"].launch_s == pytest.approx(4e-6, rel=0.02)
    assert curves["bf16"].log_error < 1e-3
    assert set(tables["bf16"]) == {"6144x4096", "28672x4096"}
    again = replace(run, results=rows[::-1])
    twice, same = fitted_curves([run, again], CEILINGS)
    assert {shape: table[0] for shape, table in same["bf16"].items()} == {s: [1, 16, 256, 4096] for s in tables["bf16"]}
    known = replace(KNOWN, curves=twice, tables=same)
    tokens = np.array([1.0, 16.0, 256.0, 4096.0])
    found = product_s(known, "bf16", rows=6144, columns=4096, tokens=tokens, ceilings=CEILINGS)
    assert found == pytest.approx([r.p50_s.value for r in rows if r.role == "qkv"])


def test_a_measured_shape_is_met_exactly_and_an_unknown_format_refused():
    run = read_run_file(MEASURED / "gemm_llama-3.1-8b-shape_h200.json")
    rows = [r for r in run.rows(ProductTime) if r.role == "gate_up" and r.format == "fp8"]
    tokens = np.array([float(r.batch) for r in rows])
    found = product_s(KNOWN, "fp8", rows=28672, columns=4096, tokens=tokens, ceilings=CEILINGS)
    assert found == pytest.approx([r.p50_s.value for r in rows])
    with pytest.raises(NotAvailable, match="No product in w3a16"):
        product_s(replace(KNOWN, curves={}), "w3a16", rows=1, columns=1, tokens=tokens, ceilings=CEILINGS)


def test_a_prediction_has_its_value_inside_and_is_wider_where_it_is_borrowed():
    own, is_own = machine_of("h200-sxm")
    other, is_others = machine_of("a100-sxm-80")
    assert (is_own, is_others) == (True, False)
    question = Question(precision="fp8", concurrency=16)
    here = predicted(MODEL, own, question, memory_bytes=141e9, is_own=True)
    there = predicted(MODEL, other, question, memory_bytes=80e9, is_own=False)
    for p in (here, there):
        for v in (p.ttft_s, p.prefill_s, p.tpot_s, p.output_tokens_per_s):
            assert v.low < v.value < v.high
    assert there.tpot_s.high / there.tpot_s.low > here.tpot_s.high / here.tpot_s.low
    assert there.tpot_s.value > here.tpot_s.value  # less bandwidth
    assert (here.is_calibrated, there.is_calibrated) == (True, False)
    assert here.memory.weight_bytes < 10e9
    json.dumps(plain(here), allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"precision": "fp3"}, "Unknown precision"),
        ({"kv_bits": 4}, "8 or 16 bits"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"arrival": "never"}, "Arrival"),
    ],
)
def test_nonsense_is_refused(changes, says):
    with pytest.raises(InvalidSpec, match=says):
        Question(**changes)


def test_the_readers_own_constants_come_before_those_that_ship(tmp_path):
    changed = replace(KNOWN, step_s=1.0)
    (tmp_path / "h200-sxm.json").write_text(changed.to_json())
    assert known_calibration("h200-sxm", own=tmp_path)[0].step_s == 1.0
    assert known_calibration("h200-sxm")[0] == KNOWN
    with pytest.raises(NotAvailable, match="no 16-bit peak"):
        published_ceilings("grace")
    with pytest.raises(NotAvailable, match=r"No (products|steps) of this device"):
        from_runs([])
