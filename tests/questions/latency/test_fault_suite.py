"""The suite on a real engine: a fault is injected, proven, taken out again; nothing is left behind.

What a diagnosis names is tested on loads that ship: here other programs may slow the machine meanwhile.
"""

import contextlib

import psutil
import pytest

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.errors import InvalidSpec
from workbench.core.runs import Run
from workbench.measuring.envelope import measured
from workbench.questions.latency.faults.findings import by_fault
from workbench.questions.latency.faults.measure import plan_episodes, servers
from workbench.questions.latency.faults.measure.fault_list import FAULTS
from workbench.questions.latency.faults.rows import FaultsSamples, Score
from workbench.questions.latency.faults.spec import FaultsSpec
from workbench.questions.latency.findings import diagnose
from workbench.questions.latency.findings.cause_list import CAUSES
from workbench.questions.latency.findings.latency_split import latency_split
from workbench.store.decoding import run_from_json
from workbench.store.runs import read_run_file

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    folder, working = tmp_path_factory.mktemp("faults"), tmp_path_factory.mktemp("working")
    spec = FaultsSpec(
        model=str(REFERENCE_MODEL),
        device="cpu",
        faults=("longer answers", "slow network"),
        doses=("high",),
        seeds=(7,),
        duration_s=4.0,
        rate_per_s=8.0,
        input_tokens=64,
        output_tokens=8,
    )
    with contextlib.chdir(working), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(servers, "WARM_UP_S", 1.0)
        steps = list(measured(spec, folder))
    assert isinstance(steps[-1], Run)
    assert list(working.iterdir()) == []  # the reader's own folder
    return steps[-1], folder


def test_faults_are_proven_and_scored(suite):
    run, _ = suite
    assert run.failures == []
    episodes, scores = run.sampled(FaultsSamples).episodes, run.rows(Score)
    assert {e.fault: e.cause for e in episodes} == {n: n for n in ("longer answers", "slow network")}
    for episode in episodes:
        assert episode.took_effect, episode.proof
        assert set(episode.answer.causes) <= {c.key for c in CAUSES}
        assert episode.time_to_detect_s is None or 2 <= episode.time_to_detect_s <= 4
    assert [s.method for s in scores] == ["workbench", "static thresholds", "FAQ's checks", "N-sigma"]
    assert [s.n_faults for s in scores] == [2] * 4
    assert [(c.n, c.took_effect) for c in by_fault(episodes)] == [(1, 1)] * 2
    assert run_from_json(run.to_json()) == run


def test_the_loads_are_kept_and_can_be_diagnosed_again(suite):
    run, folder = suite
    healthy, longer = (
        read_run_file(folder / "loads" / f"7-{name}.json") for name in ("healthy-0", "longer-answers-high")
    )
    kept = next(e for e in run.sampled(FaultsSamples).episodes if e.fault == "longer answers").answer
    again = diagnose(healthy, longer)
    assert (again.alarm, tuple(c.key for c in again.causes[:5])) == (kept.alarm, kept.causes)
    assert longer.spec["output_tokens"] == 3 * healthy.spec["output_tokens"]
    split = latency_split(healthy, longer)  # our engine reports its queue, prefill and decode
    assert sum(split.by_part_s.values()) == pytest.approx(split.change_s)
    assert split.current.output_tokens > 2 * split.baseline.output_tokens


def test_nothing_is_left_running(suite):
    _, folder = suite
    ours = [p for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or ())]
    assert ours == []
    assert not list((folder / "servers").glob("*.json"))


def test_the_plan_has_fourteen_faults_and_the_restarts_come_last():
    spec = FaultsSpec(model="m")
    plan, left_out = plan_episodes(spec, is_gpu=False)
    causes = {p.fault.cause for p in plan if p.fault.cause}
    assert len(causes) + len(left_out) >= 14
    assert sum(p.fault.cause is None for p in plan) >= 6
    assert [p.options is not None for p in plan] == sorted(p.options is not None for p in plan)
    assert len({f.name for f in FAULTS}) == len(FAULTS)
    with pytest.raises(InvalidSpec, match="no fault gremlins"):
        plan_episodes(FaultsSpec(model="m", faults=("gremlins",)), is_gpu=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": ()}, "no seeds"),
        ({"doses": ("huge",)}, "no known doses"),
        ({"duration_s": 1.0}, "duration_s is 1"),
        ({"engine": "x"}, "engine is"),
    ],
)
def test_odd_wishes_are_refused(change, message):
    with pytest.raises(InvalidSpec, match=message):
        FaultsSpec(model="m", **change)
