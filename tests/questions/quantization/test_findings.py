import pytest
from support import invented_run

from workbench.catalog.ledger import Evidence
from workbench.catalog.tables import claims
from workbench.questions.quantization.claims import JUDGES
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


def outcome(technique, *runs, metric="speedup"):
    claim = next(c for c in claims() if (c.question, c.technique, c.metric) == (2, technique, metric))
    return JUDGES[2, technique, metric](claim, Evidence(runs=runs))


def test_claims_are_judged_by_the_runs_there_are():
    run = invented_run()  # int8 twice, int4 three times as fast as fp32
    assert outcome("INT8 PTQ", run).outcome == "confirmed"
    assert outcome("INT4 AWQ", run).outcome == "not tested yet"  # rounding to nearest is not AWQ
    assert outcome("FP16", run).outcome == "not tested yet"
    assert outcome("INT8 PTQ").outcome == "not tested yet"


def test_a_loss_is_the_opposite_and_a_small_gain_is_less_than_claimed():
    slower = invented_run(methods=("bf16", "fp32"))  # here fp32 is the faster one
    assert outcome("FP16", slower).outcome == "opposite"
    assert outcome("FP16", invented_run(methods=("fp32", "int8-weight", "bf16"))).value == pytest.approx(3)


def test_a_change_of_engine_is_no_effect_of_quantization():
    run = invented_run(methods=("fp32", "onnx-fp32", "onnx-int8-dynamic"))  # 2x by the engine, 3x in all
    assert outcome("INT8 PTQ", run).value == pytest.approx(1.5)


def test_accuracy_claims_for_other_model_sizes_stay_untested():
    sizes = {
        c.condition: JUDGES[2, "FP16", "accuracy_loss"](c, Evidence(runs=[invented_run()]))
        for c in claims()
        if c.metric == "accuracy_loss"
    }
    assert sizes["70B"].outcome == "not testable"
    assert sizes["8B"].outcome == "not tested yet"
    assert not any(j.is_judged for j in sizes.values())
