"""Launch commands: a shell reads them as they are meant, and they serve weights that exist or are made before."""

import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.model_spec import StoredWeights
from workbench.catalog.models import catalog_models
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.estimate import launch
from workbench.estimate.device_calibration import offers
from workbench.estimate.launch import hub_name, launch_command, longest_request
from workbench.estimate.machine import Split
from workbench.estimate.search import Load, Plan, splits

MODELS = catalog_models()
LOAD = Load(requests_per_s=1, input_tokens=1000, output_tokens=24, ttft_s=1, tpot_s=0.05)
PLAN = Plan(
    device_id="h100-sxm", device_name="H100", n_devices=1, precision="bf16", kernel="bf16", kv_bits=16, reason=None
)


@given(st.text(st.characters(min_codepoint=32, exclude_characters="()"), min_size=1).filter(lambda t: t.strip("/. ")))
def test_a_shell_reads_any_name_as_one_word(name):
    words = shlex.split(launch_command(f"folder/{name}", PLAN, LOAD))
    assert words[2] == hub_name(f"folder/{name}")
    assert words[words.index("--max-model-len") + 1] == str(longest_request(1000, 24))


def test_remarks_of_the_catalogue_are_no_part_of_a_name():
    assert hub_name("google/gemma-3-27b-it (text)") == "google/gemma-3-27b-it"
    assert hub_name("my models/one/config.json") == "my models/one"


def test_the_checkpoint_is_the_models_own_a_sibling_an_online_rounding_or_made(monkeypatch):
    def lines(precision, model="org/model", spec=None, **changes):
        plan = replace(PLAN, precision=precision, kernel=precision, **changes)
        return launch_command(model, plan, LOAD, spec=spec).splitlines()

    monkeypatch.setattr(launch, "known_siblings", dict)
    assert lines("fp8") == [f"{lines('bf16')[0]} --quantization fp8"]
    deepseek = MODELS["deepseek-ai/DeepSeek-V3"]
    assert lines("fp8", spec=deepseek) == lines("bf16")  # its checkpoint is FP8
    _, download, make, serve = lines("w4a16")
    assert download == "hf download org/model --local-dir model"
    assert make == "workbench checkpoints model --schemes gptq-w4a16 --out checkpoints"
    assert serve.startswith("vllm serve checkpoints/model-gptq-w4a16-* ")
    assert not any(line.startswith("hf ") for line in lines("w4a16", model=str(REFERENCE_MODEL)))
    assert "MXFP4" in lines("mxfp4")[-2]
    assert lines("mxfp4", spec=MODELS["openai/gpt-oss-20b"]) == lines("bf16")
    monkeypatch.setattr(launch, "known_siblings", lambda: {("org/model", "w4a16"): "other/model-AWQ"})
    assert lines("w4a16")[0].startswith("vllm serve other/model-AWQ ")
    stored = replace(deepseek, stored=StoredWeights(method="awq", precision="w4a16-asym", n_bytes=10**9))
    assert lines("w4a16-asym", spec=stored) == lines("bf16")


def test_commands_of_makers_are_ones_that_the_workbench_has():
    from typer.testing import CliRunner

    from workbench.app.main import app

    help_text = CliRunner().invoke(app, ["checkpoints", "--help"], env={"COLUMNS": "200"}).output
    assert all(word in help_text for word in ("--schemes", "--out"))
    assert set(launch.MADE_BY.values()) <= set(launch.SCHEMES)


def test_sequences_are_counted_by_rank():
    """vLLM's --max-num-seqs is of each data-parallel rank."""
    plan = replace(PLAN, split=Split(data=4, is_expert_parallel=True), n_devices=4, concurrency=50)
    words = launch_command("m", plan, LOAD).split()
    assert words[words.index("--max-num-seqs") + 1] == "13"
    assert words[words.index("--data-parallel-size") + 1] == "4"
    assert "--enable-expert-parallel" in words


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        ("microsoft/phi-4", {1, 2}),  # 40 heads, 10 KV heads: vLLM asserts at 4 and 8
        ("meta-llama/Meta-Llama-3.1-8B", {1, 2, 4, 8}),
        ("Qwen/Qwen2.5-7B", {1, 2, 4}),  # 28 heads
        ("Qwen/Qwen3-30B-A3B", {1, 2, 4, 8}),  # 4 KV heads are copied over 8
        ("deepseek-ai/DeepSeek-V3", {1, 2, 4, 8}),  # the latent is copied
    ],
)
def test_kv_heads_are_divided_as_vllm_does(model, sizes):
    """total_num_kv_heads % tp == 0 or tp % total_num_kv_heads == 0 (vllm/model_executor/layers/linear.py)."""
    found = splits(MODELS[model], (1, 2, 4, 8))
    assert {s.tensor for s in found} == sizes


def test_devices_without_bf16_are_started_in_half():
    assert not offers(["t4"])[0].has_bf16
    plan = replace(PLAN, dtype="half", kernel="fp16")
    assert "--dtype half" in launch_command("m", plan, LOAD)
