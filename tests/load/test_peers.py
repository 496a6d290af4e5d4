"""Results of other tools say the same in our words.

The files were written by vllm bench serve 0.32.0, guidellm 0.8.1 and AIPerf 0.13.0 against the mock server (TTFT 50 ms,
10 ms between tokens, every tenth request failing), 20 requests at 10 a second; fields that no test needs were removed.
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from workbench.app.main import app
from workbench.core.errors import StoreError
from workbench.interface.readable import out
from workbench.load.peer_runs import runs_from_peer
from workbench.load.rows import LoadResult, LoadSamples
from workbench.store.decoding import run_from_json

FILE = Path(__file__).parent / "vllm_bench_0.32.0.json"
GUIDELLM = Path(__file__).parent / "guidellm_0.8.1.json"
AIPERF = Path(__file__).parent / "aiperf_0.13.0"


def run_from_peer(path):
    (run,) = runs_from_peer(path)
    return run


def test_our_figures_are_those_that_vllm_bench_computed():
    theirs = json.loads(FILE.read_text())
    answers = run_from_peer(FILE).row(LoadResult)
    for ours, name in (("ttft_s", "ttft"), ("tpot_s", "tpot"), ("itl_s", "itl")):
        found = getattr(answers, ours).from_sent
        assert found.mean * 1e3 == pytest.approx(theirs[f"mean_{name}_ms"], rel=1e-6)
        if not found.n_censored:
            assert found.p50 * 1e3 == pytest.approx(theirs[f"median_{name}_ms"], rel=1e-6)
            assert found.p99 * 1e3 == pytest.approx(theirs[f"p99_{name}_ms"], rel=1e-6)
    assert answers.tokens.output == theirs["total_output_tokens"]


def test_failures_are_counted_where_vllm_bench_drops_them():
    answers = run_from_peer(FILE).row(LoadResult)
    assert (answers.counts.ok, answers.counts.failed) == (18, 2)
    assert answers.goodput.attainment_fraction == 0.9
    assert answers.e2e_s.from_due.n_censored == 2
    assert answers.client_health is None


def test_the_imported_run_survives_the_store():
    run = run_from_peer(FILE)
    assert run_from_json(run.to_json()).to_json() == run.to_json()


def test_the_command_imports_it_and_shows_it_beside_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    monkeypatch.setattr(out, "width", 250)
    runner = CliRunner()
    imported = runner.invoke(app, ["runs", "import", str(FILE)])
    assert imported.exit_code == 0
    shown = runner.invoke(app, ["runs", "loads"])
    assert "vllm bench serve" in shown.stdout
    assert imported.stdout.strip() in shown.stdout
    assert "18 / 2" in shown.stdout


def test_our_figures_are_those_that_guidellm_computed():
    theirs = json.loads(GUIDELLM.read_text())["benchmarks"][0]["metrics"]
    run = run_from_peer(GUIDELLM)
    answers = run.row(LoadResult)
    for ours, name, scale in (
        ("ttft_s", "time_to_first_token_ms", 1e3),
        ("tpot_s", "inter_token_latency_ms", 1e3),  # guidellm calls this the inter-token latency
        ("e2e_s", "request_latency", 1.0),
    ):
        ok = [r for r in values_of(run, ours) if r is not None]
        assert sum(ok) / len(ok) * scale == pytest.approx(theirs[name]["successful"]["mean"], rel=1e-3)
    assert (answers.counts.ok, answers.counts.failed) == (18, 2)
    assert answers.itl_s.from_sent.n == 0  # the file has no gaps
    assert run.spec["model"] == "mock"
    assert run.spec["imported_from"] == "guidellm 0.8.1"


def values_of(run, name):
    for r in run.sampled(LoadSamples).requests:
        if r.error:
            continue
        if name == "ttft_s":
            yield r.first_content_s - r.sent_s
        elif name == "e2e_s":
            yield r.end_s - r.sent_s
        else:
            yield sum(r.gaps_us) / 1e6 / (r.output_tokens - 1)


@pytest.mark.parametrize("name", ["", "profile_export.jsonl", "profile_export_aiperf.json"])
def test_our_figures_are_those_that_aiperf_computed(name):
    theirs = json.loads((AIPERF / "profile_export_aiperf.json").read_text())
    run = run_from_peer(AIPERF / name)
    answers = run.row(LoadResult)
    found = answers.itl_s.from_sent
    assert found.mean * 1e3 == pytest.approx(theirs["inter_chunk_latency"]["avg"], rel=1e-3)
    assert found.p50 * 1e3 == pytest.approx(theirs["inter_chunk_latency"]["p50"], rel=1e-3)
    for ours, there in (
        ("ttft_s", "time_to_first_token"),
        ("tpot_s", "inter_token_latency"),
        ("e2e_s", "request_latency"),
    ):
        ok = list(values_of(run, ours))
        assert sum(ok) / len(ok) * 1e3 == pytest.approx(theirs[there]["avg"], rel=2e-3)
    assert (answers.counts.ok, answers.counts.failed) == (18, 2)
    assert "made to fail" in next(iter(answers.counts.errors))
    assert (run.spec["model"], run.spec["request_rate"]) == ("mock", 10.0)


@pytest.mark.parametrize("text", ["no json", "[]", '{"a": 1}', '{"metadata": {}, "benchmarks": []}'])
def test_a_file_of_nobody_is_no_peers_file(tmp_path, text):
    file = tmp_path / "file.json"
    file.write_text(text)
    assert runs_from_peer(file) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"model_id": "m", "num_prompts": 1, "completed": 1}'),
        ("b.json", '{"metadata": {"guidellm_version": "0.8.1"}, "benchmarks": []}'),
        ("c.jsonl", '{"metadata": {}, "metrics": {}}'),
    ],
)
def test_a_peers_file_without_requests_is_refused(tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(StoreError):
        run_from_peer(file)


@pytest.mark.parametrize("name", ["ttfts", "itls", "input_lens", "output_lens", "errors"])
def test_values_that_belong_to_no_certain_request_are_refused(tmp_path, name):
    content = json.loads(FILE.read_text())
    (tmp_path / "ragged.json").write_text(json.dumps(content | {name: content[name][2:]}))
    with pytest.raises(StoreError, match=f"have different lengths .*{name} 18"):
        run_from_peer(tmp_path / "ragged.json")
