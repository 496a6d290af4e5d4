"""Our figures agree with those that vLLM keeps of itself."""

import urllib.request
from dataclasses import replace

import pytest

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.load.preflight import known_dialect
from workbench.load.rows import LoadResult
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import run

NAMES = {"ttft_s": "time_to_first_token_seconds", "itl_s": "inter_token_latency_seconds"}
ALLOWED = 0.5
"""Server and client share the cores with other work, which delays one of the two clocks and not the other."""
pytestmark = pytest.mark.slow


def histogram_sums(url):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url + "/metrics", timeout=120) as answer:
        lines = answer.read().decode().splitlines()
    return {
        (name, part): sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"vllm:{vllm}_{part}"))
        for name, vllm in NAMES.items()
        for part in ("sum", "count")
    }


def difference(after, before):
    return {key: after[key] - before[key] for key in after}


def test_means_agree_with_the_servers_own_histograms(vllm_server):
    spec = LoadSpec(
        url=vllm_server.url,
        model="stdlib-9m",
        rate_per_s=1,
        duration_s=12,
        input_tokens=2500,
        output_tokens=64,
        tokenizer=str(REFERENCE_MODEL),
        calibrate=False,
    )
    start = histogram_sums(vllm_server.url)
    known_dialect(spec)  # each load begins with such a question, which the server counts and we do not
    question = difference(histogram_sums(vllm_server.url), start)
    worst = []
    for seed in range(3):  # this machine is shared: a pause of the client in one load may not decide
        before = histogram_sums(vllm_server.url)
        answers = run(replace(spec, seed=seed)).row(LoadResult)
        theirs = difference(difference(histogram_sums(vllm_server.url), before), question)
        assert answers.counts.failed == 0
        assert answers.prefix_cache.hit_fraction < 0.01
        assert answers.tokens.output == 64 * answers.counts.ok
        assert answers.tokens.mean_input_per_request == pytest.approx(2500, abs=10)
        assert theirs["ttft_s", "count"] == answers.counts.ok
        mean = {name: theirs[name, "sum"] / theirs[name, "count"] for name in NAMES}
        errors = {name: getattr(answers, name).from_sent.mean / mean[name] - 1 for name in NAMES}
        errors["tpot_s"] = answers.tpot_s.from_sent.mean / mean["itl_s"] - 1  # 63 gaps of equal weight each
        worst.append(errors)
        if all(abs(e) < ALLOWED for e in errors.values()):
            return
    raise AssertionError(f"differences of the loads: {worst}")


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
    cache = run(spec).row(LoadResult).prefix_cache
    assert cache.hit_fraction > 0.5
    assert "prefix cache" in cache.warning
