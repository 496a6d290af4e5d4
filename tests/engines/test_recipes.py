"""Launch commands of all engines come from one plan, with flags that the engines know."""

import re

import pytest
from typer.testing import CliRunner

from workbench.app.main import app
from workbench.catalog.tables import engines
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.engines import environments
from workbench.engines.recipes import MAKERS, launch_recipe
from workbench.engines.serve_plan import ServePlan

PLAN = ServePlan(model="org/model", port=8123, n_gpus=4, max_tokens=4096, dtype="bfloat16", kv_cache="fp8")


@pytest.mark.parametrize("engine", MAKERS)
def test_a_recipe_names_the_model_the_port_and_the_length(engine):
    recipe = launch_recipe(engine, PLAN)
    assert "org/model" in recipe.text
    assert "8123" in recipe.commands[-1]
    assert any(part in {"4096", "65536"} for part in recipe.commands[-1])  # llama.cpp shares it among 16 slots
    assert recipe.version


@pytest.mark.parametrize("engine", MAKERS)
def test_what_the_plan_leaves_open_is_left_to_the_engine(engine):
    text = launch_recipe(engine, ServePlan(model="m")).text
    assert "None" not in text
    assert "auto" not in text
    assert not re.search(r"-(tp|shard|tp.size|tensor-parallel-size) ", text)


def test_an_engine_for_gpus_refuses_a_cpu_and_an_unknown_one_is_named():
    with pytest.raises(NotAvailable, match="GPUs only"):
        launch_recipe("tgi", ServePlan(model="m", n_gpus=0))
    with pytest.raises(NotAvailable, match="no recipe"):
        launch_recipe("triton", PLAN)
    with pytest.raises(InvalidSpec):
        ServePlan(model="m", kv_cache="int3")


def test_every_engine_of_the_table_says_whether_it_was_started_and_where_its_features_were_read():
    rows = {e.id: e for e in engines()}
    assert set(MAKERS) <= set(rows)
    for row in rows.values():
        assert re.search(r"served here|measured here|not started: ", row.started), row.id
        assert row.quantization
        assert row.hardware
        assert row.source


def test_vllm_knows_the_flags():
    found = environments.find("vllm", device="cpu")
    if found is None:
        pytest.skip("vLLM is not installed in its environment")
    (arguments,) = found.python.parents[1].glob("lib/python3*/site-packages/vllm/engine/arg_utils.py")
    known = arguments.read_text()
    flags = [p for p in launch_recipe("vllm", PLAN).commands[-1] if p.startswith("--") and p != "--port"]
    assert flags
    assert all(f'"{flag}"' in known for flag in flags)


def test_the_command_prints_all_of_them_and_says_which_were_not_started():
    shown = CliRunner().invoke(app, ["engines", "recipes", "org/model", "--gpus", "0"])
    assert shown.exit_code == 0
    assert "vllm serve org/model" in shown.stdout
    assert "not started" in shown.stdout
    assert "LMDeploy serves on GPUs only" in shown.stdout
    refused = CliRunner().invoke(app, ["engines", "recipes", "m", "--engine", "tgi", "--gpus", "0"])
    assert refused.exit_code == 2
