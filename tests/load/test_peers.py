"""Results of other tools say the same in our words. The file was written by vllm bench serve 0.32.0 against the mock
server (TTFT 50 ms, 10 ms between tokens, every tenth request failing): --num-prompts 20 --request-rate 10."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from workbench.cli.main import app
from workbench.core.errors import StoreError
from workbench.core.runs import Run
from workbench.experiments.load_import import run_from_vllm_bench

FILE = Path(__file__).parent / "vllm_bench_0.32.0.json"


def test_our_figures_are_those_that_vllm_bench_computed():
    theirs = json.loads(FILE.read_text())
    answers = run_from_vllm_bench(FILE).results[0]
    for ours, name in (("ttft_s", "ttft"), ("tpot_s", "tpot"), ("itl_s", "itl")):
        found = answers[ours]["from_sent"]
        assert found["mean"] * 1e3 == pytest.approx(theirs[f"mean_{name}_ms"], rel=1e-6)
        if not found["n_censored"]:
            assert found["p50"] * 1e3 == pytest.approx(theirs[f"median_{name}_ms"], rel=1e-6)
            assert found["p99"] * 1e3 == pytest.approx(theirs[f"p99_{name}_ms"], rel=1e-6)
    assert answers["tokens"]["output"] == theirs["total_output_tokens"]


def test_failures_are_counted_where_vllm_bench_drops_them():
    answers = run_from_vllm_bench(FILE).results[0]
    assert (answers["counts"]["ok"], answers["counts"]["failed"]) == (18, 2)
    assert answers["goodput"]["attainment_fraction"] == 0.9
    assert answers["e2e_s"]["from_due"]["n_censored"] == 2
    assert answers["client_health"] is None


def test_the_imported_run_survives_the_store():
    run = run_from_vllm_bench(FILE)
    assert Run.from_json(run.to_json()).to_json() == run.to_json()


def test_the_command_imports_it_and_shows_it_beside_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "250")
    runner = CliRunner()
    imported = runner.invoke(app, ["runs", "import", str(FILE)])
    assert imported.exit_code == 0
    shown = runner.invoke(app, ["runs", "loads"])
    assert "vllm bench serve" in shown.stdout
    assert imported.stdout.strip() in shown.stdout
    assert "18 / 2" in shown.stdout


@pytest.mark.parametrize("text", ["no json", "[]", '{"a": 1}', '{"model_id": "m", "num_prompts": 1, "completed": 1}'])
def test_other_files_are_refused(tmp_path, text):
    file = tmp_path / "file.json"
    file.write_text(text)
    with pytest.raises(StoreError):
        run_from_vllm_bench(file)
