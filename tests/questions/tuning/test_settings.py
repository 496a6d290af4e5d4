"""Settings of vLLM: their flags, the combinations that it refuses, and what no tuner can be asked."""

from dataclasses import replace

import pytest

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import REFERENCE_MODEL_PLACE
from workbench.core.devices import Device
from workbench.core.errors import DoesNotFit, InvalidSpec
from workbench.engines.vllm_settings import VllmSetting, reason_against
from workbench.questions.tuning.measure.space import constant_flags, space
from workbench.questions.tuning.measure.step_times import shape_of
from workbench.questions.tuning.spec import TuneSpec, memory_bytes

CPU = Device(kind="cpu", name="a processor", memory_bytes=8 << 30, free_bytes=4 << 30)


def reason(**changes):
    setting = VllmSetting(**{"max_num_batched_tokens": 2048, "max_num_seqs": 128} | changes)
    model = model_spec_from(REFERENCE_MODEL_PLACE)
    return reason_against(setting, model, device="cuda", max_model_len=4096)


def test_what_vllm_refuses_is_refused_with_the_reason():
    assert reason() is None
    assert "smaller than 128 sequences" in reason(max_num_batched_tokens=64)
    assert "longest request, 4096" in reason(chunked_prefill=False)
    assert reason(chunked_prefill=False, max_num_batched_tokens=4096) is None
    assert "above the longest request" in reason(long_prefill_token_threshold=5000)
    assert "there are 1" in reason(tensor_parallel_size=2)


def test_all_switches_are_flags_so_that_no_default_of_a_version_decides():
    flags = VllmSetting(max_num_batched_tokens=512, max_num_seqs=8, prefix_caching=False, kv_cache_dtype="fp8").flags
    assert flags[:4] == ("--max-num-batched-tokens", "512", "--max-num-seqs", "8")
    assert {"--no-enable-prefix-caching", "--enable-chunked-prefill", "--async-scheduling", "fp8"} <= set(flags)


def test_the_space_is_every_valid_combination_with_the_default_first():
    spec = TuneSpec(
        model=REFERENCE_MODEL_PLACE,
        batched_tokens=(64, 256),
        sequences=(8, 128),
        flags=("--block-size=16|32", "--enforce-eager"),
    )
    tried = space(spec, CPU)
    assert tried.default == VllmSetting(max_num_batched_tokens=2048, max_num_seqs=128, extra=("--block-size=16",))
    assert len(tried.valid) == 1 + (4 - 1) * 2 * 2
    assert {s.max_num_batched_tokens for s, _ in tried.refused} == {64}
    assert constant_flags(spec) == ("--enforce-eager",)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"flags": ("max-num-seqs=3",)}, "is no flag"),
        ({"restart": "systemctl restart vllm"}, "has no {flags}"),
        ({"url": "http://h:1", "restart": "run"}, "has no {flags}"),
        ({"arrivals": "closed"}, "need concurrency"),
        ({"arrivals": "trace"}, "need trace"),
        ({"sequences": (0,)}, "sequences"),
        ({"prefix_caching": ("maybe",)}, "Unknown values of prefix_caching"),
        ({"shared_prefix_tokens": 500}, "shared_prefix_tokens is 500 of 128"),
    ],
)
def test_a_spec_that_cannot_be_measured_is_refused_in_one_sentence(changes, said):
    with pytest.raises(InvalidSpec, match=said.replace("{", r"\{").replace("}", r"\}")):
        TuneSpec(model=REFERENCE_MODEL_PLACE, **changes)


def test_too_many_settings_are_refused():
    spec = TuneSpec(model=REFERENCE_MODEL_PLACE, batched_tokens=tuple(range(200, 300)), sequences=tuple(range(1, 60)))
    with pytest.raises(InvalidSpec, match="settings are too many"):
        space(spec, CPU)


def test_a_model_that_does_not_fit_is_refused_before_anything_is_launched():
    spec = TuneSpec(model="data/models/llama-3.1-8b-shape")
    t4 = Device(kind="cuda", name="Tesla T4", memory_bytes=16 << 30, free_bytes=16 << 30, catalog_id="t4")
    shape = shape_of(spec, t4, most_tokens=4096)
    with pytest.raises(DoesNotFit, match="leaves 0 tokens of cache on"):
        shape.made(shape.start, space(spec, t4).default)


@pytest.mark.parametrize(
    ("size", "n_bytes"), [("25769803776", 25_769_803_776), ("24G", 24 * 2**30), ("24g", 24e9), ("25.6k", 25_600)]
)
def test_a_size_of_the_cache_is_read_as_vllm_reads_it(size, n_bytes):
    """25.6k is the example of vLLM's own help."""
    spec = TuneSpec(model=REFERENCE_MODEL_PLACE, flags=("--enforce-eager", f"--kv-cache-memory-bytes={size}"))
    assert memory_bytes(spec.launched_with("--kv-cache-memory-bytes")) == n_bytes


@pytest.mark.parametrize(
    "flag", ["--kv-cache-memory-bytes=abc", "--gpu-memory-utilization=abc", "--gpu-memory-utilization=1.5"]
)
def test_a_memory_flag_that_says_no_memory_is_refused_before_a_launch(flag):
    with pytest.raises(InvalidSpec, match="is no s"):
        TuneSpec(model=REFERENCE_MODEL_PLACE, flags=(flag,))


def test_a_cache_in_bytes_is_the_cache_that_is_simulated():
    """Llama 3.1 8B takes 32 layers x 8 heads x 128 x 2 x 2 bytes = 128 KiB a token: 24 GiB hold 196,608, and twice as many in FP8."""
    device = Device(kind="cuda", name="NVIDIA H200", memory_bytes=150 * 10**9, free_bytes=0, catalog_id="h200-sxm")
    spec = TuneSpec(model="data/models/llama-3.1-8b-shape", flags=("--kv-cache-memory-bytes=24G",))
    shape = shape_of(spec, device, most_tokens=2048)
    setting = VllmSetting(max_num_batched_tokens=2048, max_num_seqs=128)
    assert shape.made(shape.start, setting)[2] == 196_608
    assert shape.made(shape.start, replace(setting, kv_cache_dtype="fp8"))[2] == 393_216
