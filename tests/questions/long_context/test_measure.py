"""Attention over length, whole models, and quality by depth, on this machine at small sizes."""

import re

import pytest

from workbench.apparatus.mock_process import MockProcess
from workbench.attention import cells, timing
from workbench.attention.rows import Ceilings, Cell, ComparedCache, MissingCell, NotMeasured, Prefill
from workbench.catalog.attention_techniques import AttentionOptions
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.devices import Device
from workbench.core.errors import DoesNotFit, InvalidSpec
from workbench.core.runs import last_run
from workbench.measuring.envelope import measured
from workbench.questions.long_context.attention import measure as attention
from workbench.questions.long_context.attention.rows import AttentionSamples
from workbench.questions.long_context.attention.spec import AttentionSpec
from workbench.questions.long_context.limits import check_fits
from workbench.questions.long_context.quality.rows import QualitySamples, Retrieval, TextStretch, VariantResult
from workbench.questions.long_context.quality.spec import ContextQualitySpec
from workbench.questions.long_context.rows import Limit
from workbench.questions.long_context.spec import LongContextSpec, ServedVariant
from workbench.store.decoding import run_from_json

MODEL = str(REFERENCE_MODEL)


def small_attention(**changes):
    values = {"model": MODEL, "techniques": ("flash", "window", "cudnn"), "lengths": (128, 256), "window": 64}
    return AttentionSpec(**{**values, "rounds": 2, "device": "cpu", **changes})


def test_every_cell_is_measured_or_says_why_not(tmp_path):
    run = last_run(measured(small_attention(), tmp_path))
    rows, missing = run.rows(Cell), run.rows(MissingCell)
    assert len(rows) + len(missing) == 3 * 2 * 2
    assert {r.technique for r in rows} == {"flash", "window"}
    assert {(r.technique, r.status) for r in missing} == {("cudnn", "not available")}
    assert all(r.max_error < 1e-5 for r in rows)
    assert all(r.p50_s.low <= r.p50_s.value <= r.p50_s.high for r in rows)
    assert [len(c.seconds) for c in run.sampled(AttentionSamples).calls] == [2] * len(rows)
    assert isinstance(run.results[0], Ceilings)
    assert run_from_json(run.to_json()) == run


def test_a_second_call_goes_on_where_the_first_stopped(tmp_path, monkeypatch):
    steps = measured(small_attention(), tmp_path)
    for _ in range(6):
        next(steps)
    steps.close()
    done = len(list((tmp_path / "parts").glob("*.json")))
    assert done >= 3
    (tmp_path / "parts" / "prefill_256_cudnn.part").write_text('{"technique": "flash", "pha')  # ended while writing
    calls = []
    real = attention.measure_cell
    monkeypatch.setattr(attention, "measure_cell", lambda *a, **k: calls.append(a) or real(*a, **k))
    run = last_run(measured(small_attention(), tmp_path))
    assert len(calls) == 12 - done
    assert len(run.results) == 1 + 12


def test_memory_that_would_not_suffice_is_a_result_and_the_rest_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "free_bytes", lambda _device: 2**20)
    spec = small_attention(techniques=("math", "flash"), lengths=(128, 512), phases=("prefill",))
    run = last_run(measured(spec, tmp_path))
    missing = {(r.technique, r.length_tokens): r for r in run.rows(MissingCell)}
    assert missing["math", 512].status == "out of memory"
    assert ("flash", 512) in {(r.technique, r.length_tokens) for r in run.rows(Cell)}
    assert "are free" in next(iter(missing.values())).reason


def test_an_allocation_that_fails_for_real_is_a_result_too(monkeypatch):
    monkeypatch.setattr(cells, "_require_score_memory", lambda *_: None)
    row = cells.measure_cell(
        "math",
        phase="prefill",
        length=4_000_000,
        shape=timing.HeadShape(1, 1, 8),
        options=AttentionOptions(),
        ceilings=Ceilings(copy_bytes_per_s=1.0, matmul_flop_per_s=1.0),
        rounds=1,
        device="cpu",
        seed=0,
        energy_j=lambda: None,
    )
    assert row.status == "out of memory"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"window": 0}, "window is 0"),
        ({"lengths": ()}, "Lengths"),
        ({"techniques": ("magic",)}, "Unknown techniques: magic"),
        ({"phases": ("sleep",)}, "Unknown phases: sleep"),
    ],
)
def test_attention_nonsense_is_refused(changes, says):
    with pytest.raises(InvalidSpec, match=says):
        small_attention(**changes)


def test_a_whole_model_reads_continues_and_holds_what_the_formula_says(tmp_path):
    spec = LongContextSpec(
        model=MODEL, lengths=(128, 300), chunks=(100,), decode_steps=4, cache_tokens=256, device="cpu"
    )
    run = last_run(measured(spec, tmp_path))
    prefill = run.rows(Prefill)
    assert [r.length_tokens for r in prefill] == [128, 300]
    assert all(r.kv_held_bytes == r.kv_predicted_bytes for r in prefill)
    caches = {r.cache: r for r in run.rows(ComparedCache)}
    for name in ("preallocated", "dynamic", "static", "sliding"):
        assert caches[name].max_logit_difference < 1e-3
    assert "Needs a GPU" in next(r for r in run.rows(NotMeasured) if r.label == "offloaded").reason
    assert caches["sliding"].kv_held_bytes < caches["dynamic"].kv_held_bytes / 3
    limit = run.row(Limit)
    assert limit.found_tokens is None
    assert limit.predicted_tokens > 0
    assert run_from_json(run.to_json()) == run
    assert last_run(measured(spec, tmp_path)).results == run.results  # finished parts are kept


def test_lengths_beyond_the_model_and_a_device_without_memory_are_told(tmp_path):
    with pytest.raises(InvalidSpec, match=r"takes at most 8,192 tokens.*16,396 were asked for .16,384 in and 12 out"):
        last_run(measured(LongContextSpec(model=MODEL, lengths=(16384,)), tmp_path))
    with pytest.raises(InvalidSpec, match=r"8,200 were asked for .8,188 in and 12 out"):
        last_run(measured(LongContextSpec(model=MODEL, lengths=(128,), cache_tokens=8188), tmp_path))
    with pytest.raises(InvalidSpec, match="takes at most 8,192 tokens"):
        last_run(measured(ContextQualitySpec(model=MODEL, lengths=(16384,)), tmp_path))
    little = Device(kind="cpu", name="a small machine", memory_bytes=2**20, free_bytes=2**20)
    spec = LongContextSpec(model=MODEL, lengths=(128,))
    with pytest.raises(DoesNotFit, match="of a small machine are free"):
        check_fits(spec, model_spec_from(MODEL), little)


def test_without_lengths_they_lead_to_the_models_limit():
    spec = LongContextSpec(model=MODEL)
    assert spec.lengths_for(8192) == (1024, 4096, 8128)
    assert (spec.cache_tokens_for(8192), spec.cache_tokens_for(2048)) == (4096, 2036)
    assert spec.lengths_for(0) == (1024, 4096, 16384, 65536, 131008)
    assert LongContextSpec(model=MODEL, lengths=(300, 128)).lengths_for(8192) == (128, 300)


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
    run = last_run(measured(quality(), tmp_path))
    cells_of = {(r.variant, r.depth_fraction): r.right_fraction.value for r in run.rows(Retrieval)}
    assert cells_of["full", 0.0] == cells_of["full", 1.0] == cells_of["window:128", 1.0] == 1.0
    assert cells_of["window:128", 0.0] == 0.0
    against_full = {r.variant: r.against_full for r in run.rows(VariantResult)}
    assert against_full["window:128"].lost == 3
    assert against_full["full"].mean_kl_nat_per_token.value == 0
    assert against_full["window:128"].answer_nll_change_nat_per_token.value > 1
    stretches = [r for r in run.rows(TextStretch) if r.variant == "window:128"]
    assert max(r.kl_nat_per_token for r in stretches if r.end_position <= 128) < 1e-6
    assert max(r.kl_nat_per_token for r in stretches if r.first_position >= 128) > 1e-4
    assert [len(cells) for cells in run.sampled(QualitySamples).recall_fraction.values()] == [2, 2]
    assert run_from_json(run.to_json()) == run
    again = last_run(measured(quality(), tmp_path))  # finished variants are kept
    assert again.results == run.results


def test_a_server_is_asked_the_same_questions(tmp_path):
    with MockProcess() as server:
        spec = quality(url=server.url, variants=("full",))
        run = last_run(measured(spec, tmp_path))
    assert [r.variant for r in run.rows(VariantResult)] == ["served"]
    assert all(r.n == 3 for r in run.rows(Retrieval))
    assert run.row(VariantResult).against_full is None
    assert run_from_json(run.to_json()) == run


def test_a_dead_server_is_one_readable_error(tmp_path):
    from workbench.engines.http import EngineFailed

    with pytest.raises(EngineFailed, match=re.escape("http://127.0.0.1:9")):
        last_run(measured(quality(url="http://127.0.0.1:9"), tmp_path))
