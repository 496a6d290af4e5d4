"""Sampling: GPUs with and without rights, vanishing and coming back; servers that hang or talk nonsense; the host."""

import os
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_nvml import FakeNvml, NVMLError, NVMLError_GpuIsLost, NVMLError_NoPermission
from support.page_server import page_server, replying
from support.waiting import wait_for

from workbench.core.errors import InvalidSpec, StoreError
from workbench.telemetry import sampler as sampler_module
from workbench.telemetry.gpu_source import GpuSource, slowed_by
from workbench.telemetry.host_source import HostSource
from workbench.telemetry.metrics_source import MetricsSource, sums
from workbench.telemetry.sampler import Sampler, SourceLost
from workbench.telemetry.samples import Recording, Signal

POWER = Signal(name="gpu0.power_w", unit="W", label="power")
ENERGY = Signal(name="gpu0.energy_j", unit="J", label="energy", kind="counter")


def recording(times, **values):
    signals = {"gpu0.power_w": POWER, "gpu0.energy_j": ENERGY}
    names = {"power": "gpu0.power_w", "energy": "gpu0.energy_j"}
    kept = {names[k]: np.array(v, float) for k, v in values.items()}
    return Recording(signals=signals, times_s=dict.fromkeys(kept, np.array(times, float)), values=kept)


def test_every_gpu_is_read_and_what_rights_do_not_give_is_named():
    nvml = FakeNvml()
    nvml.faults["nvmlDeviceGetViolationStatus"] = NVMLError_NoPermission("not for you")
    source = GpuSource(nvml)
    signals = source.open()
    reading = source.read()
    assert reading["gpu0.utilisation_percent"] == 50
    assert reading["gpu1.utilisation_percent"] == 51
    assert reading["gpu0.power_w"] == 300
    assert set(reading) <= set(signals)
    assert "gpu0.power_violation_s" not in reading
    assert source.missing()["gpu0.power_violation_s"] == "not for you"
    assert "does not support it" in source.missing()["gpu0.tensor_active_percent"]
    source.close()
    assert not nvml.is_open
    assert slowed_by(reading["gpu0.clock_reasons"]) == ["power cap"]
    assert slowed_by(1) == []


def test_instances_of_a_divided_gpu_have_their_own_memory():
    source = GpuSource(FakeNvml(n_gpus=1, mig=[0]))
    signals = source.open()
    assert {n for n in signals if "mig" in n} == {"gpu0.mig0.memory_used_bytes", "gpu0.mig2.memory_used_bytes"}
    assert source.read()["gpu0.mig2.memory_used_bytes"] == 10_000


def test_a_gpu_that_vanishes_is_told_and_read_again_when_it_is_back(monkeypatch):
    monkeypatch.setattr(sampler_module, "RETRY_S", 0.0)
    nvml = FakeNvml(n_gpus=1)
    sampler = Sampler([GpuSource(nvml, period_s=0.0)])
    sampler.read_once()
    nvml.faults["nvmlDeviceGetPowerUsage"] = NVMLError_GpuIsLost("fell off the bus")
    sampler.read_once()
    assert sampler.recording().problems["gpu"] == "gpu0 is lost: fell off the bus"
    assert sampler.recording().values["gpu0.power_w"].size == 1  # what was sampled stays
    nvml.faults.clear()
    sampler.read_once()
    assert "gpu" not in sampler.recording().problems
    assert sampler.recording().values["gpu0.power_w"].size == 2


def test_without_a_driver_the_host_is_sampled_all_the_same():
    nvml = FakeNvml()
    nvml.faults["nvmlInit"] = NVMLError("Driver Not Loaded")
    with Sampler([HostSource([os.getpid()]), GpuSource(nvml)], rate_hz=50) as sampler:
        wait_for(lambda: "host.cpu_percent" in sampler.recording())
    recorded = sampler.recording()
    assert recorded.problems["gpu"] == "NVML does not start: Driver Not Loaded"
    assert 0 <= recorded.values["host.cpu_percent"][-1] <= 100
    assert recorded.values["host.memory_used_bytes"][-1] > 1e6
    assert sampler.cpu_s > 0


def test_a_busy_thread_shows_though_the_machine_is_idle():
    source = HostSource([os.getpid()], period_s=0.0)
    source.open()
    began, worked = time.monotonic(), time.thread_time()
    while time.thread_time() - worked < 0.3:
        sum(range(1000))
    seen = source.read()["process.busiest_thread_percent"]
    used = 100 * (time.thread_time() - worked) / (time.monotonic() - began)  # little where others take the processor
    assert 0.5 * used < seen < 1.5 * used + 5


def test_old_samples_are_dropped_and_odd_rates_refused():
    sampler = Sampler([GpuSource(FakeNvml(n_gpus=1), period_s=0.0)], keep_s=0.05)
    sampler.read_once()
    time.sleep(0.1)
    sampler.read_once()
    assert sampler.recording().values["gpu0.power_w"].size == 1
    with pytest.raises(InvalidSpec, match=r"0\.1 to 100"):
        Sampler([], rate_hz=0)
    with pytest.raises(InvalidSpec, match="above 0"):
        Sampler([], keep_s=0)


@contextmanager
def server(answer):
    with page_server(answer) as httpd:
        yield f"http://127.0.0.1:{httpd.server_port}"


PAGE = """# HELP vllm:num_requests_running Number of requests
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a b"} 3.0
vllm:num_requests_running{engine="1",model_name="a b"} 4.0
vllm:generation_tokens_total{engine="0",model_name="a{b}"} 1.5e3
vllm:kv_cache_usage_perc{engine="0"} NaN
vllm:something_else 5
"""


def test_counters_are_added_up_over_labels():
    assert sums(PAGE.splitlines()) == {"engine.num_requests_running": 7.0, "engine.generation_tokens_total": 1500.0}
    with server(replying(PAGE)) as url:
        source = MetricsSource(url + "/v1")
        assert "engine.num_requests_running" in source.open()
        assert source.read()["engine.num_requests_running"] == 7
        assert "does not have it" in source.missing()["engine.num_requests_waiting"]


ANSWERED = threading.Event()
"""Set when nobody waits for the slow page any more."""


@pytest.mark.parametrize(
    ("answer", "timeout_s", "says"),
    [
        (replying("<html>hello</html>"), 60, "none of the known metrics"),
        (replying(os.urandom(5000)), 60, "none of the known metrics"),
        (replying("no", status=500), 60, "status 500"),
        (lambda handler: ANSWERED.wait(60), 0.3, "does not answer"),
        (lambda handler: handler.wfile.write(b"not even HTTP"), 60, "does not answer"),
    ],
)
def test_a_page_that_is_none_is_told_and_nothing_waits_for_it(answer, timeout_s, says):
    with server(answer) as url:
        with pytest.raises(SourceLost, match=says):  # and not after the minute that one of them takes
            MetricsSource(url, timeout_s=timeout_s).open()
        ANSWERED.set()
    with pytest.raises(SourceLost, match="does not answer"):
        MetricsSource("http://127.0.0.1:9", timeout_s=0.3).open()
    with pytest.raises(InvalidSpec, match="is not a URL"):
        MetricsSource("localhost:8000")


def test_means_are_weighted_by_time_and_counters_survive_a_restart():
    recorded = recording([0, 1, 4], power=[100, 100, 400])
    assert recorded.mean("gpu0.power_w", 0, 1) == 100
    assert recorded.mean("gpu0.power_w", 0, 4) == pytest.approx((100 * 1 + 250 * 3) / 4)
    assert recorded.mean("gpu0.power_w", 9, 12) is None
    assert recorded.mean("nothing", 0, 1) is None
    counted = recording([0, 1, 2, 3], energy=[100, 160, 20, 50])  # restarted between 1 and 2
    assert counted.increase("gpu0.energy_j", 0, 3) == 60 + 20 + 30
    assert counted.increase("gpu0.energy_j", 0.5, 1) == 30
    assert counted.increase("gpu0.energy_j", 1, 1) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=500), st.integers(1, 60))
def test_thinning_never_loses_a_peak(values, parts):
    recorded = recording(range(len(values)), power=values)
    middles, low, high = recorded.thinned("gpu0.power_w", parts)
    assert max(high) == max(values)
    assert min(low) == min(values)
    assert len(middles) <= max(parts, 1)
    assert np.all(np.diff(middles) > 0)


def test_a_recording_comes_back_from_what_a_run_keeps():
    recorded = recording([0.0, 0.5], power=[1.23456789, 2], energy=[123456789.25, 123456790])
    kept = recorded.sampled()
    again = Recording.of(kept)
    assert again.values["gpu0.power_w"] == pytest.approx(recorded.values["gpu0.power_w"], rel=1e-5)
    assert again.values["gpu0.energy_j"][0] == 123456789.25  # counters keep their digits
    assert again.signals == recorded.signals
    broken = replace(kept, signals=[replace(kept.signals[0], t=[1.0])])
    with pytest.raises(StoreError, match="differ in number"):
        Recording.of(broken)


def test_a_recording_goes_on_with_the_next_and_no_sample_comes_twice():
    whole = recording([0, 1, 2], power=[1, 2, 3]).followed_by(recording([2, 3, 4], power=[3, 4, 5]), keep_s=3)
    assert whole.values["gpu0.power_w"].tolist() == [2, 3, 4, 5]
