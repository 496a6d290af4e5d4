"""The suite on a real engine: a fault is put in, proven, named, taken out again; nothing is left behind."""

import psutil
import pytest

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.errors import InvalidSpec
from workbench.core.faults import FaultsSpec
from workbench.core.runs import Run
from workbench.experiments.confirmation import confirmation, outcome
from workbench.experiments.diagnosis import diagnose
from workbench.experiments.fault_list import FAULTS
from workbench.experiments.faults import measure, planned
from workbench.experiments.latency_split import latency_split
from workbench.store.runs import read_run_file

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    spec = FaultsSpec(
        model=str(REFERENCE_MODEL),
        device="cpu",
        faults=("longer answers", "slow network"),
        doses=("high",),
        seeds=(7,),
        duration_s=6.0,
    )
    steps = list(measure(spec, folder))
    assert isinstance(steps[-1], Run)
    return steps[-1], folder


def test_faults_are_proven_and_named(suite):
    run, _ = suite
    assert run.failures == []
    by_name = {e["fault"]: e for e in run.samples["episodes"]}
    for name in ("longer answers", "slow network"):
        episode = by_name[name]
        assert episode["took_effect"], episode["proof"]
        said = episode["said"]["workbench"]
        assert said["alarm"]
        assert said["causes"][0] == episode["cause"], said
        assert 2 <= episode["time_to_detect_s"] <= 6
    assert [r["method"] for r in run.results] == ["workbench", "static thresholds", "FAQ's checks", "N-sigma"]
    assert run.results[0]["top1"] == 1.0


def test_the_loads_are_kept_and_can_be_diagnosed_again(suite):
    _, folder = suite
    healthy, longer = (
        read_run_file(folder / "loads" / f"7-{name}.json") for name in ("healthy-0", "longer-answers-high")
    )
    found = diagnose(healthy, longer)
    assert found.named == "longer answers"
    split = latency_split(healthy, longer)  # our engine tells its queue, prefill and decode
    assert sum(split.by_part_s.values()) == pytest.approx(split.change_s)
    assert split.largest in {"decode", "queue"}
    asked = confirmation(found, healthy, longer)
    assert asked.spec.output_tokens == healthy.spec["output_tokens"]
    assert outcome(asked, healthy, longer, healthy).is_confirmed
    assert not outcome(asked, healthy, longer, longer).is_confirmed


def test_nothing_is_left_running(suite):
    _, folder = suite
    ours = [p for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or ())]
    assert ours == []
    assert not list((folder / "servers").glob("*.json"))


def test_the_plan_has_fourteen_faults_and_the_restarts_come_last():
    spec = FaultsSpec(model="m")
    plan, left_out = planned(spec, is_gpu=False)
    causes = {p.fault.cause for p in plan if p.fault.cause}
    assert len(causes) + len(left_out) >= 14
    assert sum(p.fault.cause is None for p in plan) >= 6
    assert [p.options is not None for p in plan] == sorted(p.options is not None for p in plan)
    assert len({f.name for f in FAULTS}) == len(FAULTS)
    with pytest.raises(InvalidSpec, match="no fault gremlins"):
        planned(FaultsSpec(model="m", faults=("gremlins",)), is_gpu=False)


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
