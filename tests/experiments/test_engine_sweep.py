"""The search ends near the limit, resumes trial by trial, and one engine's failure leaves the others alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.engine_sweep import Candidate, EngineResult, EngineSweepSpec, Trial
from workbench.core.errors import InvalidSpec
from workbench.core.runs import Run
from workbench.experiments.engine_sweep import measure
from workbench.experiments.engine_trials import next_rate
from workbench.experiments.engine_verdict import engine_verdict, promise_of
from workbench.testing.mock_process import MockProcess
from workbench.testing.mock_server import MockSettings


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


def test_a_first_rate_that_is_too_high_is_halved_until_it_is_kept():
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


def test_a_rate_beyond_a_broken_one_does_not_count():
    result = EngineResult(engine="torch", status="measured", trials=(trial(1, 1.0), trial(2, 0.5), trial(4, 1.0)))
    assert result.best(0.9).rate_per_s == 1
    assert EngineResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


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
def test_two_real_engines_are_measured_and_a_missing_one_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_ENGINES", str(tmp_path / "none"))
    monkeypatch.delenv("WORKBENCH_VLLM_PYTHON", raising=False)
    spec = spec_for(
        engines=("vllm", "torch", "onnx"),
        start_rate_per_s=4.0,
        max_trials=2,
        n_bisections=0,
        duration_s=3.0,
        input_tokens=32,
        output_tokens=8,
        slo_ttft_s=5.0,
        slo_tpot_s=1.0,
        device="cpu",
    )
    steps = list(measure(spec, tmp_path))
    found = steps[-1]
    assert isinstance(found, Run)
    results = {r.engine: r for r in map(EngineResult.from_dict, found.results)}
    assert results["vllm"].status == "not available"
    assert "workbench engines install vllm" in results["vllm"].reason
    for name in ("torch", "onnx"):
        result = results[name]
        assert result.status == "measured"
        assert [t.rate_per_s for t in result.trials] == [4.0, 8.0]
        assert all(t.n_failed == 0 for t in result.trials)
        assert result.memory_bytes > 1e8
        assert result.startup_s > 0
        assert "/" not in result.launch.split("--model ")[1].split()[0]
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "parts").glob("*.json")}
    (tmp_path / "parts" / "torch@8.json").unlink()  # as if the sweep had been stopped before that trial
    again = list(measure(spec, tmp_path))[-1]
    now = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "parts").glob("*.json")}
    assert {n for n in kept if now[n] != kept[n]} == {"torch@8.json", "torch@server.json"}
    assert len(again.samples["torch"]) == 2


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
            duration_s=2.0,
            output_tokens=8,
            device="cpu",
        )
        answer = list(measure(spec, tmp_path))[-1]
        found, dead = map(EngineResult.from_dict, answer.results)
        assert mock.truth()  # still there
    assert [t.rate_per_s for t in found.trials] == [5.0, 10.0]
    assert (found.startup_s, found.memory_bytes, found.launch) == (None, None, None)
    assert dead.status == "failed"
    assert "gives no list of models" in dead.reason
    verdict = engine_verdict(answer, promise_of(answer))
    assert "10.0 requests/s" in verdict.headline
