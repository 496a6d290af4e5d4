"""Recipes are for models in float: llm-compressor does not quantize a quantized checkpoint again."""

import json
import shutil

from typer.testing import CliRunner

from workbench.app.main import app
from workbench.catalog.paths import REFERENCE_MODEL


def recipe(folder):
    return CliRunner().invoke(app, ["checkpoints", str(folder), "--plan", '{"qkv": "w8a16"}', "--recipe"])


def test_a_recipe_names_the_layers_of_a_float_model():
    assert "q_proj" in recipe(REFERENCE_MODEL).output


def test_a_quantized_model_has_no_recipe(tmp_path):
    folder = tmp_path / "quantized"
    shutil.copytree(REFERENCE_MODEL, folder)
    fields = json.loads((folder / "config.json").read_text())
    method = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
    (folder / "config.json").write_text(json.dumps(fields | {"quantization_config": method}))
    refused = recipe(folder)
    assert refused.exit_code == 2
    assert "are quantized already (gptq)" in " ".join(refused.output.split())
