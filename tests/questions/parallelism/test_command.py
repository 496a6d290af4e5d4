"""The commands that predict."""

import json
import shlex

import pytest
from typer.testing import CliRunner

from workbench.app.main import app
from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.catalog.siblings import sibling_for


def call(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_estimate_prints_the_documented_keys():
    data = json.loads(
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
        interval = data["prediction"][name]
        assert interval["low"] < interval["value"] < interval["high"]
    assert data["does_fit"]
    assert data["prediction"]["is_calibrated"]
    assert data["provenance"] == "estimated"


def test_what_is_not_calibrated_says_so():
    text = call("estimate", "meta-llama/Meta-Llama-3.1-70B", "a100-sxm-80", "--tp", "4").output
    assert "Not calibrated" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("meta-llama/Meta-Llama-3.1-8B", "abacus"), "no device abacus"),
        (("meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--tp", "3"), "cannot be divided"),
        (("meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--precision", "fp1"), "Unknown precision"),
        (("Qwen/Qwen3-30B-A3B", "h200-sxm", "--dp", "2"), "share nothing"),
        (("meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--ep", "--tp", "2"), "no experts to spread"),
        (("meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--tp", "2", "--devices", "3"), "divided into replicas"),
    ],
)
def test_what_cannot_be_predicted_says_why(arguments, says):
    result = call("estimate", *arguments)
    assert result.exit_code != 0
    assert says in " ".join(result.output.split())


def test_calibrate_fits_the_shipped_runs_and_keeps_the_constants(tmp_path):
    data = json.loads(call("calibrate", "--json").stdout)
    assert data["device_id"] == "h200-sxm"
    kept = tmp_path / "home" / "calibrations" / "h200-sxm.json"
    assert json.loads(kept.read_text()) == data
    assert len(data["sources"]) == 6


def test_calibrate_measures_only_where_there_is_a_gpu(monkeypatch, cpu):
    monkeypatch.setattr("workbench.questions.parallelism.calibrate.command.chosen_device", lambda _: cpu)
    result = call("calibrate", "data/models/llama-3.1-8b-shape", "--rounds", "2")
    assert result.exit_code == 2
    assert "no GPU here" in " ".join(result.output.split())


def test_plan_lists_plans_with_commands_and_reasons():
    model = "meta-llama/Meta-Llama-3.1-70B"
    data = json.loads(call("plan", model, "--rate", "5", "--on", "h200-sxm,l4", "--json").stdout)
    good = [p for p in data["plans"] if p["plan"]["reason"] is None]
    assert good[0]["is_pareto"]
    offered = data["simulated"][0]
    assert offered["does_hold"]
    assert data["attainment_fraction"] == 0.95 <= offered["attainment_fraction"]["low"]
    assert f"--max-num-seqs {offered['plan']['concurrency']}" in offered["launch_command"]
    served = shlex.split(good[0]["launch_command"])[2]
    assert served in {model, sibling_for(model, good[0]["plan"]["precision"])}
    assert any("memory" in (p["plan"]["reason"] or "") for p in data["plans"])
    assert "202" in data["prices"]["h200-sxm"]  # a price has its day
    text = call("plan", model, "--tpot-ms", "0.01", "--on", "h200-sxm").output
    assert "No plan meets the SLO" in text
    assert "TPOT" in text


def test_simulate_gives_latency_and_attainment():
    model = "meta-llama/Meta-Llama-3.1-8B"

    def result(*more):
        return json.loads(call("simulate", model, "h200-sxm", "--requests", "500", "--json", *more).stdout)

    def service(*more):
        answer = result(*more)
        assert answer["provenance"] == "simulated"
        return answer["simulated"]["service"]

    calm, busy = service("--rate", "2"), service("--rate", "60")
    assert calm["ttft_s"]["p50"] <= calm["ttft_s"]["p99"] < busy["ttft_s"]["p99"]
    assert 0 <= busy["attainment_fraction"] <= calm["attainment_fraction"] <= 1
    assert calm["goodput_requests_per_s"] <= calm["requests_per_s"]
    assert service("--rate", "60", "--replicas", "2")["ttft_s"]["p99"] < busy["ttft_s"]["p99"]
    table = call("simulate", model, "h200-sxm", "--requests", "50").output
    assert "simulated" in table
    assert "min" not in table  # rates are no durations
    assert "cannot be read" in " ".join(call("simulate", model, "h200-sxm", "--trace", "/nowhere.csv").output.split())


def test_a_trace_with_hash_ids_gives_the_hit_share_and_its_notes(tmp_path):
    ids = [[1, 2], [1, 2, 3], [9]]
    rows = [
        {"timestamp": 60_000 * i, "input_length": 512 * len(blocks), "output_length": 2, "hash_ids": blocks}
        for i, blocks in enumerate(ids)
    ]
    file = tmp_path / "trace.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = "meta-llama/Meta-Llama-3.1-8B"

    def answer(*more):
        return json.loads(call("simulate", model, "h200-sxm", "--trace", str(file), "--json", *more).stdout)

    on, off = answer(), answer("--prefix-cache", "off")
    assert on["simulated"]["occupancy"]["prefix_hit_fraction"] == pytest.approx(1024 / (6 * 512))
    assert off["simulated"]["occupancy"]["prefix_hit_fraction"] is None
    assert "milliseconds" in " ".join(on["notes"])
    assert "prefix cache hit share" in call("simulate", model, "h200-sxm", "--trace", str(file)).output
    refused = call("simulate", model, "h200-sxm", "--trace", str(file), "--cached-fraction", "0.5")
    assert "which tell what is cached" in " ".join(refused.output.split())
    planned = json.loads(call("plan", model, "--trace", str(file), "--on", "h200-sxm", "--json").stdout)
    assert (planned["input_tokens"], planned["output_tokens"]) == (1024, 2)
    assert planned["requests_per_s"] == pytest.approx(1 / 60)


def test_a_request_of_a_trace_that_is_too_long_is_named(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:05,2000000,200\n")
    result = call("simulate", "meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--trace", str(file))
    assert "Line 2 of the trace" in " ".join(result.output.split())


def test_sessions_are_simulated_and_exclude_a_trace():
    arguments = ("simulate", "meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--sessions", "4", "--rate", "1")
    occupancy = json.loads(call(*arguments, "--json").stdout)["simulated"]["occupancy"]
    assert occupancy["prefix_hit_fraction"] > 0.5
    both = call(*arguments, "--users", "3")
    assert "each decides when requests are sent" in " ".join(both.output.split())


def test_several_replicas_answer_together():
    def result(*arguments):
        common = ("estimate", "meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--json", *arguments)
        return json.loads(call(*common).stdout)

    def rate(answer):
        return answer["prediction"]["output_tokens_per_s"]["value"]

    one, four = result("--concurrency", "8"), result("--concurrency", "32", "--devices", "4")
    assert four["replicas"] == 4
    assert rate(four) == pytest.approx(4 * rate(one))
    assert four["prediction"]["tpot_s"] == pytest.approx(one["prediction"]["tpot_s"])


def test_devices_without_a_price_are_counted_and_not_dropped(monkeypatch):
    from workbench.estimate import device_calibration

    listed = device_calibration.median_price
    monkeypatch.setattr(device_calibration, "median_price", lambda d: None if d == "l4" else listed(d))
    arguments = ("plan", "meta-llama/Meta-Llama-3.1-8B", "--on", "l4,h200-sxm", "--rate", "2")
    text = " ".join(call(*arguments).output.split())
    assert "more without a price (give one with --prices), the fewest devices:" in text
    assert "NVIDIA L4" in text.split("the fewest devices:")[1]


def test_the_precision_of_the_checkpoint_is_the_default():
    def estimated(*more):
        return json.loads(call("estimate", "openai/gpt-oss-120b", "h100-sxm", "--json", *more).stdout)

    stored = estimated()
    assert (stored["precision"], stored["does_fit"]) == ("mxfp4", True)
    assert stored["prediction"]["memory"]["weight_bytes"] == pytest.approx(65_248_815_744)
    assert not estimated("--precision", "bf16")["does_fit"]
    plans = json.loads(call("plan", "openai/gpt-oss-120b", "--on", "h100-sxm", "--rate", "2", "--json").stdout)["plans"]
    assert plans[0]["plan"]["usd_per_hour"] < 8
    assert plans[0]["launch_command"].startswith("vllm serve openai/gpt-oss-120b ")
    refused = call("estimate", "meta-llama/Meta-Llama-3.1-8B", "v100-sxm2-16", "--precision", "fp8")
    assert "no kernel for FP8" in " ".join(refused.output.split())


def test_calibrate_finds_the_host_time_of_a_server(tmp_path):
    """The mock's answers take as long whatever is asked, so all of its time to the first token is none of the GPU's."""
    model, home = "meta-llama/Meta-Llama-3.1-8B", tmp_path / "home" / "calibrations"
    with MockProcess(MockSettings(ttft_s=0.12, itl_s=0.004)) as mock:
        asked = ("calibrate", model, "--loads", mock.url, "--on", "h200-sxm", "--users", "1", "--load-seconds", "2")
        result = call(*asked, "--json")
        assert result.exit_code == 0, result.output
        data = json.loads(result.stdout)
    found, errors = data["constants"], data["errors"]
    measured_s = [error["load"]["ttft_p50_s"] for error in errors]
    assert min(measured_s) >= 0.12
    assert 0.7 * min(measured_s) < found["front_s"] < 1.1 * max(measured_s)
    assert json.loads((home / "loads" / "h200-sxm.json").read_text()) == found
    assert not (home / "h200-sxm.json").exists()  # the steps' own constants stay those that ship
    before, after = (sum(abs(e[f"ttft_{when}_fraction"]) for e in errors) for when in ("before", "after"))
    assert after < before
    estimate = ("estimate", model, "h200-sxm", "--concurrency", "1", "--arrival", "steady", "--json")
    assert json.loads(call(*estimate).stdout)["prediction"]["ttft_s"]["value"] > found["front_s"]


def test_calibrate_says_what_it_needs_for_loads():
    assert "No model was named" in " ".join(call("calibrate", "--loads", "http://localhost:9").output.split())


def test_plan_says_what_binds_and_what_would_have_to_change():
    model, device = "meta-llama/Meta-Llama-3.1-405B", "h100-sxm"
    text = " ".join(call("plan", model, "--on", device, "--ttft-ms", "300").output.split())
    assert "No plan meets the SLO for 95 %" in text
    assert "TTFT binds" in text
    assert "Relax the TTFT (--ttft-ms)" in text
    text = call("plan", model, "--on", device, "--rate", "1", "--ttft-ms", "5000", "--tpot-ms", "100").output
    assert "by mean latencies alone" in " ".join(text.split())
    assert "vllm serve" in text
