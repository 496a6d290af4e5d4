"""The shipped runs of vLLM's steps and products on an H200, and specs that make no sense."""

import re

import pytest

from workbench.calibrate.gemm.rows import GemmSamples
from workbench.calibrate.gemm.spec import GemmSpec
from workbench.calibrate.serving_speed.rows import cells_of, crossover_batch, with_roofline
from workbench.calibrate.serving_speed.spec import ServingSpeedSpec
from workbench.catalog.paths import MEASURED
from workbench.catalog.served import Served
from workbench.core.errors import InvalidSpec
from workbench.estimate.rows import ProductTime
from workbench.questions.quantization.serving_speed.findings import sequences_that_fit, speed_verdict
from workbench.store.runs import read_run_file


@pytest.fixture(scope="module")
def speed():
    return read_run_file(MEASURED / "serving_speed_llama-3.1-8b-shape_h200.json")


def test_nothing_is_faster_than_the_device_allows(speed):
    rows = with_roofline(speed)
    assert len(rows) == 8 * 15
    assert all(0.1 < r.roofline.step_fraction < 1 for r in rows)
    assert all(0 < r.roofline.prefill_fraction < 1 for r in rows)


def test_four_bits_stop_paying_where_the_products_are_bound_by_multiplying(speed):
    assert crossover_batch(speed, "w4a16", "bf16", context_tokens=1024) == 64
    assert crossover_batch(speed, "fp8", "bf16", context_tokens=1024) is None
    assert crossover_batch(speed, "w4a16", "fp8", context_tokens=128) == 1


def test_the_verdict_says_where_four_bits_are_slower_than_eight(speed):
    answer = speed_verdict(speed, batch=1, context_tokens=1024)
    assert answer.best == "mixed"
    assert "1.52 times as fast as BF16" in answer.headline
    assert re.search(r"INT4 everywhere is slower than the better of FP8 and INT8 in \d+ of 15 cells", answer.objection)


def test_a_narrower_cache_holds_more_sequences(speed):
    cells = cells_of(speed.results)
    plain, narrow = (sequences_that_fit(cells[s, 1, 8192]) for s in ("bf16", "bf16+fp8-kv"))
    assert narrow == pytest.approx(2 * plain, abs=1)


def test_every_format_has_a_time_for_every_product_and_batch():
    run = read_run_file(MEASURED / "gemm_llama-3.1-8b-shape_h200.json")
    spec = run.asked(GemmSpec)
    found = {(r.format, r.role, r.batch) for r in run.rows(ProductTime)}
    failed = {f.subject.split()[0] for f in run.failures}
    assert failed == {"w3a16", "w5a16", "w6a16"}  # vLLM 0.26.0 has no kernel for them on this card
    assert len(found) == len(run.results) == (len(spec.formats) - len(failed)) * 4 * len(spec.batches)
    seconds = run.sampled(GemmSamples).seconds
    assert {(form, role) for form, roles in seconds.items() for role in roles} == {key[:2] for key in found}
    assert all(r.p50_s.low <= r.p50_s.value <= r.p50_s.high for r in run.rows(ProductTime))


def test_a_text_names_a_format_its_cache_or_a_folder():
    assert Served.read("fp8+fp8-kv") == Served(text="fp8+fp8-kv", format="fp8", folder=None, kv_cache_dtype="fp8")
    assert Served.read("/data/mine").folder == "/data/mine"
    assert Served.read("bf16+fp8-kv").label == "BF16 · FP8 KV"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"served": ("mixed",), "plan": None}, "needs a plan"),
        ({"served": ()}, "Nothing to serve"),
        ({"batches": (0,)}, "batches"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(values, told):
    with pytest.raises(InvalidSpec, match=told):
        ServingSpeedSpec(model="m", **values)


def test_cells_with_more_tokens_than_allowed_are_left_out():
    spec = ServingSpeedSpec(model="m", served=("bf16",), batches=(1, 100), contexts=(100, 8000), most_tokens=20_000)
    assert spec.cells == [(1, 100), (100, 100), (1, 8000)]
