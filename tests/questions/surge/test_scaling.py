"""Rules for scaling over real traffic: what is played, and that the rules of the workbench hold on what they were not set on."""

import pytest

from workbench.core.errors import DoesNotFit, InvalidSpec
from workbench.questions.surge.scaling.findings import compared, traffic_of
from workbench.questions.surge.scaling.spec import ScalingSpec


@pytest.mark.parametrize("trace", ["conv", "code"])
def test_the_shipped_traffic_has_the_requests_of_the_traces(trace):
    traffic = traffic_of(ScalingSpec(trace=trace, times=1.0))
    assert traffic.requests.sum() == pytest.approx({"conv": 19_366, "code": 8_819}[trace])
    assert 3400 < traffic.requests.size < 3600


def test_a_trace_file_is_read_and_a_missing_one_refused(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:00.0,640,80\n2023-11-16 18:00:05.0,640,80\n"
    )
    traffic = traffic_of(
        ScalingSpec(trace=str(file), times=2.0, prompt_tokens_per_s=64_000.0, answer_tokens_per_s=8_000.0)
    )
    assert traffic.requests.tolist() == [2, 0, 0, 0, 0, 2]
    assert traffic.work_s[0] == pytest.approx(2 * (640 / 64_000 + 80 / 8_000))
    with pytest.raises(InvalidSpec):
        traffic_of(ScalingSpec(trace=str(tmp_path / "none.csv")))
    file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n0,1,1\n1700158625,1,1\n")
    with pytest.raises(InvalidSpec, match="days"):
        traffic_of(ScalingSpec(trace=str(file)))


def test_the_default_replica_answers_the_conversations_as_fast_as_measured():
    """22.4 a second at saturation on one H200: data/measured/README.md; simulated with predicted step times."""
    traffic = traffic_of(ScalingSpec(trace="conv", times=1.0))
    assert traffic.requests.sum() / traffic.work_s.sum() == pytest.approx(22.4, rel=0.1)


def test_a_replica_of_a_smaller_device_or_a_larger_model_takes_longer_and_one_without_room_is_refused():
    usual, slower, larger = (
        traffic_of(ScalingSpec(trace="conv", times=1.0, **changes)).work_s.sum()
        for changes in ({}, {"device": "l40s"}, {"model": "Qwen/Qwen3-32B"})
    )
    assert usual < slower
    assert usual < larger
    with pytest.raises(DoesNotFit, match="does not fit"):
        traffic_of(ScalingSpec(device="l4", model="meta-llama/Meta-Llama-3.1-70B"))


def test_rules_that_are_ours_break_fewer_promises_than_the_usual_ones_on_held_out_traffic():
    """Set on "code"; "conv" is held out."""
    found = compared(ScalingSpec(trace="conv", times=10.0, start_s=120.0))
    by = {name.split(" ")[0]: p for name, p in found.items() if not name.startswith(("fixed", "workbench,"))}
    assert by["workbench"].slo_minutes < min(by[n].slo_minutes for n in ("queue", "utilization", "predictive"))
