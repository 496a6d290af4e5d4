"""Attention over length, whole models, and quality by depth, on this machine at small sizes."""

import json
import re

import pytest

from workbench.attention import cells, timing
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.attention import AttentionOptions, AttentionSpec
from workbench.core.context_quality import ContextQualitySpec
from workbench.core.devices import Device
from workbench.core.errors import DoesNotFit, InvalidSpec
from workbench.core.long_context import LongContextSpec, ServedVariant
from workbench.core.runs import Run, last_run
from workbench.experiments import attention, context_quality, long_context
from workbench.experiments.context_limits import check_fits
from workbench.testing.mock_process import MockProcess

MODEL = str(REFERENCE_MODEL)


def small_attention(**changes):
    values = {"model": MODEL, "techniques": ("flash", "window", "cudnn"), "lengths": (128, 256), "window": 64}
    return AttentionSpec(**{**values, "rounds": 2, "device": "cpu", **changes})


def test_every_cell_is_measured_or_says_why_not(tmp_path):
    run = last_run(attention.measure(small_attention(), tmp_path))
    rows = [r for r in run.results if r["part"] == "cell"]
    assert len(rows) == 3 * 2 * 2
    by_status = {r["technique"]: r["status"] for r in rows}
    assert by_status == {"flash": "measured", "window": "measured", "cudnn": "not available"}
    assert all(r["max_error"] < 1e-5 for r in rows if r["status"] == "measured")
    assert all(r["p50_s_low"] <= r["p50_s"] <= r["p50_s_high"] for r in rows if "p50_s" in r)
    ceilings = run.results[0]
    assert ceilings["copy_bytes_per_s"] > 1e8
    assert ceilings["matmul_flop_per_s"] > 1e8
    assert Run.from_json(run.to_json()) == run


def test_a_second_call_goes_on_where_the_first_stopped(tmp_path, monkeypatch):
    steps = attention.measure(small_attention(), tmp_path)
    for _ in range(6):
        next(steps)
    steps.close()
    done = len((tmp_path / "cells.jsonl").read_text().splitlines())
    assert done >= 3
    with (tmp_path / "cells.jsonl").open("a") as file:
        file.write('{"technique": "flash", "pha')  # the machine went down while writing
    calls = []
    real = attention.measured_cell
    monkeypatch.setattr(attention, "measured_cell", lambda *a, **k: calls.append(a) or real(*a, **k))
    run = last_run(attention.measure(small_attention(), tmp_path))
    assert len(calls) == 12 - done
    assert len(run.results) == 1 + 12


def test_memory_that_would_not_suffice_is_a_result_and_the_rest_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "free_bytes", lambda _device: 2**20)
    spec = small_attention(techniques=("math", "flash"), lengths=(128, 512), phases=("prefill",))
    rows = last_run(attention.measure(spec, tmp_path)).results[1:]
    statuses = {(r["technique"], r["length_tokens"]): r["status"] for r in rows}
    assert statuses["math", 512] == "out of memory"
    assert statuses["flash", 512] == "measured"
    assert "are free" in next(r for r in rows if r["status"] == "out of memory")["reason"]


def test_an_allocation_that_fails_for_real_is_a_result_too(monkeypatch):
    monkeypatch.setattr(cells, "_refuse_what_kills", lambda *_: None)
    row = cells.measured_cell(
        "math",
        phase="prefill",
        length=4_000_000,
        shape=timing.HeadShape(1, 1, 8),
        options=AttentionOptions(),
        ceilings=timing.Ceilings(1.0, 1.0),
        rounds=1,
        device="cpu",
        seed=0,
        energy_j=lambda: None,
    )
    assert row["status"] == "out of memory"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"window": 0}, "window is 0"),
        ({"lengths": ()}, "Lengths"),
        ({"techniques": ("magic",)}, "Unknown techniques: magic"),
        ({"phases": ("sleep",)}, "Phases"),
    ],
)
def test_attention_nonsense_is_refused(changes, says):
    with pytest.raises(InvalidSpec, match=says):
        small_attention(**changes)


def test_a_whole_model_reads_continues_and_holds_what_the_formula_says(tmp_path):
    spec = LongContextSpec(
        model=MODEL, lengths=(128, 300), chunks=(100,), decode_steps=4, cache_tokens=256, device="cpu"
    )
    run = last_run(long_context.measure(spec, tmp_path))
    reading = [r for r in run.results if r["part"] == "reading"]
    assert [r["length_tokens"] for r in reading] == [128, 300]
    assert all(r["kv_held_bytes"] == r["kv_predicted_bytes"] for r in reading)
    caches = {r["cache"]: r for r in run.results if r["part"] == "cache"}
    for name in ("roomy", "dynamic", "static", "sliding"):
        assert caches[name]["status"] == "measured"
        assert caches[name]["max_logit_difference"] < 1e-3
    assert "Needs a GPU" in caches["offloaded"]["reason"]
    assert caches["sliding"]["kv_held_bytes"] < caches["dynamic"]["kv_held_bytes"] / 3
    limit = next(r for r in run.results if r["part"] == "limit")
    assert limit["status"] == "not available"
    assert limit["predicted_tokens"] > 0


def test_lengths_beyond_the_model_and_a_device_without_memory_are_told(tmp_path):
    with pytest.raises(InvalidSpec, match="16384 tokens are more than stdlib-9m was made for: 8192"):
        last_run(long_context.measure(LongContextSpec(model=MODEL, lengths=(16384,)), tmp_path))
    with pytest.raises(InvalidSpec, match="16384 tokens are more than"):
        last_run(context_quality.measure(ContextQualitySpec(model=MODEL, lengths=(16384,)), tmp_path))
    little = Device(kind="cpu", name="a small machine", memory_bytes=2**20, free_bytes=2**20)
    spec = LongContextSpec(model=MODEL, lengths=(128,))
    with pytest.raises(DoesNotFit, match="of a small machine are free"):
        check_fits(spec, model_spec_from(MODEL), little)


def test_settings_of_vllm_are_read_and_nonsense_refused():
    assert ServedVariant.read("fp8-kv").kv_cache_dtype == "fp8"
    assert ServedVariant.read("chunk:512").chunk_tokens == 512
    with pytest.raises(InvalidSpec, match="Unknown setting"):
        LongContextSpec(model="m", served=("chunk:0",))
    with pytest.raises(InvalidSpec, match="Unknown caches"):
        LongContextSpec(model="m", caches=("magic",))


def quality(**changes):
    values = {"model": MODEL, "variants": ("full", "window:128"), "tasks": ("single",), "lengths": (384,)}
    return ContextQualitySpec(
        **{**values, "n_depths": 2, "n_per_cell": 3, "n_windows": 1, "window_tokens": 256, "device": "cpu", **changes}
    )


def test_a_window_loses_what_lies_before_it_and_full_attention_does_not(tmp_path):
    run = last_run(context_quality.measure(quality(), tmp_path))
    cells_of = {
        (r["variant"], r["depth_fraction"]): r["right_fraction"] for r in run.results if r["part"] == "retrieval"
    }
    assert cells_of["full", 0.0] == cells_of["full", 1.0] == cells_of["window:128", 1.0] == 1.0
    assert cells_of["window:128", 0.0] == 0.0
    summary = {r["variant"]: r for r in run.results if r["part"] == "variant"}
    assert summary["window:128"]["lost"] == 3
    assert summary["full"]["mean_kl_nat_per_token"] == 0
    assert summary["window:128"]["answer_nll_change_nat_per_token"] > 1
    positions = [r for r in run.results if r["part"] == "position" and r["variant"] == "window:128"]
    assert max(r["kl_nat_per_token"] for r in positions if r["end_position"] <= 128) < 1e-6
    assert max(r["kl_nat_per_token"] for r in positions if r["first_position"] >= 128) > 1e-4
    again = last_run(context_quality.measure(quality(), tmp_path))  # finished variants are kept
    assert again.results == run.results


def test_a_server_is_asked_the_same_questions(tmp_path):
    with MockProcess() as server:
        spec = quality(url=server.url, variants=("full",))
        run = last_run(context_quality.measure(spec, tmp_path))
    assert [r["variant"] for r in run.results if r["part"] == "variant"] == ["served"]
    assert all(r["n"] == 3 for r in run.results if r["part"] == "retrieval")
    assert "mcnemar_p" not in run.results[0]
    json.dumps(run.results, allow_nan=False)


def test_a_dead_server_is_one_readable_error(tmp_path):
    from workbench.engines.http import EngineFailed

    with pytest.raises(EngineFailed, match=re.escape("http://127.0.0.1:9")):
        last_run(context_quality.measure(quality(url="http://127.0.0.1:9"), tmp_path))
