"""Every form that other load generators write is read as a whole, or refused with the command that makes a complete one.

The forms follow the sources of guidellm 0.2.1 to 0.8, AIPerf 0.13, genai-perf 0.0.16, vLLM's and SGLang's serving
benchmarks, llmperf 2.0 and inference-perf 0.2 and 0.6.
"""

import json
from pathlib import Path

import pytest
import yaml

from workbench.core.errors import StoreError
from workbench.load.peer_runs import runs_from_peer
from workbench.load.rows import LoadResult, LoadSamples
from workbench.store.decoding import run_from_json

VLLM = json.loads((Path(__file__).parent / "vllm_bench_0.32.0.json").read_text())
GUIDELLM = json.loads((Path(__file__).parent / "guidellm_0.8.1.json").read_text())
DETAILS = ("ttfts", "itls", "input_lens", "output_lens", "errors")
T0 = 1_700_000_000.0


@pytest.fixture
def imported(tmp_path):
    """Write files, then return the runs of the first one; each of them survives the store."""

    def imported(**files):
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / name.replace("__", ".")).write_text(text)
        runs = runs_from_peer(tmp_path / next(iter(files)).replace("__", "."))
        assert runs
        assert all(run_from_json(run.to_json()).to_json() == run.to_json() for run in runs)
        return runs

    return imported


def early(start, *, ttft=0.05, last=0.2, n=16, error=None, canceled=False, due=0.0):
    times = {"start_time": T0 + start, "first_token_time": T0 + start + ttft, "last_token_time": T0 + start + last}
    if error is not None:
        times |= {"first_token_time": -1.0, "last_token_time": -1.0, "error": error}
    info = {"targeted_start_time": T0 + start - due, "errored": error is not None, "canceled": canceled}
    return {**times, "end_time": T0 + start + last, "prompt_tokens": 8, "output_tokens": n, "scheduler_info": info}


def early_benchmark(requests, rate=10.0, **totals):
    return {
        "type_": "generative_benchmark",
        "args": {"strategy": {"type_": "poisson", "rate": rate}},
        "worker": {"backend_model": "m"},
        "request_totals": totals,
        "requests": requests,
    }


def test_a_sweep_of_guidellm_0_2_gives_a_run_for_each_rate(imported):
    one = early_benchmark({"successful": [early(i / 10, due=0.01) for i in range(8)], "errored": [], "incomplete": []})
    two = early_benchmark(
        {"successful": [early(0.0)], "errored": [early(0.1, error="500")], "incomplete": [early(0.2, error="")]}, 20.0
    )
    first, second = imported(a__json={"benchmarks": [one, two]})
    assert [run.spec["request_rate"] for run in (first, second)] == [10.0, 20.0]
    assert first.model == "m"
    answers = first.row(LoadResult)
    assert answers.ttft_s.from_sent.p50 == pytest.approx(0.05, abs=1e-6)
    assert answers.ttft_s.from_due.p50 == pytest.approx(0.06, abs=1e-6)  # 0.2 tells when a request was due
    assert answers.tpot_s.from_sent.p50 == pytest.approx(0.15 / 15, abs=1e-6)
    counts = second.row(LoadResult).counts
    assert (counts.ok, counts.failed, counts.cancelled, counts.errors) == (1, 1, 1, {"500": 1})
    assert second.row(LoadResult).goodput.attainment_fraction == 0.5


def test_each_benchmark_of_a_newer_sweep_is_read_from_yaml_too(imported):
    document = GUIDELLM | {"benchmarks": GUIDELLM["benchmarks"] * 2}
    del document["metadata"]  # 0.4 has none
    for files in ({"a__json": document}, {"a__yaml": yaml.safe_dump(document)}):
        runs = imported(**files)
        assert [run.spec["benchmark"] for run in runs] == ["1 of 2", "2 of 2"]
        assert [run.row(LoadResult).counts.ok for run in runs] == [18, 18]


def test_requests_that_guidellm_never_sent_are_failures(imported):
    info = {"status": "errored", "error": "no route", "timings": {"resolve_start": T0, "resolve_end": T0 + 0.1}}
    benchmark = GUIDELLM["benchmarks"][0] | {"requests": {"errored": [{"info": info, "prompt_tokens": 8}]}}
    (run,) = imported(a__json=GUIDELLM | {"benchmarks": [benchmark]})
    counts = run.row(LoadResult).counts
    assert (counts.due, counts.sent, counts.ok, counts.failed, counts.errors) == (1, 0, 0, 1, {"no route": 1})


def test_an_answer_that_guidellm_did_not_stream_keeps_its_end(imported):
    timings = {"request_start": T0, "request_end": T0 + 0.2, "resolve_end": T0 + 0.2}
    row = {"info": {"status": "completed", "timings": timings}, "prompt_tokens": 8, "output_tokens": 16}
    benchmark = GUIDELLM["benchmarks"][0] | {"requests": {"successful": [row]}}
    (run,) = imported(a__json=GUIDELLM | {"benchmarks": [benchmark]})
    answers = run.row(LoadResult)
    assert (answers.counts.ok, answers.ttft_s.from_sent.n, answers.tpot_s.from_sent.n) == (1, 0, 0)
    assert answers.e2e_s.from_sent.p50 == pytest.approx(0.2, abs=1e-6)
    assert "not streamed" in run.failures[0].cause


def aiperf(i, *, cancelled=False, phase="profiling", **metrics):
    start = round((T0 + i / 10) * 1e9)
    times = {"request_start_ns": start, "request_end_ns": start + 200_000_000, "credit_issued_ns": start}
    values = {"output_sequence_length": 16, "input_sequence_length": 32, "request_latency": 200.0} | metrics
    line = {
        "metadata": {**times, "benchmark_phase": phase, "was_cancelled": cancelled},
        "metrics": {name: {"value": value} for name, value in values.items()},
    }
    if cancelled:
        line["error"] = {"code": 499, "type": "RequestCancellationError", "message": "cancelled"}
    return json.dumps(line)


def test_aiperf_without_streaming_keeps_the_end_and_counts_cancelled_requests_apart(imported):
    lines = [aiperf(0, phase="warmup"), *(aiperf(i) for i in range(1, 5)), aiperf(5, cancelled=True)]
    (run,) = imported(profile_export__jsonl="\n".join(lines))
    answers = run.row(LoadResult)
    assert (answers.counts.ok, answers.counts.failed, answers.counts.cancelled) == (4, 0, 1)
    assert answers.ttft_s.from_sent.n == 0
    assert answers.e2e_s.from_sent.p50 == pytest.approx(0.2, abs=1e-6)
    assert answers.tokens.output == 64
    assert [r.error for r in run.sampled(LoadSamples).requests] == [None] * 4 + ["cancelled"]


def response(text):
    return {"response": "data: " + json.dumps({"choices": [{"delta": {"content": text}}]}) + "\n\n"}


def genai_perf(texts, **payload):
    ms = [50, *range(60, 60 + 10 * (len(texts) - 1), 10)]
    return {
        "timestamp": 10**18,
        "request_inputs": {"payload": json.dumps({"model": "m", **payload})},
        "response_timestamps": [10**18 + t * 10**6 for t in ms],
        "response_outputs": [response(t) for t in texts],
    }


def test_genai_perf_counts_the_responses_with_text_of_each_experiment(imported):
    experiments = [
        {"experiment": {"mode": "concurrency", "value": n}, "requests": [genai_perf(["", "a", "b", "c", ""])]}
        for n in (1, 4)
    ]
    document = {"service_kind": "openai", "endpoint": "v1/chat/completions", "experiments": experiments}
    runs = imported(profile_export_genai_perf__json={"request_latency": {"avg": 1.0}}, profile_export__json=document)
    assert [run.spec["concurrency"] for run in runs] == [1, 4]
    answers = runs[0].row(LoadResult)
    assert runs[0].model == "m"
    assert answers.ttft_s.from_sent.p50 == pytest.approx(0.06, abs=1e-6)  # the empty response is no token
    assert answers.tokens.output == 3


def test_every_result_that_vllm_appended_is_a_run(imported):
    runs = imported(a__json=json.dumps(VLLM) + "\n" + json.dumps(VLLM | {"request_rate": float("inf")}, indent=1))
    assert [run.spec["request_rate"] for run in runs] == [10.0, "inf"]


@pytest.mark.parametrize("tool", ["vllm bench serve", "sglang.bench_serving"])
def test_details_without_start_times_give_latencies_from_sending_and_rates_from_the_duration(imported, tool):
    document = {k: v for k, v in VLLM.items() if k not in {"start_times", "queue_times", "latencies"}}
    document |= {"duration": 2.0}
    if tool.startswith("sglang"):
        document = {k: v for k, v in document.items() if k not in {"model_id", "num_prompts"}}
        document |= {"dataset_name": "random", "mean_e2e_latency_ms": 1.0, "date": ""}
    (run,) = imported(a__jsonl=document)
    answers = run.row(LoadResult)
    assert run.spec["imported_from"] == tool
    assert answers.ttft_s.from_sent.mean * 1e3 == pytest.approx(VLLM["mean_ttft_ms"], rel=1e-6)
    assert answers.tpot_s.from_sent.mean * 1e3 == pytest.approx(VLLM["mean_tpot_ms"], rel=1e-6)
    assert (answers.ttft_s.from_due.n, answers.rates.completed_per_s) == (0, 9.0)
    assert not run.sampled(LoadSamples).requests  # nothing is known of their place in time
    assert "no start times" in run.failures[0].cause


def test_tpot_of_llmperf_leaves_out_the_first_token_that_its_own_figure_includes(imported):
    request = {"error_code": None, "error_msg": "", "inter_token_latency_s": 0.0125, "ttft_s": 0.05}
    request |= {"end_to_end_latency_s": 0.2, "number_input_tokens": 8, "number_output_tokens": 16}
    failed = request | {"error_code": 500, "error_msg": "busy", "ttft_s": 0, "end_to_end_latency_s": 0}
    totals = {"model": "m", "timestamp": 1_700_000_000, "results_ttft_s_mean": 0.05}
    totals |= {"results_num_completed_requests": 3, "results_num_completed_requests_per_min": 90.0}
    (run,) = imported(m_summary__json=totals, m_individual_responses__json=[request, request, request, failed])
    answers = run.row(LoadResult)
    assert (run.model, answers.counts.ok, answers.counts.errors) == ("m", 3, {"busy": 1})
    assert answers.tpot_s.from_sent.p50 == pytest.approx(0.15 / 15)
    assert answers.rates.completed_per_s == pytest.approx(1.5)


def test_inference_perf_puts_the_tokens_of_a_chunk_at_one_time(imported):
    reply = {"output_tokens": 4, "output_token_times": [5.05, 5.06, 5.06, 5.08]}
    info = {"request_metrics": {"text": {"input_tokens": 8}}, "input_tokens": 8, "response_metrics": reply}
    good = {"start_time": 5.0, "end_time": 5.1, "request": '{"model": "m"}', "info": info, "error": None}
    bad = good | {"start_time": 5.2, "end_time": 5.3, "error": {"error_type": "504", "error_msg": "Gateway"}}
    (run,) = imported(per_request_lifecycle_metrics__json=[bad, good])
    answers = run.row(LoadResult)
    assert (run.model, answers.counts.ok, answers.counts.errors) == ("m", 1, {"504: Gateway": 1})
    assert answers.ttft_s.from_sent.mean == pytest.approx(0.05)
    assert answers.tpot_s.from_sent.p50 == pytest.approx(0.01)
    assert answers.itl_s.from_sent.n == 2
    assert "date is that of the file" in run.failures[0].cause


SAMPLED = early_benchmark({"successful": [early(0.0)]}, successful=900, errored=0, incomplete=3)


@pytest.mark.parametrize(
    ("name", "content", "lack", "remedy"),
    [
        ("a.json", {k: v for k, v in VLLM.items() if k not in DETAILS}, "totals only", "--save-detailed"),
        (
            "a.jsonl",
            {"backend": "sglang", "dataset_name": "random", "completed": 1, "mean_e2e_latency_ms": 1.0},
            "totals only",
            "--output-details",
        ),
        ("a.json", {"benchmarks": [SAMPLED]}, "keeps 1 of 903 requests", "--sample-requests"),
        ("profile_export_aiperf.json", {"aiperf_version": "0.13.0"}, "profile_export.jsonl is not", "--export-level"),
        ("profile_export_genai_perf.json", {"request_latency": {"avg": 1}}, "profile_export.json is not", "genai-perf"),
        ("m_summary.json", {"results_ttft_s_mean": 1}, "m_individual_responses.json is not", "--results-dir"),
        (
            "summary_lifecycle_metrics.json",
            {"load_summary": {}, "successes": {}, "failures": {}},
            "per_request_lifecycle_metrics.json is not",
            "per_request: true",
        ),
        ("a_stats.csv", '"Type","Name","Request Count"\n', "locust", "workbench load"),
        ("profile_export.jsonl", aiperf(0) + "\n" + aiperf(1)[:-40], "breaks off or is damaged at line 2", "again"),
    ],
)
def test_a_file_without_single_requests_is_refused_with_the_command_that_makes_them(
    tmp_path, name, content, lack, remedy
):
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(StoreError) as refused:
        runs_from_peer(tmp_path / name)
    assert lack in refused.value.cause
    assert remedy in refused.value.remedy


def test_a_folder_without_a_result_says_what_it_needs(tmp_path):
    with pytest.raises(StoreError) as refused:
        runs_from_peer(tmp_path)
    assert "profile_export.jsonl" in refused.value.remedy
