import pytest
from support import invented_run

from workbench.catalog.tables import claims
from workbench.questions.quantization.claims.findings import score
from workbench.questions.quantization.findings import KL_LIMITS, verdict


@pytest.mark.parametrize(("limit", "best"), [("strict", "fp32"), ("balanced", "int4-g32"), ("loose", "int4-g32")])
def test_the_fastest_within_the_limit_wins_by_its_interval(limit, best):
    # invented: int8 has KL 0.001 with an interval up to 0.0011, int4 0.002 up to 0.0022
    assert verdict(invented_run(), kl_limit=KL_LIMITS[limit], batch=1).best == best


def test_the_sentence_carries_its_evidence_and_an_objection():
    answer = verdict(invented_run(), kl_limit=0.01, batch=1)
    assert answer.headline.startswith("Take INT4 group 32. 3.00× as fast as FP32 at batch 1")
    assert "n = 1000 tokens" in answer.evidence
    assert "[0.00180, 0.00220]" in answer.evidence
    assert answer.objection.endswith(".")


def test_without_a_baseline_it_says_what_to_run():
    answer = verdict(invented_run(methods=("int8-weight",)), kl_limit=1, batch=1)
    assert answer.best is None
    assert "FP32" in answer.evidence


def claim(technique):
    return next(c for c in claims() if c.question == 2 and c.technique == technique and c.metric == "speedup")


def test_claims_are_scored_by_the_runs_there_are():
    run = invented_run()  # int8 twice, int4 three times as fast as fp32
    assert score(claim("INT8 PTQ"), [run]).outcome == "confirmed"
    assert score(claim("INT4 AWQ"), [run]).outcome == "not yet tested"  # rounding to nearest is not AWQ
    assert score(claim("FP16"), [run]).outcome == "not yet tested"
    assert score(claim("INT8 PTQ"), []).outcome == "not yet tested"


def test_a_gain_outside_the_range_is_partly_and_no_gain_is_refuted():
    slower = invented_run(methods=("bf16", "fp32"))  # here fp32 is the faster one
    assert score(claim("FP16"), [slower]).outcome == "refuted"
    assert score(claim("FP16"), [invented_run(methods=("fp32", "int8-weight", "bf16"))]).outcome == "partly"


def test_a_change_of_engine_is_no_effect_of_quantization():
    run = invented_run(methods=("fp32", "onnx-fp32", "onnx-int8-dynamic"))  # 2x by the engine, 3x in all
    scored = score(claim("INT8 PTQ"), [run])
    assert scored.measured.startswith("1.50×")


def test_accuracy_claims_for_other_model_sizes_stay_untested():
    accuracy = [score(c, [invented_run()]) for c in claims() if c.metric == "accuracy_loss"]
    assert {s.outcome for s in accuracy} == {"not yet tested"}
