"""A replica in reserve on a stand-in for vLLM: each state, the comparison of its answers, faults in a sentence, and nothing left running."""

import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from workbench.core.devices import Device
from workbench.core.errors import InvalidSpec, NotAModel
from workbench.engines import hosted
from workbench.engines.server import ServerFailed
from workbench.engines.serving import Launch
from workbench.measuring.envelope import run
from workbench.questions.surge.standby import measure
from workbench.questions.surge.standby.findings import rest_s, verdict
from workbench.questions.surge.standby.rows import ColdStart, StandbySamples, StandbyState
from workbench.questions.surge.standby.spec import StandbySpec, check_standby

SERVER = Path(__file__).parents[3] / "support" / "sleepy_server.py"
slow = pytest.mark.slow
GPU = Device(kind="cuda", name="stand-in", memory_bytes=100, free_bytes=40)


@pytest.fixture
def measured(monkeypatch):
    """Return a run on a stand-in with a fault, as if this machine had a GPU; no server may be left when the test ends."""
    launched = []

    def on(fault="", **asked):
        def launch(engine, model, *, port, extra, **_):
            launched.append(extra)
            return Launch(command=(sys.executable, str(SERVER), str(port), fault), variables={}, version="vLLM 9")

        monkeypatch.setattr(hosted, "launch_for", launch)
        monkeypatch.setattr(measure, "chosen_device", lambda _: GPU)
        monkeypatch.setattr(measure, "gpu_devices", lambda: ([GPU], None))
        return run(StandbySpec(**({"repeats": 3, "cold": 1, "wait_s": 0.1} | asked)))

    on.launched, before = launched, running()
    yield on
    assert running() <= before


def running():
    """The processes that this one has started and that run; one that has ended and was not waited for does not."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE:
                found.add(child.pid)
    return found


def by_state(found):
    return {r.state: r for r in found.rows(StandbyState)}


@slow
def test_each_state_is_asked_and_its_parts_add_up(measured):
    found = measured(cold=2)
    states = by_state(found)
    assert {s: r.n for s, r in states.items()} == {"cold-first": 1, "cold": 1, "idle": 3, "sleep-1": 3, "sleep-2": 3}
    assert all(r.is_same_answer for s, r in states.items() if s != "cold-first")
    samples = found.sampled(StandbySamples)
    for state, row in states.items():
        parts = zip(samples.ready_s[state], samples.gateway_s[state], samples.ttft_s[state], strict=True)
        assert max(map(sum, parts)) == pytest.approx(row.most_s, abs=1e-3)
    assert found.environment.packages["vllm"] == "9"
    launches = samples.ready_s["cold-first"] + samples.ready_s["cold"]
    assert [r.launch_s for r in found.rows(ColdStart)] == pytest.approx(launches, abs=1e-3)
    assert all(rest_s(r) is None for r in found.rows(ColdStart))
    assert all("--enable-sleep-mode" in flags for flags in measured.launched)
    assert verdict(found).headline.startswith("A sleeping replica answers after")


@slow
def test_another_answer_after_waking_is_said(measured):
    found = measured("other")
    assert [by_state(found)[s].is_same_answer for s in ("idle", "sleep-1", "sleep-2")] == [True, False, False]
    assert verdict(found).answer == "no"
    assert "gives other answers than before" in verdict(found).headline
    assert "“asleep, level 1” differ" in verdict(found).objection


@slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("no endpoints", "The server has no endpoint /sleep."),
        ("memory", "The server refuses /wake_up: HTTP 500 CUDA out of memory"),
        ("dies", "The server does not answer /wake_up"),
    ],
)
def test_a_sleep_that_fails_is_a_row_with_its_reason_and_the_rest_is_kept(measured, fault, said):
    found = measured(fault)
    states = by_state(found)
    assert said in states["sleep-1"].reason
    assert states["sleep-2"].reason == "the replica did not wake from level 1"
    assert states["idle"].n == 3
    assert [(f.subject, bool(f.remedy)) for f in found.failures] == [("sleep-1", True)]
    assert "none could sleep here" in verdict(found).headline


@slow
def test_dummy_weights_leave_level_2_out_and_reach_the_launch(measured):
    flags = ("--load-format=dummy", "--kv-cache-memory-bytes=1000000000")
    states = by_state(measured(flags=flags))
    assert states["sleep-1"].n == 3
    assert "no file" in states["sleep-2"].reason
    assert measured.launched[0][-2:] == flags


@slow
@pytest.mark.parametrize("fault", ["mute", "ends"])
def test_a_replica_that_dies_is_named_and_ends_the_measurement(measured, fault):
    with pytest.raises(ServerFailed, match="ended"):
        measured(fault)


def test_an_engine_without_sleep_mode_and_a_processor_say_so():
    cpu = Device(kind="cpu", name="stand-in", memory_bytes=100, free_bytes=40)
    assert "no sleep mode" in measure.why_not(StandbySpec(engine="torch"), GPU, 1)
    assert "GPU only" in measure.why_not(StandbySpec(), cpu, 2)
    assert measure.why_not(StandbySpec(), GPU, 2) is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"engine": "llama"}, "llama"),
        ({"repeats": 2}, "2 repeats"),
        ({"flags": ("oops",)}, "no flag"),
        ({"flags": ("--max-num-seqs=8",), "engine": "torch"}, "vLLM's"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(wrong, said):
    with pytest.raises(InvalidSpec, match=said):
        StandbySpec(**wrong)


def test_a_model_that_is_none_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(NotAModel):
        check_standby(StandbySpec(model=str(tmp_path)))
