"""The commands, as a shell calls them; the quantization job behind them is real and small."""

import json
import subprocess
import sys

import pytest
from support import invented_run
from typer.testing import CliRunner

from workbench.app.main import app
from workbench.catalog.paths import REFERENCE_MODEL


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_doctor_prints_json_with_its_documented_keys():
    findings = json.loads(call("doctor", "--json").stdout)
    assert all(set(f) == {"topic", "state", "value", "remedy"} for f in findings)
    assert "processor" in {f["topic"] for f in findings}
    assert "remedy" in call("doctor").stdout


def test_long_context_reads_prompts_and_prints_the_documented_keys():
    command = ["long-context", REFERENCE_MODEL, "--lengths", "128", "--chunks", "64", "--caches", "dynamic", "--json"]
    told = json.loads(call(*command, "--device", "cpu").stdout)
    parts = {r["part"] for r in told["results"]}
    assert parts == {"prefill", "cache", "limit"}
    reading = next(r for r in told["results"] if r["part"] == "prefill")
    assert reading["kv_held_bytes"] == reading["kv_predicted_bytes"]
    assert reading["ttft_s"] > 0


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("long-context", REFERENCE_MODEL, "--lengths", "16384"), "stdlib-9m takes at most 8,192 tokens"),
        (("context-quality", REFERENCE_MODEL, "--lengths", "16384"), "stdlib-9m takes at most 8,192 tokens"),
        (("attention", REFERENCE_MODEL, "--window", "0"), "window is 0"),
        (("ring-attention", REFERENCE_MODEL, "--lengths", "1001"), "divided by twice"),
    ],
)
def test_long_context_commands_refuse_in_one_sentence(command, says):
    result = call(*command)
    assert result.exit_code != 0
    assert says in " ".join(result.output.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["estimate", "plan", "simulate", "cost"])
def test_a_request_beyond_the_models_length_is_refused_everywhere(command):
    device = {"plan": ()}.get(command, ("h100-sxm",))
    result = call(command, "meta-llama/Llama-2-7b-hf", *device, "--input-tokens", "100000")
    assert result.exit_code != 0
    assert "takes at most 4,096 tokens" in " ".join(result.output.split())


def test_quantize_prints_the_documented_keys_and_stores_the_run(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("def f(x):\n    return x + 1\n" * 200)
    command = [sys.executable, "-m", "workbench.app", "quantize", str(REFERENCE_MODEL), "--methods", "fp32,int8-weight"]
    command += [
        "--text",
        str(text),
        "--windows",
        "3",
        "--window-tokens",
        "64",
        "--rounds",
        "1",
        "--device",
        "cpu",
        "--json",
    ]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    run = json.loads(out)
    assert [r["status"] for r in run["results"]] == ["measured", "measured"]
    row = run["results"][1]
    for key in (
        "mean_kl_nat_per_token",
        "top1_agreement_fraction",
        "perplexity_change_fraction",
        "p99_kl_nat_per_token",
    ):
        assert set(row["accuracy"][key]) == {"value", "low", "high"}
    assert {"weight_bytes", "peak_memory_bytes", "quantize_s", "prefill_tokens_per_s", "decode"} <= set(row)
    listed = json.loads(call("runs", "list", "--json").stdout)
    assert [r["id"] for r in listed] == [run["id"]]
    exported = tmp_path / "run.json"
    assert call("runs", "export", run["id"], exported).exit_code == 0
    assert json.loads(exported.read_text())["samples"]["per_window"]["fp32"]
    assert json.loads(call("jobs", "list", "--json").stdout)[0]["state"] == "done"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("/nowhere/model",), "no model at /nowhere/model"),
        ((REFERENCE_MODEL, "--methods", "int3"), "Unknown methods: int3"),
        ((REFERENCE_MODEL, "--windows", "0"), "n_windows is 0"),
        ((REFERENCE_MODEL, "--batches", "many"), "'many' is not a whole number"),
        ((REFERENCE_MODEL, "--device", "tpu"), "tpu"),
    ],
)
def test_bad_input_ends_with_one_readable_message(arguments, says):
    result = call("quantize", *arguments)
    assert result.exit_code == 2
    assert says in " ".join(result.output.replace("│", " ").split())
    assert "Traceback" not in result.output


def test_a_text_that_is_too_short_fails_with_the_remedy_and_can_be_resumed(tmp_path):
    (tmp_path / "short.txt").write_text("x = 1\n")
    result = call("quantize", REFERENCE_MODEL, "--methods", "fp32", "--text", tmp_path / "short.txt", "--device", "cpu")
    assert result.exit_code == 1
    shown = " ".join(result.output.split())
    assert "64 windows of 513 need" in shown
    assert "workbench jobs resume" in shown


def test_a_run_goes_out_and_comes_back(tmp_path):
    source = tmp_path / "run.json"
    source.write_text(invented_run().to_json())
    assert call("runs", "import", source).exit_code == 0
    assert json.loads(call("runs", "show", "invented").stdout)["id"] == "invented"
    assert call("runs", "import", tmp_path / "missing.json").exit_code == 2
    assert call("runs", "show", "nothing").exit_code == 2
