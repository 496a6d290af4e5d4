"""What the verdicts on precision claim, counted again from the same rows by code of its own."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import invented_run

from workbench.calibrate.serving_speed.rows import cells_of
from workbench.catalog.paths import MEASURED
from workbench.compress.methods import METHODS
from workbench.compress.rows import DecodeTime, VariantResult
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.estimate.rows import StepTime
from workbench.interface.choices import price_suggestion
from workbench.questions.quantization.evaluation.findings import candidate_label, evaluation_verdict
from workbench.questions.quantization.evaluation.rows import CandidateResult
from workbench.questions.quantization.findings import claim_points, left_out_text, may_be_taken, verdict
from workbench.questions.quantization.panel import QuantizationPanel
from workbench.questions.quantization.plan_damage.findings import enough_tokens
from workbench.questions.quantization.plan_damage.findings import verdict as plan_damage_verdict
from workbench.questions.quantization.plan_damage.rows import PlanDamage
from workbench.questions.quantization.sensitivity.panel import MixedPrecisionPanel
from workbench.questions.quantization.serving_speed.findings import speed_verdict
from workbench.store.runs import read_run_file

CPU = read_run_file(MEASURED / "quantization_stdlib-9m_epyc-2-cores.json")
SPEED = read_run_file(MEASURED / "serving_speed_llama-3.1-8b-shape_h200.json")
EVALUATION = read_run_file(MEASURED / "evaluation_stdlib-9m_kv_epyc-2-cores.json")
PLAN = read_run_file(MEASURED / "plan_damage_stdlib-9m_calibration_epyc-2-cores.json")
CHOSEN = ("bf16", "int8-weight", "int4-g32", "onnx-fp32", "onnx-int8-dynamic")


@st.composite
def quantization_runs(draw):
    methods = ("fp32", *draw(st.lists(st.sampled_from(CHOSEN), unique=True)))
    plain, results = invented_run(methods=methods).rows(VariantResult), []
    has_accuracy = draw(st.booleans())
    for row in plain:
        kl, half = draw(st.integers(0, 20)) / 1000, draw(st.integers(0, 5)) / 1000
        decode = []
        for batch in (1, 8):
            p50, spread = draw(st.integers(10, 60)) / 1e4, draw(st.integers(0, 8)) / 1e4
            ends = {"p50_s": p50, "p50_low_s": max(1e-5, p50 - spread), "p50_high_s": p50 + spread, "p99_s": 2 * p50}
            decode.append(DecodeTime(batch=batch, n=100, **ends))
        accuracy = replace(row.accuracy, mean_kl_nat_per_token=Interval(kl, max(0.0, kl - half), kl + half))
        size = draw(st.sampled_from((None, 10**7, 2 * 10**7, 4 * 10**7, 5 * 10**7)))
        results.append(
            replace(row, decode=tuple(decode), accuracy=accuracy if has_accuracy else None, weight_bytes=size)
        )
    return replace(invented_run(methods=methods), results=results)


@given(quantization_runs(), st.sampled_from((0.001, 0.01, 0.05)), st.sampled_from((1, 8)))
def test_every_claim_of_the_verdict_on_methods_follows_from_the_rows(run, kl_limit, batch):
    answer, rows = verdict(run, kl_limit=kl_limit, batch=batch), {r.method: r for r in run.results}
    step = {m: next(d for d in r.decode if d.batch == batch) for m, r in rows.items()}
    base, random = "fp32", rows["fp32"].accuracy is None
    allowed = [m for m, r in rows.items() if random or r.accuracy.mean_kl_nat_per_token.high <= kl_limit]
    faster = [m for m in allowed if step[m].p50_high_s < step[base].p50_low_s]
    if not faster:
        assert (answer.best, answer.answer) == (base, "no")
        assert "as fast as" not in answer.headline
        if "is faster" in answer.headline:
            assert not any(step[m].p50_s < step[base].p50_s for m in allowed)
        return
    best = min(faster, key=lambda m: step[m].p50_s)
    assert step[answer.best].p50_s == step[best].p50_s
    factor = float(re.search(r"([\d.]+)×", answer.headline)[1])
    assert factor == pytest.approx(step[base].p50_s / step[answer.best].p50_s, abs=0.006)
    is_mixed = answer.best.startswith("onnx")
    assert is_mixed == ("ONNX Runtime included" in answer.headline)
    size, before = rows[answer.best].weight_bytes, rows[base].weight_bytes
    text = answer.headline if not random else answer.evidence
    less = re.search(r"([\d.]+) % less weight memory", text)
    if size and before and size < before:
        assert float(less[1]) == pytest.approx(100 * (1 - size / before), rel=0.01)
    else:
        assert less is None
    rivals = [
        m
        for m in rows
        if m not in (base, answer.best)
        and step[m].p50_low_s <= step[answer.best].p50_high_s
        and step[answer.best].p50_low_s <= step[m].p50_high_s
    ]
    if "is not shown to be shorter" in (answer.objection or ""):
        assert rivals
        assert all(METHODS[m].label in answer.objection for m in rivals)
    for other, times in re.findall(r"at batch (\d+) the speed-up is only ([\d.]+)×", answer.objection or ""):
        at = {m: next(d.p50_s for d in r.decode if d.batch == int(other)) for m, r in rows.items()}
        assert float(times) == pytest.approx(at[base] / at[answer.best], abs=0.006)
    needs = re.search(r"needs only", answer.objection or "")
    if needs:
        assert any(r.weight_bytes and r.weight_bytes < (size or 0) for r in rows.values())


def test_a_method_whose_steps_are_not_shown_to_be_shorter_is_not_taken():
    rows = invented_run(methods=("fp32", "int8-weight")).rows(VariantResult)
    wide = replace(rows[1], decode=tuple(replace(d, p50_high_s=1.0) for d in rows[1].decode))
    answer = verdict(replace(invented_run(), results=[rows[0], wide]), kl_limit=0.05, batch=1)
    assert answer.best == "fp32"
    assert "is shown to be faster" in answer.headline


def test_a_change_of_engine_is_said_and_busy_times_are_too():
    answer = verdict(CPU, kl_limit=0.01, batch=1)
    assert "(the change from PyTorch to ONNX Runtime included)" in answer.headline
    rows = [
        replace(r, decode=tuple(replace(d, other_load_fraction=0.6) for d in r.decode)) for r in CPU.rows(VariantResult)
    ]
    assert "other processes took 60%" in verdict(replace(CPU, results=rows), kl_limit=0.01, batch=1).objection


def test_a_chart_of_claims_compares_no_method_with_itself_and_each_with_its_own_engine():
    run = invented_run(methods=("bf16", "onnx-fp32", "onnx-int8-dynamic"))
    points, baseline = claim_points(run, 1)
    assert "in the same engine" in baseline
    assert [round(factor, 3) for _, factor, _, _ in points] == [1.5]  # 0.004/2 over 0.004/3, not over BF16


def test_the_what_if_of_a_report_leaves_out_what_the_verdict_excludes():
    rows = invented_run().rows(VariantResult)  # mean KL 0, 0.0011 and 0.0022 at the upper end
    assert [r.method for r in may_be_taken(rows, kl_limit=0.0015)] == ["fp32", "int8-weight"]
    assert "INT4 group 32" in left_out_text(rows, kl_limit=0.0015)


def test_a_machine_is_priced_as_itself():
    for name in ("NVIDIA H200", "NVIDIA H100 80GB HBM3"):
        usd, source = price_suggestion("", name)
        assert usd > 1
        assert "two cores" not in source


def test_a_run_of_another_machine_brings_its_price_and_an_untouched_panel_is_not_dimmed(manager):
    panel = QuantizationPanel(manager)
    assert "stale" not in panel.answer.value
    assert "chosen methods changed" not in panel.answer.value
    gpu = next(r for r in panel.runs if r.environment.device == "NVIDIA H200")
    panel.update(run_id=gpu.id)
    assert panel.state.usd_per_hour == price_suggestion("", "NVIDIA H200")[0]


def test_the_budget_slider_can_stand_on_the_plan_that_was_verified(manager):
    slider = MixedPrecisionPanel(manager, settle_s=0).controls["budget"]
    steps = (slider.value - slider.min) / slider.step
    assert slider.value == 6.0
    assert steps == pytest.approx(round(steps), abs=1e-6)


@st.composite
def speed_runs(draw):
    rows = [r for r in SPEED.rows(StepTime) if r.context_tokens == 128 and r.batch in (1, 64)]
    names = [
        "bf16",
        *draw(st.lists(st.sampled_from(sorted({r.served for r in rows} - {"bf16"})), unique=True, min_size=1)),
    ]
    made = []
    for row in rows:
        if row.served in names:
            p50, spread = draw(st.integers(20, 60)) / 1e4, draw(st.integers(0, 8)) / 1e4
            made.append(replace(row, tpot_p50_s=Interval(p50, p50 - spread, p50 + spread)))
    return replace(SPEED, results=made)


@given(speed_runs(), st.sampled_from((1, 64)))
def test_every_claim_of_the_verdict_on_steps_follows_from_the_rows(run, batch):
    answer = speed_verdict(run, batch=batch, context_tokens=128)
    here = {r.served: r for r in run.results if r.batch == batch}
    least = min(r.tpot_p50_s.value for r in here.values())
    best = here[answer.best]
    assert best.tpot_p50_s.value == least
    equal = [n for n, r in here.items() if n != answer.best and r.tpot_p50_s.low <= best.tpot_p50_s.high]
    assert ("is fastest" in answer.headline) == (not equal)
    factor = re.search(r"([\d.]+) times as fast as BF16", answer.headline)
    if answer.best == "bf16" or "bf16" in equal:
        assert factor is None
        assert answer.answer == "no"
    else:
        assert float(factor[1]) == pytest.approx(here["bf16"].tpot_p50_s.value / least, abs=0.006)


def test_a_p99_of_32_steps_is_not_shown():
    assert all(
        "p99" not in speed_verdict(SPEED, batch=b, context_tokens=c).evidence for _, b, c in cells_of(SPEED.results)
    )


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3), st.booleans()), min_size=1, max_size=4))
def test_every_claim_of_the_verdict_on_candidates_follows_from_the_rows(drawn):
    rows = EVALUATION.rows(CandidateResult)
    made = []
    for (kl, half, is_better), row in zip(drawn, rows, strict=False):
        ends = Interval(kl / 1000, max(0.0, (kl - half) / 1000), (kl + half) / 1000)
        task = replace(row.completion, mcnemar_p=0.01, lost=1 if is_better else 20, won=20 if is_better else 1)
        made.append(
            replace(row, accuracy=replace(row.accuracy, mean_kl_nat_per_token=ends), completion=task, passkey=None)
        )
    others = [r for r in EVALUATION.results if not isinstance(r, CandidateResult)]
    answer = evaluation_verdict(replace(EVALUATION, results=[*others, *made]))
    near = next(r for r in made if r.folder == answer.best)
    kls = {r.folder: r.accuracy.mean_kl_nat_per_token for r in made}
    assert kls[answer.best].value == min(k.value for k in kls.values())
    equal = [f for f, k in kls.items() if f != answer.best and k.low <= kls[answer.best].high]
    assert bool(equal) == ("not shown to differ" in answer.headline)
    times = re.search(r"diverges ([\d.]+) times", answer.headline)
    if times:
        assert float(times[1]) == pytest.approx(max(k.value for k in kls.values()) / kls[near.folder].value, rel=0.01)
    losing = [candidate_label(r.folder) for r in made if r.completion.lost > r.completion.won]
    assert bool(losing) == ("significantly fewer" in (answer.objection or ""))


@given(st.lists(st.integers(10, 40), min_size=1, max_size=5))
def test_every_claim_of_the_verdict_on_calibration_text_follows_from_the_rows(kls):
    row = PLAN.rows(PlanDamage)[-1]
    made = [
        replace(
            row,
            calibration_windows=2**i,
            calibration_tokens=512 * 2**i,
            mean_kl_nat_per_token=Interval(k, k - 1, k + 1),
        )
        for i, k in enumerate(kls)
    ]
    answer = plan_damage_verdict(replace(PLAN, results=made))
    enough = enough_tokens(made)
    if enough is None:
        assert answer.answer == "open"
        assert "are enough here" not in answer.headline
        assert len(kls) == 1 or abs(kls[-2] / kls[-1] - 1) > 0.05
    else:
        start = [512 * 2**i for i in range(len(kls))].index(enough)
        assert all(abs(k / kls[-1] - 1) <= 0.05 for k in kls[start:])
        assert start == 0 or abs(kls[start - 1] / kls[-1] - 1) > 0.05
        assert start < len(kls) - 1
    assert isinstance(PLAN, Run)
