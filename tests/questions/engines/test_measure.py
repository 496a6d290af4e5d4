"""The search ends near the limit, resumes trial by trial, one engine's failure leaves the others alone, and no server stays behind."""

import json
import os
import signal
from dataclasses import replace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.waiting import wait_for

from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.errors import InvalidSpec
from workbench.core.runs import Run
from workbench.jobs.directory import JobState
from workbench.jobs.manager import JobManager
from workbench.load.rows import LoadWarning
from workbench.measuring.envelope import measured
from workbench.questions.engines.findings import Slo, results_under, slo_of, verdict, warning_texts
from workbench.questions.engines.measure.trials import next_rate
from workbench.questions.engines.rows import EngineResult, SweepSamples, Trial
from workbench.questions.engines.spec import Candidate, EngineSweepSpec


def spec_for(**changes):
    values = {"model": str(REFERENCE_MODEL), "start_rate_per_s": 1.0, "max_trials": 10, "n_bisections": 2}
    return EngineSweepSpec(**{**values, **changes})


@given(st.floats(0.07, 400))
def test_the_search_encloses_the_limit(limit):
    spec, tried = spec_for(), {}
    while (rate := next_rate(spec, tried)) is not None:
        assert rate not in tried
        tried[rate] = rate <= limit
    assert len(tried) <= spec.max_trials + spec.n_bisections
    kept = [r for r, ok in tried.items() if ok]
    broken = [r for r, ok in tried.items() if not ok]
    if kept and broken:
        assert max(kept) <= limit < min(broken)
        assert min(broken) / max(kept) <= 2**0.25 + 1e-9


def test_a_search_without_a_limit_stops_at_its_last_trial():
    spec, tried = spec_for(max_trials=4), {}
    while (rate := next_rate(spec, tried)) is not None:
        tried[rate] = True
    assert list(tried) == [1, 2, 4, 8]


def test_a_first_rate_that_is_too_high_is_halved_until_it_is_met():
    spec, tried = spec_for(start_rate_per_s=16, n_bisections=0), {}
    while (rate := next_rate(spec, tried)) is not None:
        tried[rate] = rate <= 3
    assert list(tried) == [16, 8, 4, 2]


def test_given_rates_are_measured_once_each_and_nothing_else():
    spec, tried = spec_for(rates_per_s=(3.0, 1.0, 7.0)), {}
    while (rate := next_rate(spec, tried)) is not None:
        tried[rate] = False
    assert list(tried) == [1, 3, 7]


def test_a_candidate_is_an_engine_an_engine_with_settings_or_a_url():
    plain, tuned, url = map(Candidate.read, ("vllm", "vllm --max-num-seqs 8", "https://host:8000/v1"))
    assert (plain.label, tuned.label, url.label) == ("vLLM", "vLLM --max-num-seqs 8", "host:8000")
    assert tuned.extra == ("--max-num-seqs", "8")
    assert len({c.file_name for c in (plain, tuned, url)}) == 3
    assert all("/" not in c.file_name for c in (plain, tuned, url))


def trial(rate, attainment):
    return Trial(
        rate_per_s=rate,
        attainment_fraction=attainment,
        attainment_interval=(0.0, 1.0),
        good_per_s=rate,
        output_tokens_per_s=64 * rate,
        ttft_p50_s=0.1,
        ttft_p99_s=None,
        tpot_p50_s=0.01,
        e2e_p50_s=0.5,
        n_requests=20,
        n_failed=0,
        client="good",
    )


@pytest.mark.parametrize("kind", ["short-answers", "not-streamed", "buffered"])
def test_an_engine_whose_answers_are_not_those_asked_for_is_not_ranked(kind):
    warning = LoadWarning(kind=kind, text="20 of 20 answers are not what was asked for.", n=20)
    quick = EngineResult(engine="vllm", status="measured", trials=(replace(trial(64, 1.0), warnings=(warning,)),))
    honest = EngineResult(engine="torch", status="measured", trials=(trial(8, 1.0), trial(16, 0.5)))
    slo = Slo(ttft_s=1.0, tpot_s=0.1, attainment_fraction=0.9)
    answer = verdict([quick, honest], slo)
    assert answer.best == "torch"
    assert warning.text in answer.objection
    assert "tokens/s" in answer.evidence
    both = replace(honest, trials=(replace(trial(8, 1.0), warnings=(warning,)),))
    refused = verdict([quick, both], slo)
    assert refused.best is None
    assert "cannot be ranked" in refused.headline
    assert any(kind in text for text in warning_texts([quick, honest]))


def test_a_rate_beyond_a_broken_one_does_not_count():
    missed = replace(trial(2, 0.5), attainment_interval=(0.4, 0.6))
    result = EngineResult(engine="torch", status="measured", trials=(trial(1, 1.0), missed, trial(4, 1.0)))
    assert result.best(0.9).rate_per_s == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"engines": ()},
        {"engines": ("sglang",)},
        {"engines": ("torch", "torch")},
        {"rates_per_s": (0.0,)},
        {"device": "tpu"},
        {"attainment_fraction": 2},
    ],
)
def test_a_spec_that_means_nothing_is_refused(changes):
    with pytest.raises(InvalidSpec):
        spec_for(**changes)


@pytest.mark.slow
@pytest.mark.usefixtures("exported_before")
def test_two_real_engines_are_measured_and_a_missing_one_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_ENGINES", str(tmp_path / "none"))
    monkeypatch.delenv("WORKBENCH_VLLM_PYTHON", raising=False)
    spec = spec_for(
        engines=("vllm", "torch", "onnx"),
        start_rate_per_s=10.0,
        max_trials=2,
        n_bisections=0,
        duration_s=1.0,
        input_tokens=32,
        output_tokens=8,
        slo_ttft_s=20.0,
        slo_tpot_s=10.0,
        device="cpu",
    )
    steps = list(measured(spec, tmp_path))
    found = steps[-1]
    assert isinstance(found, Run)
    results = {r.engine: r for r in found.rows(EngineResult)}
    assert results["vllm"].status == "not available"
    assert "workbench engines install vllm" in results["vllm"].reason
    for name in ("torch", "onnx"):
        result = results[name]
        assert result.status == "measured"
        assert [t.rate_per_s for t in result.trials] == [10.0, 20.0]
        assert all(t.n_failed == 0 for t in result.trials)
        assert result.memory_bytes > 1e8
        assert result.startup_s is not None
        assert "/" not in result.launch.split("--model ")[1].split()[0]
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "parts").glob("*.json")}
    (tmp_path / "parts" / "onnx@20.json").unlink()  # as if the sweep had been stopped before that trial
    again = list(measured(spec, tmp_path))[-1]
    now = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "parts").glob("*.json")}
    assert {n for n in kept if now[n] != kept[n]} == {"onnx@20.json", "onnx@server.json"}
    assert len(again.sampled(SweepSamples).requests["onnx"]) == 2


def test_the_spec_as_code_can_be_run_as_it_stands():
    import inspect

    code = spec_for(engines=("torch",)).as_code()
    names = {}
    exec(code.replace("result = run(spec)", ""), names)
    assert names["spec"] == spec_for(engines=("torch",))
    inspect.signature(names["run"]).bind(names["spec"])  # the printed call needs no further argument


@pytest.mark.slow
def test_a_server_that_runs_already_is_measured_at_the_given_rates_and_left_running(tmp_path):
    with MockProcess(MockSettings(ttft_s=0.02, itl_s=0.002)) as mock:
        spec = spec_for(
            engines=(mock.url, "http://127.0.0.1:9"),
            rates_per_s=(5.0, 10.0),
            duration_s=1.0,
            output_tokens=8,
            device="cpu",
        )
        answer = list(measured(spec, tmp_path))[-1]
        found, dead = answer.rows(EngineResult)
        assert mock.truth()  # still there
    assert [t.rate_per_s for t in found.trials] == [5.0, 10.0]
    assert (found.startup_s, found.memory_bytes, found.launch) == (None, None, None)
    assert dead.status == "failed"
    assert "lists no models" in dead.reason
    slo = slo_of(spec)
    assert "10.0 requests/s" in verdict(results_under(answer, slo), slo).headline


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def running(tmp_path, exported_before):
    """A sweep whose server answers, and the pid of that server; the engine is the one that starts soonest."""
    manager = JobManager(tmp_path)
    spec = spec_for(engines=("onnx",), device="cpu", duration_s=30)
    job_id = manager.submit("engine_sweep", spec.to_dict())
    wait_for(lambda: "requests/s" in manager.view(job_id).step)
    (card,) = (manager.directory(job_id).path / "servers").glob("*.json")
    pid = json.loads(card.read_text())["pid"]
    assert alive(pid)
    yield manager, job_id, pid
    manager.cancel(job_id)


@pytest.mark.slow
def test_cancelling_a_sweep_ends_its_server(running):
    manager, job_id, pid = running
    manager.cancel(job_id)
    assert manager.view(job_id).state is JobState.CANCELLED
    assert not alive(pid)


@pytest.mark.slow
def test_a_killed_sweep_takes_its_server_with_it(running):
    manager, job_id, pid = running
    os.kill(manager.directory(job_id).process().pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid))
    wait_for(lambda: manager.view(job_id).state is JobState.INTERRUPTED)
