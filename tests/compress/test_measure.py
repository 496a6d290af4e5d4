"""The whole measurement on the reference model, small; and its arithmetic without any model."""

import math
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.compress.measure import accuracy_of, decode_time
from workbench.compress.process import VariantFailed, VariantProcess
from workbench.compress.rows import VariantResult
from workbench.compress.spec import QuantizationSpec
from workbench.compress.variant import VariantOperations
from workbench.core.errors import InvalidSpec
from workbench.core.progress import Progress
from workbench.measuring import envelope, machine
from workbench.measuring.envelope import run
from workbench.measuring.machine import OtherLoad, timing_caution
from workbench.measuring.text import read_text, windows_of

SMALL = {
    "model": str(REFERENCE_MODEL),
    "n_windows": 4,
    "window_tokens": 128,
    "rounds": 1,
    "prefill_tokens": 32,
    "prompt_tokens": 16,
    "decode_tokens": 4,
    "batches": (1, 2),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("quantization")


@pytest.fixture(scope="module")
def measured(folder):
    spec = QuantizationSpec(**SMALL, methods=("fp32", "int8-weight", "int4-g32", "fp8-dynamic"), device="cpu")
    *steps, run = envelope.measured(spec, folder)
    return run, steps


def test_a_run_measures_what_can_run_and_lists_the_rest_with_its_reason(measured):
    rows = measured[0].rows(VariantResult)
    assert [r.status for r in rows] == ["measured"] * 3 + ["not available"]
    assert "8.9" in rows[-1].reason
    assert measured[0].failures == []


def test_the_reference_does_not_diverge_from_itself(measured):
    accuracy = measured[0].row(VariantResult).accuracy
    assert accuracy.mean_kl_nat_per_token.value == 0
    assert accuracy.top1_agreement_fraction.value == 1
    assert accuracy.perplexity_change_fraction.value == 0


def test_every_difference_has_its_interval_and_int8_is_closer_than_int4(measured):
    rows = [r for r in measured[0].rows(VariantResult) if r.status == "measured"]
    for row in rows:
        a = row.accuracy
        for value in (
            a.perplexity_change_fraction,
            a.mean_kl_nat_per_token,
            a.p99_kl_nat_per_token,
            a.top1_agreement_fraction,
        ):
            assert value.low <= value.value <= value.high
        assert [d.batch for d in row.decode] == [1, 2]
        assert all(d.n == 4 and d.p50_low_s <= d.p50_s <= d.p99_s for d in row.decode)
        assert row.peak_memory_bytes > 0
    _, int8, int4 = (r.accuracy for r in rows)
    assert int8.mean_kl_nat_per_token.value < int4.mean_kl_nat_per_token.value / 10
    assert int8.n_windows == 4  # so few that the intervals overlap
    assert abs(int8.perplexity_change_fraction.value) < 0.005


def test_progress_grows_to_its_end(measured):
    done = [p.done for p in measured[1]]
    assert done == sorted(done)
    assert measured[1][-1].done == pytest.approx(measured[1][-1].total)


def test_finished_parts_are_not_measured_again(measured, folder):
    again = list(envelope.measured(QuantizationSpec(**SMALL, methods=("int8-weight",), device="cpu"), folder))
    assert any(isinstance(p, Progress) and "kept from before" in p.step for p in again)
    kept, first = again[-1].row(VariantResult).accuracy, measured[0].rows(VariantResult)[1].accuracy
    assert kept == replace(first, perplexity_change_fraction=None)  # FP32, its base, was not asked for
    assert not (folder / "scratch").exists()


def test_a_shape_without_weights_is_measured_for_speed_only(tmp_path):
    (tmp_path / "config.json").write_text((REFERENCE_MODEL / "config.json").read_text())
    spec = QuantizationSpec(**{**SMALL, "model": str(tmp_path)}, methods=("fp32",), random_weights=True, device="cpu")
    row = run(spec).row(VariantResult)
    assert row.accuracy is None
    assert row.decode[0].p50_s > 0


def test_a_variant_whose_process_dies_says_by_what(tmp_path):
    spec = QuantizationSpec(**SMALL, methods=("fp32",))
    variant = VariantProcess(spec, "fp32", device="cpu", folder=tmp_path, threads=1)
    try:
        variant.call(VariantOperations.open, None)
        os.kill(variant.pid, 9)
        with pytest.raises(VariantFailed, match=r"SIGKILL.*memory"):
            variant.call(VariantOperations.prefill_s)
    finally:
        variant.close()


def test_a_variant_that_fails_keeps_the_cause(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    spec = QuantizationSpec(**{**SMALL, "model": str(tmp_path)}, methods=("fp32",))
    variant = VariantProcess(spec, "fp32", device="cpu", folder=tmp_path, threads=1)
    try:
        with pytest.raises(VariantFailed) as caught:
            variant.call(VariantOperations.open, None)
        assert "Traceback" in str(caught.value.__cause__)
    finally:
        variant.close()


def test_windows_are_spread_over_the_whole_text():
    windows = windows_of(np.arange(101), n=3, length=5, what="accuracy")
    assert windows.shape == (3, 5)
    assert (windows[0, 0], windows[-1, -1]) == (0, 100)


def test_a_text_that_is_too_short_says_what_would_fit():
    with pytest.raises(InvalidSpec, match=r"accuracy text has 12 tokens; 3 windows of 5 need 15") as caught:
        windows_of(np.arange(12), n=3, length=5, what="accuracy")
    assert "at most 2 windows" in caught.value.remedy


def test_a_text_that_is_none_is_named(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing", tmp_path / "binary", tmp_path):
        with pytest.raises(InvalidSpec, match=str(path)):
            read_text(str(path), default=tmp_path)


def test_the_perplexity_change_is_the_ratio_of_perplexities():
    rng = np.random.default_rng(0)
    base = rng.exponential(2, (8, 50))
    accuracy = accuracy_of(np.zeros((8, 50)), base + 0.01, np.ones((8, 50)), reference_nll=base, seed=0)
    assert accuracy.perplexity_change_fraction.value == pytest.approx(math.expm1(0.01))
    assert accuracy.perplexity == pytest.approx(math.exp(base.mean() + 0.01))


def test_step_times_keep_their_percentiles():
    time = decode_time(4, [0.001 * i for i in range(1, 101)], n_rounds=10)
    assert (time.batch, time.n, time.n_rounds) == (4, 100, 10)
    assert time.drift_fraction == pytest.approx(0.0755 / 0.0155 - 1, rel=0.2)  # the last rounds were five times as slow
    assert time.p50_s == pytest.approx(0.0505)
    assert time.p50_low_s < time.p50_s < time.p50_high_s


def test_a_drifting_or_busy_machine_is_named():
    quiet = timing_caution(drift_fraction=0.01, other_load_fraction=0.05)
    loud = timing_caution(drift_fraction=-0.2, other_load_fraction=0.6)
    assert quiet is None
    assert (
        loud
        == "times changed by -20% from the first to the last rounds and other processes took 60% of the processors meanwhile"
    )
    assert timing_caution(drift_fraction=None, other_load_fraction=None) is None
    assert 0 <= OtherLoad().fraction() <= 1


BURNING = "import time; [0 for _ in iter(lambda: time.process_time() < 0.3, False)]; print('done', flush=True); time.sleep(60)"


def test_a_server_that_is_ended_with_its_children_is_not_counted_as_other_load():
    others, start = OtherLoad(), f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURNING!r}])"
    command = [sys.executable, "-c", start]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, text=True) as server:
        assert server.stdout.readline() == "done\n"
        before_s = machine._own_s()
        with others.ending():
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    assert before_s >= 0.2
    assert machine._own_s() + others._ended_s >= before_s - 0.02  # a tick of the clock
