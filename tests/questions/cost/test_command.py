"""The command that prices a load."""

import json

import pytest
from typer.testing import CliRunner

from workbench.app.main import app


def call(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_cost_prices_a_load_by_unit_and_by_way_to_save():
    arguments = ("cost", "meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--rate", "100", "--smaller", "Qwen/Qwen3-0.6B")
    data = json.loads(call(*arguments, "--json").stdout)
    assert data["units"]["usd_per_request"] == pytest.approx(data["usd_per_hour"] / 360_000)
    assert data["units"]["usd_per_million_output_tokens"] > data["units"]["usd_per_million_input_tokens"] > 0
    assert data["day"]["machine_hours_scaled"] <= data["day"]["machine_hours_fixed"] + 24
    assert len(data["savings"]) == 5
    text = call(*arguments).output
    assert "per 1000 requests that meet the SLO" in text
    assert "Way to save" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--hit-rate", "1"), "hit rate"),
        (("--day", "morning"), "is not a number"),
        (("--tpot-ms", "0.01"), "No plan in BF16"),
    ],
)
def test_what_cannot_be_priced_says_why(arguments, says):
    result = call("cost", "meta-llama/Meta-Llama-3.1-8B", "h200-sxm", *arguments)
    assert result.exit_code != 0
    assert says in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("model", "device", "precision", "serves"),
    [
        ("deepseek-ai/DeepSeek-V3", "h200-sxm", "fp8", "vllm serve deepseek-ai/DeepSeek-V3 "),
        ("meta-llama/Meta-Llama-3.1-405B", "h100-sxm", "fp8", "--quantization fp8"),
        ("moonshotai/Kimi-K2-Instruct", "b200-sxm", "fp8", "vllm serve moonshotai/Kimi-K2-Instruct "),
        ("openai/gpt-oss-120b", "h100-sxm", "mxfp4", "vllm serve openai/gpt-oss-120b "),
        ("meta-llama/Meta-Llama-3.1-8B", "l4", "bf16", "vllm serve meta-llama/Meta-Llama-3.1-8B "),
    ],
)
def test_no_plan_in_bf16_is_needed(model, device, precision, serves, monkeypatch):
    from workbench.estimate import launch

    monkeypatch.setattr(launch, "known_siblings", dict)
    data = json.loads(call("cost", model, device, "--rate", "2", "--json").stdout)
    assert data["precision"] == precision
    assert data["usd_per_hour"] > 0
    assert serves in data["launch_command"]


def test_a_precision_that_was_asked_for_is_the_one_that_is_priced():
    arguments = ("cost", "meta-llama/Meta-Llama-3.1-8B", "a100-sxm-80", "--rate", "5", "--json")
    assert json.loads(call(*arguments, "--precision", "w4a16").stdout)["precision"] == "w4a16"
    refused = call(*arguments, "--precision", "w3a16")
    assert "no kernel for INT3" in " ".join(refused.output.split())
