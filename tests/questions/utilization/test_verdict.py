"""What the verdicts on utilization claim, counted again from the same rows by code of its own."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.paths import MEASURED
from workbench.questions.utilization import findings as use_findings
from workbench.questions.utilization.batch_size.findings import verdict as batch_verdict
from workbench.questions.utilization.batch_size.panel import BatchPanel
from workbench.questions.utilization.batch_size.rows import BatchChoice, BatchTrial, TrialTimes
from workbench.questions.utilization.rows import GpuUse, Loss
from workbench.questions.utilization.techniques.findings import step_of_one_s
from workbench.questions.utilization.techniques.findings import verdict as technique_verdict
from workbench.questions.utilization.techniques.rows import TechniquesSamples, TimeGain
from workbench.store.runs import read_run_file

H200 = read_run_file(MEASURED / "batch_search_llama-3.1-8b-shape_h200.json")
CPU = read_run_file(MEASURED / "batch_search_stdlib-9m_epyc-2-cores.json")
TECHNIQUES = read_run_file(MEASURED / "techniques_llama-3.1-8b-shape_h200.json")


@st.composite
def gains(draw):
    made = []
    for row in TECHNIQUES.rows(TimeGain)[: draw(st.integers(1, 4))]:
        low, gain, high = sorted(draw(st.lists(st.integers(50, 300), min_size=3, max_size=3)))
        made.append(replace(row, gain=gain / 100, gain_interval=(low / 100, high / 100)))
    return replace(TECHNIQUES, results=made)


@given(gains())
def test_every_claim_of_the_verdict_on_techniques_follows_from_the_rows(run):
    answer, most = technique_verdict(run), max(r.gain for r in run.results)
    best = next(r for r in run.results if r.gain == most)
    if best.gain_interval[0] > 1:
        assert answer.best in {r.technique for r in run.results if r.gain == most}
        assert f"{most:.2f}x" in answer.headline
        assert answer.answer == "yes"
    else:
        assert (answer.best, answer.answer) == (None, "no")
        assert "largest measured gain" not in answer.headline
    against = answer.objection or ""
    for r in run.results:
        if "lower on this device" in against:
            named = re.search(r"lower on this device: (.*?)(?:;|\.$|\. |$)", against)[1].split(", ")
            assert (r.label in named) == (r.gain_interval[1] < 1)
    assert ("lower on this device" in against) == any(r.gain_interval[1] < 1 for r in run.results)


def test_what_neither_explains_is_a_share_of_the_step_that_the_verdict_names():
    run, samples = TECHNIQUES, TECHNIQUES.sampled(TechniquesSamples)
    profile = next(iter(samples.profiles.values()))
    least, most = step_of_one_s(run)
    assert (round(least, 4), round(most, 4)) == (0.0210, 0.0477)  # the same step, twice in one run
    neither = 1 - profile.bytes / samples.roof.bytes_per_s / least
    answer = technique_verdict(run)
    assert f"{100 * neither:.0f} % by neither" in answer.evidence
    assert "took 21.0 ms and 47.7 ms" in answer.objection


@st.composite
def searches(draw):
    batches = draw(st.lists(st.sampled_from((1, 2, 4, 8, 16, 32)), unique=True, min_size=1).map(sorted))
    trials, per_s = [], {}
    for batch in batches:
        p50 = draw(st.integers(1, 60)) / 1e3
        status = draw(st.sampled_from(("fits", "fits", "latency", "memory")))
        times = TrialTimes(p50_s=p50, p90_s=1.1 * p50, sequences_per_s=batch / p50)
        trials.append(BatchTrial(batch=batch, status=status, peak_bytes=1e9 + batch, times=times))
        if status == "fits":
            per_s[batch] = batch / p50
    best = max(per_s, key=per_s.get, default=None)
    choice = BatchChoice(best_batch=best, sequences_per_s=per_s, memory_limit_bytes=2e9)
    run = draw(st.sampled_from((CPU, replace(CPU, spec={**CPU.spec, "work": "prefill"}))))
    return replace(run, results=[*trials, choice])


@given(searches())
def test_every_claim_of_the_verdict_on_batches_follows_from_the_trials(run):
    answer, (*trials, choice) = batch_verdict(run), run.results
    if not choice.sequences_per_s:
        assert answer is None
        return
    per_s = {t.batch: t.batch / t.times.p50_s for t in trials if t.status == "fits"}
    best = int(answer.best)
    assert per_s[best] == max(per_s.values())
    assert ("tokens/s" if run.spec["work"] == "decode" else "prompts/s") in answer.headline
    assert "sequences/s" not in answer.headline
    factor = re.search(r"([\d.]+)x batch size (\d+)", answer.headline)
    steps = {t.batch: t.times.p50_s for t in trials}
    smallest = min(per_s)
    is_cold = any(b > smallest and steps[smallest] > 1.2 * s for b, s in steps.items())
    assert (factor is None) == (is_cold or smallest == best)
    if factor:
        assert int(factor[2]) == smallest
        assert float(factor[1]) == pytest.approx(per_s[best] / per_s[smallest], abs=0.06)
    over = [t for t in trials if t.status != "fits"]
    if over:
        first = min(over, key=lambda t: t.batch)
        assert f"{first.status} limit binds from batch size {first.batch} on" in answer.evidence


def test_a_cold_first_batch_makes_no_factor_and_tokens_are_tokens():
    answer = batch_verdict(H200)
    assert "1980 tokens/s" in answer.headline
    assert "x batch size 1" not in answer.headline
    assert "not warm" in answer.objection


def test_the_panel_of_batches_opens_undimmed(manager):
    assert "stale" not in BatchPanel(manager).answer.value


@given(st.lists(st.integers(0, 30), min_size=2, max_size=4))
def test_the_largest_loss_of_a_gpu_is_the_largest_one(shares):
    losses = [
        Loss(cause=f"cause {i}", fraction=s / 100, evidence="seen", remedy="mend it") for i, s in enumerate(shares)
    ]
    left = 1 - sum(shares) / 100
    use = GpuUse(
        gpu="gpu0",
        span_s=10,
        losses=losses,
        achieved_fraction=left,
        achieved="a kernel ran",
        dram_fraction=None,
        not_seen=["the clock"],
    )
    answer = use_findings.verdict(use)
    assert f"{100 * left:.0f} %" in answer.headline
    if max(shares) < 2:
        assert "no loss is above 2 %" in answer.headline
    else:
        named = int(re.search(r"cause (\d)", answer.headline)[1])
        assert shares[named] == max(shares)
    assert answer.objection == "Not sampled: the clock."
