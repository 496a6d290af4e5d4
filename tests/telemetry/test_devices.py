import sys
import types

import pytest

from workbench.core.errors import NotAvailable
from workbench.telemetry import devices


class NVMLError(Exception):
    pass


def fake_nvml(*, problem=None, count=1):
    nvml = types.SimpleNamespace(NVMLError=NVMLError)

    def init():
        if problem:
            raise NVMLError(problem)

    nvml.nvmlInit, nvml.nvmlShutdown = init, lambda: None
    nvml.nvmlSystemGetDriverVersion = lambda: "580.1"
    nvml.nvmlDeviceGetCount = lambda: count
    nvml.nvmlDeviceGetHandleByIndex = lambda i: i
    nvml.nvmlDeviceGetName = lambda _: "NVIDIA H200"
    nvml.nvmlDeviceGetMemoryInfo = lambda _: types.SimpleNamespace(total=150 * 10**9, free=149 * 10**9)
    nvml.nvmlDeviceGetCudaComputeCapability = lambda _: (9, 0)
    return nvml


def test_a_gpu_is_found_with_its_row_of_the_catalogue(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    (gpu,), problem = devices.gpu_devices()
    assert problem is None
    assert (gpu.name, gpu.compute_capability, gpu.catalog_id) == ("NVIDIA H200", 9.0, "h200-sxm")
    assert devices.chosen_device("auto").kind == "cuda"
    assert devices.chosen_device("cpu").kind == "cpu"


@pytest.mark.parametrize(
    ("nvml", "reason"), [(fake_nvml(problem="Driver Not Loaded"), "Driver Not Loaded"), (fake_nvml(count=0), "no GPU")]
)
def test_without_a_gpu_the_reason_is_given(monkeypatch, nvml, reason):
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert devices.gpu_devices()[0] == []
    assert reason in devices.gpu_devices()[1]
    assert devices.chosen_device("auto").kind == "cpu"
    with pytest.raises(NotAvailable, match=reason):
        devices.chosen_device("cuda")


def test_longer_names_are_not_taken_for_shorter_ones():
    assert devices.catalog_id("NVIDIA H200 NVL") == "h200-nvl"
    assert devices.catalog_id("NVIDIA L40S") == "l40s"
    assert devices.catalog_id("NVIDIA A10G") == "a10g"
    assert devices.catalog_id("Unknown 9000") is None
