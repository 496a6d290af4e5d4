"""The commands that predict."""

import json

import pytest
from typer.testing import CliRunner

from workbench.cli.main import app


def call(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_estimate_prints_the_documented_keys():
    told = json.loads(
        call(
            "estimate",
            "meta-llama/Meta-Llama-3.1-8B",
            "h200-sxm",
            "--precision",
            "fp8",
            "--concurrency",
            "64",
            "--arrival",
            "static",
            "--json",
        ).stdout
    )
    for name in ("ttft_s", "prefill_s", "tpot_s", "output_tokens_per_s"):
        assert told[f"{name}_low"] < told[name] < told[f"{name}_high"]
    assert told["memory"]["does_fit"]
    assert told["is_calibrated"]
    assert told["provenance"] == "estimated"


def test_what_is_not_calibrated_says_so():
    text = call("estimate", "meta-llama/Meta-Llama-3.1-70B", "a100-sxm-80", "--tp", "4").output
    assert "Not calibrated" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("meta-llama/Meta-Llama-3.1-8B", "abacus"), "Unknown device"),
        (("meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--tp", "3"), "cannot be divided"),
        (("meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--precision", "fp1"), "Unknown precision"),
        (("Qwen/Qwen3-30B-A3B", "h200-sxm", "--dp", "2"), "share nothing"),
        (("meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--ep", "--tp", "2"), "no experts to spread"),
        (("meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--tp", "2", "--devices", "3"), "divided into replicas"),
    ],
)
def test_what_cannot_be_predicted_is_told(arguments, says):
    result = call("estimate", *arguments)
    assert result.exit_code != 0
    assert says in " ".join(result.output.split())


def test_calibrate_fits_the_shipped_runs_and_keeps_the_constants(tmp_path):
    told = json.loads(call("calibrate", "--json").stdout)
    assert told["device_id"] == "h200-sxm"
    kept = tmp_path / "home" / "calibrations" / "h200-sxm.json"
    assert json.loads(kept.read_text()) == told
    assert len(told["sources"]) == 4


def test_plan_lists_plans_with_commands_and_reasons():
    model = "meta-llama/Meta-Llama-3.1-70B"
    told = json.loads(call("plan", model, "--rate", "5", "--on", "h200-sxm,l4", "--json").stdout)
    good = [p for p in told["plans"] if p["reason"] is None]
    assert good[0]["is_pareto"]
    assert good[0]["launch_command"].startswith(f"vllm serve {model}")
    assert any("memory" in (p["reason"] or "") for p in told["plans"])
    assert "202" in told["prices"]["h200-sxm"]  # a price has its day
    text = call("plan", model, "--tpot-ms", "0.01", "--on", "h200-sxm").output
    assert "No plan keeps the promises" in text
    assert "TPOT" in text


def test_simulate_tells_waits_and_promises():
    model = "meta-llama/Meta-Llama-3.1-8B"

    def told(*more):
        return json.loads(call("simulate", model, "h200-sxm", "--requests", "500", "--json", *more).stdout)

    calm, busy = told("--rate", "2"), told("--rate", "60")
    assert calm["provenance"] == "simulated"
    assert calm["ttft_p50_s"] <= calm["ttft_p99_s"] < busy["ttft_p99_s"]
    assert 0 <= busy["kept_fraction"] <= calm["kept_fraction"] <= 1
    assert calm["goodput_requests_per_s"] <= calm["requests_per_s"]
    assert told("--rate", "60", "--replicas", "2")["ttft_p99_s"] < busy["ttft_p99_s"]
    table = call("simulate", model, "h200-sxm", "--requests", "50").output
    assert "simulated" in table
    assert "min" not in table  # rates are no durations
    assert "cannot be read" in " ".join(call("simulate", model, "h200-sxm", "--trace", "/nowhere.csv").output.split())


def test_cost_prices_a_load_by_unit_and_by_way_to_save():
    arguments = ("cost", "meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--rate", "100", "--smaller", "Qwen/Qwen3-0.6B")
    told = json.loads(call(*arguments, "--json").stdout)
    assert told["usd_per_request"] == pytest.approx(told["usd_per_hour"] / 360_000)
    assert told["usd_per_million_output_tokens"] > told["usd_per_million_input_tokens"] > 0
    assert told["day"]["machine_hours_scaled"] <= told["day"]["machine_hours_fixed"] + 24
    assert len(told["savings"]) == 5
    text = call(*arguments).output
    assert "per good request" in text
    assert "way to save" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--hit-rate", "1"), "hit rate"),
        (("--day", "morning"), "Give numbers"),
        (("--tpot-ms", "0.01"), "No plan in BF16"),
    ],
)
def test_what_cannot_be_priced_is_told(arguments, says):
    result = call("cost", "meta-llama/Meta-Llama-3.1-8B", "h200-sxm", *arguments)
    assert result.exit_code != 0
    assert says in " ".join(result.output.split())


def test_several_replicas_answer_together():
    def told(*arguments):
        common = ("estimate", "meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--json", *arguments)
        return json.loads(call(*common).stdout)

    one, four = told("--concurrency", "8"), told("--concurrency", "32", "--devices", "4")
    assert four["replicas"] == 4
    assert four["output_tokens_per_s"] == pytest.approx(4 * one["output_tokens_per_s"])
    assert four["tpot_s"] == pytest.approx(one["tpot_s"])
