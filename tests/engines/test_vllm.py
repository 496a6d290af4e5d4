"""Our figures agree with those that vLLM keeps of itself."""

import urllib.request

import pytest

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.load import LoadSpec
from workbench.experiments.load import run

NAMES = {"ttft_s": "time_to_first_token_seconds", "itl_s": "inter_token_latency_seconds"}
# On a quiet machine TTFT agrees within 3 to 4 %, the rest within 1 %; here client and server share two busy cores.
ALLOWED = {"ttft_s": 0.1, "itl_s": 0.05, "tpot_s": 0.05}
pytestmark = pytest.mark.slow


def histogram_sums(url):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url + "/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {
        (name, part): sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"vllm:{vllm}_{part}"))
        for name, vllm in NAMES.items()
        for part in ("sum", "count")
    }


def test_means_agree_with_the_servers_own_histograms(vllm_server):
    worst = []
    for seed in range(6):  # this machine is shared: a pause of the client in one load may not decide
        before = histogram_sums(vllm_server.url)
        spec = LoadSpec(
            url=vllm_server.url,
            model="stdlib-9m",
            rate_per_s=1,
            duration_s=12,
            input_tokens=2500,
            output_tokens=64,
            tokenizer=str(REFERENCE_MODEL),
            calibrate=False,
            seed=seed,
        )
        answers = run(spec).results[0]
        after = histogram_sums(vllm_server.url)
        assert answers["counts"]["failed"] == 0
        assert answers["prefix_cache"]["hit_fraction"] < 0.01
        assert answers["tokens"]["output"] == 64 * answers["counts"]["ok"]
        assert answers["tokens"]["mean_input_per_request"] == pytest.approx(2500, abs=10)
        errors = {}
        for name in NAMES:
            n = after[name, "count"] - before[name, "count"]
            theirs = (after[name, "sum"] - before[name, "sum"]) / n
            # vLLM's clock starts after it has parsed the request and cut the prompt into tokens: up to 10 ms here.
            before_its_clock_s = 0.01 if name == "ttft_s" else 0.0
            difference = answers[name]["from_sent"]["mean"] - theirs
            errors[name] = max(0.0, abs(difference) - before_its_clock_s) / theirs
        theirs = (after["itl_s", "sum"] - before["itl_s", "sum"]) / (after["itl_s", "count"] - before["itl_s", "count"])
        errors["tpot_s"] = answers["tpot_s"]["from_sent"]["mean"] / theirs - 1  # 63 gaps of equal weight a request
        worst.append(errors)
        if all(abs(e) < ALLOWED[name] for name, e in errors.items()):
            return
    raise AssertionError(f"largest differences of the loads: {worst}")


def test_a_shared_prompt_is_seen_in_the_prefix_cache(vllm_server):
    spec = LoadSpec(
        url=vllm_server.url,
        model="stdlib-9m",
        rate_per_s=4,
        duration_s=3,
        input_tokens=512,
        output_tokens=4,
        unique_prefix=False,
        calibrate=False,
    )
    cache = run(spec).results[0]["prefix_cache"]
    assert cache["hit_fraction"] > 0.5
    assert "prefix cache" in cache["warning"]
