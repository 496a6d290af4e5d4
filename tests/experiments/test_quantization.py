"""The whole measurement on the reference model, small; and its arithmetic without any model."""

import math
import os

import numpy as np
import pytest

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.compress.process import VariantFailed, VariantProcess
from workbench.core.errors import InvalidSpec
from workbench.core.progress import Progress
from workbench.core.quantization import ACCURACY_KEYS, QuantizationSpec
from workbench.core.runs import Run
from workbench.experiments.quantization import accuracy_figures, cut_windows, decode_time, measure, read_text, run

SMALL = {
    "model": str(REFERENCE_MODEL),
    "n_windows": 4,
    "window_tokens": 128,
    "rounds": 1,
    "decode_tokens": 8,
    "batches": (1, 2),
}


@pytest.fixture(scope="module")
def measured():
    steps = []
    spec = QuantizationSpec(**SMALL, methods=("fp32", "bf16", "int8-weight", "int4-g32", "fp8-dynamic"), device="cpu")
    return run(spec, on_progress=steps.append), steps


def test_a_run_measures_what_can_run_and_lists_the_rest_with_its_reason(measured):
    rows = {r["method"]: r for r in measured[0].results}
    assert [r["status"] for r in rows.values()] == ["measured"] * 4 + ["not available"]
    assert "8.9" in rows["fp8-dynamic"]["reason"]
    assert measured[0].failures == []


def test_the_reference_does_not_diverge_from_itself(measured):
    fp32 = measured[0].results[0]
    assert fp32["mean_kl_nat_per_token"] == 0
    assert fp32["top1_agreement_fraction"] == 1
    assert fp32["perplexity_change_fraction"] == 0


def test_every_difference_has_its_interval_and_int8_is_closer_than_int4(measured):
    rows = {r["method"]: r for r in measured[0].results if r["status"] == "measured"}
    for row in rows.values():
        for key in ACCURACY_KEYS:
            assert row[f"{key}_low"] <= row[key] <= row[f"{key}_high"]
        assert [d["batch"] for d in row["decode"]] == [1, 2]
        assert all(d["n"] == 8 and d["p50_low_s"] <= d["p50_s"] <= d["p99_s"] for d in row["decode"])
        assert row["peak_memory_bytes"] > 0
    assert rows["int8-weight"]["mean_kl_nat_per_token_high"] < rows["int4-g32"]["mean_kl_nat_per_token_low"]
    assert abs(rows["int8-weight"]["perplexity_change_fraction"]) < 0.005


def test_progress_grows_to_its_end(measured):
    done = [p.done for p in measured[1]]
    assert done == sorted(done)
    assert measured[1][-1].done == pytest.approx(measured[1][-1].total)


def test_finished_parts_are_not_measured_again(tmp_path):
    spec = QuantizationSpec(**SMALL, methods=("int8-weight",), device="cpu")
    first = next(item for item in measure(spec, tmp_path) if isinstance(item, Run))
    again = list(measure(spec, tmp_path))
    assert any(isinstance(p, Progress) and "kept from before" in p.step for p in again)
    assert again[-1].results[0]["mean_kl_nat_per_token"] == first.results[0]["mean_kl_nat_per_token"]
    assert not (tmp_path / "scratch").exists()


def test_a_shape_without_weights_is_measured_for_speed_only(tmp_path):
    (tmp_path / "config.json").write_text((REFERENCE_MODEL / "config.json").read_text())
    spec = QuantizationSpec(**{**SMALL, "model": str(tmp_path)}, methods=("fp32",), random_weights=True, device="cpu")
    row = run(spec).results[0]
    assert row["mean_kl_nat_per_token"] is None
    assert row["decode"][0]["p50_s"] > 0


def test_a_variant_whose_process_dies_says_by_what(tmp_path):
    spec = QuantizationSpec(**SMALL, methods=("fp32",))
    variant = VariantProcess(spec, "fp32", device="cpu", folder=tmp_path, threads=1)
    try:
        variant.call("open", windows=None)
        os.kill(variant.pid, 9)
        with pytest.raises(VariantFailed, match=r"SIGKILL.*memory"):
            variant.call("prefill_s")
    finally:
        variant.close()


def test_a_variant_that_fails_keeps_the_cause(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    spec = QuantizationSpec(**{**SMALL, "model": str(tmp_path)}, methods=("fp32",))
    variant = VariantProcess(spec, "fp32", device="cpu", folder=tmp_path, threads=1)
    try:
        with pytest.raises(VariantFailed) as caught:
            variant.call("open", windows=None)
        assert "Traceback" in str(caught.value.__cause__)
    finally:
        variant.close()


def test_windows_are_spread_over_the_whole_text():
    spec = QuantizationSpec(model="m", n_windows=3, window_tokens=4)
    windows = cut_windows(np.arange(101), spec)
    assert windows.shape == (3, 5)
    assert (windows[0, 0], windows[-1, -1]) == (0, 100)


def test_a_text_that_is_too_short_says_what_would_fit():
    with pytest.raises(InvalidSpec, match=r"12 tokens; 3 windows of 4 need 15") as caught:
        cut_windows(np.arange(12), QuantizationSpec(model="m", n_windows=3, window_tokens=4))
    assert "at most 2 windows" in caught.value.remedy


def test_a_text_that_is_none_is_named(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing", tmp_path / "binary", tmp_path):
        with pytest.raises(InvalidSpec, match=str(path)):
            read_text(str(path))


def test_the_perplexity_change_is_the_ratio_of_perplexities():
    rng = np.random.default_rng(0)
    base = rng.exponential(2, (8, 50))
    figures = accuracy_figures(np.zeros((8, 50)), base + 0.01, np.ones((8, 50)), reference_nll=base, seed=0)
    assert figures["perplexity_change_fraction"].value == pytest.approx(math.expm1(0.01))
    assert figures["perplexity"] == pytest.approx(math.exp(base.mean() + 0.01))


def test_step_times_keep_their_percentiles():
    time = decode_time(4, [0.001 * i for i in range(1, 101)])
    assert (time.batch, time.n) == (4, 100)
    assert time.p50_s == pytest.approx(0.0505)
    assert time.p50_low_s < time.p50_s < time.p50_high_s < time.p99_s
