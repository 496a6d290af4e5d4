# ruff: noqa: N801, N802, ANN
"""Behaves like pynvml with two GPUs, for what cannot be provoked on a real one: rights, losses and old cards."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """Any."""


class NVMLError_GpuIsLost(NVMLError):
    """It fell off the bus."""


class NVMLError_NoPermission(NVMLError):
    """A counter that needs more rights."""


class FakeNvml:
    """The functions that the source calls; ``faults`` maps a function's name to the error it raises."""

    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    NVML_PERF_POLICY_POWER, NVML_PERF_POLICY_THERMAL = 0, 1
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC = 1, 0
    NVML_DEVICE_MIG_ENABLE = 1
    nvmlEventTypeXidCriticalError = 8  # noqa: N815 - NVML's name

    def __init__(self, n_gpus: int = 2, mig: Iterable[int] = ()) -> None:
        self.n_gpus, self.mig, self.is_open, self.joules = n_gpus, set(mig), False, 0.0
        self.faults: dict[str, Exception] = {}

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name in object.__getattribute__(self, "faults"):
            error = self.faults[name]

            def failing(*_: Any) -> None:
                raise error

            return failing
        return object.__getattribute__(self, name)

    def nvmlInit(self) -> Any:
        self.is_open = True

    def nvmlShutdown(self) -> Any:
        self.is_open = False

    def nvmlDeviceGetCount(self) -> Any:
        return self.n_gpus

    def nvmlDeviceGetHandleByIndex(self, index: Any) -> Any:
        return index

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:
        return SimpleNamespace(gpu=50 + handle, memory=20)

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:
        return SimpleNamespace(used=10_000 if isinstance(handle, tuple) else 2_000_000)

    def nvmlDeviceGetPowerUsage(self, _handle: Any) -> Any:
        return 300_000

    def nvmlDeviceGetTotalEnergyConsumption(self, _handle: Any) -> Any:
        self.joules += 30
        return self.joules * 1e3

    def nvmlDeviceGetClockInfo(self, _handle: Any, which: Any) -> Any:
        return 1980 if which == 1 else 2619

    def nvmlDeviceGetTemperature(self, _handle: Any, _which: Any) -> Any:
        return 55

    def nvmlDeviceGetCurrentClocksEventReasons(self, _handle: Any) -> Any:
        return 4

    def nvmlDeviceGetViolationStatus(self, _handle: Any, _policy: Any) -> Any:
        return SimpleNamespace(violationTime=2_000_000_000)

    def nvmlDeviceGetEnforcedPowerLimit(self, _handle: Any) -> Any:
        return 700_000

    def nvmlDeviceGetPcieReplayCounter(self, _handle: Any) -> Any:
        return 0

    def nvmlDeviceGetTotalEccErrors(self, *_: Any) -> Any:
        return 0

    def nvmlDeviceGetComputeRunningProcesses(self, _handle: Any) -> Any:
        return [1]

    def nvmlDeviceGetMigMode(self, handle: Any) -> Any:
        return (1 if handle in self.mig else 0, 0)

    def nvmlDeviceGetMaxMigDeviceCount(self, _handle: Any) -> Any:
        return 3

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, k: Any) -> Any:
        if k == 1:
            raise NVMLError("there is no such instance")
        return (handle, k)

    def nvmlEventSetCreate(self) -> Any:
        return "events"

    def nvmlDeviceRegisterEvents(self, *_: Any) -> Any:
        return None

    def nvmlEventSetFree(self, _events: Any) -> Any:
        return None

    def nvmlEventSetWait_v2(self, *_: Any) -> Any:
        raise NVMLError("timeout")

    def nvmlGpmQueryDeviceSupport(self, _handle: Any) -> Any:
        return SimpleNamespace(isSupportedDevice=0)
