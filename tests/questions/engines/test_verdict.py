"""What the verdict on engines claims, counted again from the same trials by code of its own."""

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from support import invented_sweep

from workbench.catalog.paths import MEASURED
from workbench.load.rows import LoadWarning
from workbench.questions.engines.findings import Slo, result_rows, results_under, slo_of, verdict
from workbench.questions.engines.rows import EngineResult, SweepSamples, Trial
from workbench.questions.engines.spec import EngineSweepSpec, engine_label
from workbench.store.runs import read_run_file

H200 = read_run_file(MEASURED / "engine_sweep_llama-3.1-8b-shape_h200.json")
CPU = read_run_file(MEASURED / "engine_sweep_stdlib-9m_epyc-2-cores.json")
RATES = (1.0, 2.0, 4.0, 8.0, 16.0)
ENGINES = ("vllm", "torch", "onnx")


def trial(rate, share, low=None, high=None, **changes):
    made = Trial(
        rate_per_s=rate,
        attainment_fraction=share,
        attainment_interval=(share if low is None else low, share if high is None else high),
        good_per_s=rate * share,
        output_tokens_per_s=64 * rate,
        ttft_p50_s=0.1,
        ttft_p99_s=0.2,
        tpot_p50_s=0.01,
        e2e_p50_s=0.5,
        n_requests=200,
        n_failed=0,
        client="good",
    )
    return replace(made, **changes)


@st.composite
def trials(draw):
    rates = draw(st.lists(st.sampled_from(RATES), unique=True, max_size=5))
    made = []
    for rate in rates:
        low, share, high = sorted(draw(st.lists(st.integers(0, 100), min_size=3, max_size=3)))
        client = draw(st.sampled_from(("good", "client-bound")))
        made.append(trial(rate, share / 100, low / 100, high / 100, client=client))
    return tuple(made)


@st.composite
def sweeps(draw):
    results = []
    for engine in draw(st.lists(st.sampled_from(ENGINES), unique=True, min_size=1)):
        own = draw(trials())
        reason = None if own else "its server did not start"
        results.append(EngineResult(engine=engine, status="measured" if own else "failed", reason=reason, trials=own))
    return results, draw(st.sampled_from((0.5, 0.9, 0.99)))


def highest_rate(result, asked):
    """The highest rate that met the SLO before the first one that surely missed it, and all rates that met it."""
    peak, sure_miss, met = None, None, []
    for t in sorted(result.trials, key=lambda t: t.rate_per_s):
        if t.attainment_fraction >= asked:
            met.append(t.rate_per_s)
            if sure_miss is None:
                peak = t
        if sure_miss is None and t.attainment_interval[1] < asked:
            sure_miss = t.rate_per_s
    return peak, met


@given(sweeps())
def test_every_claim_of_the_verdict_follows_from_the_trials(drawn):
    results, asked = drawn
    answer = verdict(results, Slo(ttft_s=0.5, tpot_s=0.05, attainment_fraction=asked))
    counted = {r.engine: highest_rate(r, asked) for r in results}
    peaks = {e: peak for e, (peak, _) in counted.items() if peak}
    said = answer.headline
    for r in results:
        if not r.trials:
            assert f"{engine_label(r.engine)} was not measured: its server did not start" in (
                answer.scope or answer.evidence
            )
    if not peaks:
        assert answer.best is None
        assert answer.answer != "yes"
        if said == "No engine meets this SLO at any rate that was tried.":
            assert not any(met for _, met in counted.values())
            assert all(
                t.attainment_interval[1] < asked
                for r in results
                for t in sorted(r.trials, key=lambda t: t.rate_per_s)[:1]
            )
        return
    assert answer.answer == "yes"
    assert "No engine" not in said
    best, rate = peaks[answer.best], float(re.search(r"(?:up to|at) ([\d.]+) requests/s", said)[1])
    assert said.startswith(engine_label(answer.best))
    assert rate == best.rate_per_s == max(p.rate_per_s for p in peaks.values())
    others = sorted((p.rate_per_s for e, p in peaks.items() if e != answer.best), reverse=True)
    factor = re.search(r", ([\d.]+)x", said)
    if others and others[0] < rate:
        assert float(factor[1]) == round(rate / others[0], 1)
    else:
        assert factor is None
    equal = {e for e, p in peaks.items() if p.rate_per_s == rate and e != answer.best}
    assert all(engine_label(e) in said for e in equal)
    share, low, high = (float(x) for x in re.match(r"([\d.]+) % \[([\d.]+) %, ([\d.]+) %\]", answer.evidence).groups())
    assert (share, low, high) == tuple(round(100 * x, 1) for x in (best.attainment_fraction, *best.attainment_interval))
    against = (answer.objection or "").lower()
    own = next(r for r in results if r.engine == answer.best)
    below = [t for t in own.trials if t.rate_per_s < rate and t.attainment_fraction < asked]
    assert bool(below) == ("up to" not in said)
    assert bool(below) == ("the attainment is not monotone" in against)
    assert (best.client != "good") == ("load generator" in against)
    if not any(t.rate_per_s > rate for t in own.trials) and against.count(";") < 3:
        assert "no higher rate was tried" in against


def test_a_rate_that_is_uncertainly_missed_does_not_hide_a_higher_one_that_meets_the_slo():
    slo = Slo(ttft_s=0.06, tpot_s=0.025, attainment_fraction=0.9)
    answer = verdict(results_under(H200, slo), slo)
    assert answer.best == "vllm"
    assert "No engine" not in answer.headline
    assert "not monotone" in answer.objection


def test_the_share_that_is_asked_for_moves_the_best_rate_only_as_far_as_the_intervals_say():
    own = slo_of(CPU.asked(EngineSweepSpec))
    for asked in (0.90, 0.93):
        answer = verdict(results_under(CPU, replace(own, attainment_fraction=asked)), own)
        assert answer.best == "vllm"
        assert "45.3" in answer.headline


def test_a_rate_that_met_the_slo_above_a_sure_miss_is_named_and_nothing_is_recommended():
    result = EngineResult(engine="vllm", status="measured", trials=(trial(8, 0.5), trial(16, 0.97)))
    answer = verdict([result], Slo(ttft_s=1, tpot_s=1, attainment_fraction=0.9))
    assert (answer.best, answer.answer) == (None, "open")
    assert "16.0/s" in answer.headline
    assert "any rate" not in answer.headline


def test_a_second_engine_that_may_be_as_good_is_named():
    first = EngineResult(engine="vllm", status="measured", trials=(trial(8, 1.0), trial(16, 0.1)))
    second = EngineResult(engine="torch", status="measured", trials=(trial(4, 1.0), trial(8, 0.88, 0.8, 0.95)))
    answer = verdict([first, second], Slo(ttft_s=1, tpot_s=1, attainment_fraction=0.9))
    assert "may meet the SLO at 8.00/s too" in answer.objection


def test_a_trial_without_its_requests_says_nothing_of_another_slo():
    run = replace(invented_sweep(), samples=SweepSamples())
    own = slo_of(run.asked(EngineSweepSpec))
    assert all(r.trials for r in results_under(run, own))
    other = results_under(run, replace(own, ttft_s=own.ttft_s / 2))
    assert not any(r.trials for r in other)
    assert "were not kept" in result_rows(other, own, usd_per_hour=1.0)[0][1]


def test_a_p99_of_few_requests_is_not_shown():
    slo = Slo(ttft_s=1, tpot_s=1, attainment_fraction=0.9)
    for n, shown in ((99, "n = 99"), (100, "200 ms")):
        result = EngineResult(engine="vllm", status="measured", trials=(trial(8, 1.0, n_requests=n),))
        assert f"/ {shown}" in result_rows([result], slo, usd_per_hour=1.0)[0][4]


def test_an_engine_alone_with_doubtful_answers_says_so():
    warning = LoadWarning(kind="short-answers", text="20 of 20 answers are short.", n=20)
    result = EngineResult(engine="vllm", status="measured", trials=(trial(8, 1.0, warnings=(warning,)),))
    assert "answers are short" in verdict([result], Slo(ttft_s=1, tpot_s=1, attainment_fraction=0.9)).objection
