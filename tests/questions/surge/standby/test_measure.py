"""A replica in reserve on a stand-in for vLLM: each state once, faults in a sentence, and nothing left running."""

import sys
from pathlib import Path

import psutil
import pytest

from workbench.core.devices import Device
from workbench.engines import hosted
from workbench.engines.serving import Launch
from workbench.measuring.envelope import run
from workbench.questions.surge.standby import measure
from workbench.questions.surge.standby.findings import verdict
from workbench.questions.surge.standby.rows import StandbyState
from workbench.questions.surge.standby.spec import StandbySpec

SERVER = Path(__file__).parents[3] / "support" / "sleepy_server.py"
GPU = Device(kind="cuda", name="stand-in", memory_bytes=100, free_bytes=40)


@pytest.fixture
def measured(monkeypatch):
    """Return a run on a stand-in with a fault, as if this machine had a GPU."""

    def on(fault="", **asked):
        command = (sys.executable, str(SERVER))

        def launch(engine, model, *, port, **_):
            return Launch(command=(*command, str(port), fault), variables={}, version="vLLM 9")

        monkeypatch.setattr(hosted, "launch_for", launch)
        monkeypatch.setattr(measure, "chosen_device", lambda _: GPU)
        monkeypatch.setattr(measure, "gpu_devices", lambda: ([GPU], None))
        return run(StandbySpec(**({"repeats": 3, "cold": 1, "wait_s": 0.1} | asked)))

    yield on
    assert not [c for c in psutil.Process().children(recursive=True) if "sleepy_server" in " ".join(c.cmdline())]


def by_state(found):
    return {r.state: r for r in found.rows(StandbyState)}


def test_each_state_is_asked_and_its_answers_are_compared(measured):
    found = measured(cold=2)
    states = by_state(found)
    assert list(states) == ["cold-first", "cold", "idle", "sleep-1", "sleep-2"]
    assert [r.n for r in states.values()] == [1, 1, 3, 3, 3]
    assert all(r.is_same_answer for s, r in states.items() if s != "cold-first")
    assert all(r.least_s <= r.first_token_s <= r.most_s for r in states.values())
    assert states["idle"].device_bytes == 0
    print(verdict(found).lines)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("no endpoints", "The server has no endpoint /sleep."),
        ("awake", "is awake"),
        ("memory", "The server did not wake up: HTTP 500 CUDA out of memory"),
        ("sleeps on", "still sleeps after it was woken"),
        ("dies", "The server did not wake up"),
    ],
)
def test_a_sleep_that_fails_is_a_row_with_its_reason_and_the_rest_is_kept(measured, fault, said):
    found = measured(fault)
    states = by_state(found)
    print(states["sleep-1"].reason, states["sleep-2"].reason)
    assert said in states["sleep-1"].reason
    assert states["sleep-2"].reason
    assert states["idle"].n == 3
    assert [f.subject for f in found.failures] == ["sleep-1"]
    assert all(f.remedy for f in found.failures)
    print(verdict(found).lines)
