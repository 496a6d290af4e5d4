"""NVIDIA GPUs through NVML: utilization, memory, power, clocks and why they are low, errors, processes, and activity of the units (GPM)."""

import ctypes
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import ModuleType

from workbench.core.language import gettext_noop
from workbench.telemetry.sampler import SourceLost
from workbench.telemetry.samples import Kind, Signal

# NVML's clock event reasons that slow a GPU down, by bit.
REASONS = {
    0x04: gettext_noop("power cap"),
    0x08: gettext_noop("hardware slowdown"),
    0x20: gettext_noop("thermal (software)"),
    0x40: gettext_noop("thermal (hardware)"),
    0x80: gettext_noop("power brake"),
}
MIG_LABEL = gettext_noop("memory in use, MIG instance {k}")
PROBLEMS = (
    gettext_noop("NVML does not start: {error}"),
    gettext_noop("NVML cannot read the GPUs: {error}"),
    gettext_noop("{url} has none of the known metrics"),
    gettext_noop("{url} does not have it"),
)
"""Templates of reasons for which a source or a signal is missing."""
# Name after "gpuN.", unit, label, kind.
QUANTITIES: tuple[tuple[str, str, str, Kind], ...] = (
    ("utilisation_percent", "%", gettext_noop("time with a kernel running"), "gauge"),
    ("memory_utilisation_percent", "%", gettext_noop("time with memory being read or written"), "gauge"),
    ("memory_used_bytes", "B", gettext_noop("memory in use"), "gauge"),
    ("power_w", "W", gettext_noop("power"), "gauge"),
    ("energy_j", "J", gettext_noop("energy"), "counter"),
    ("sm_clock_mhz", "MHz", gettext_noop("SM clock"), "gauge"),
    ("memory_clock_mhz", "MHz", gettext_noop("memory clock"), "gauge"),
    ("temperature_c", "°C", gettext_noop("temperature"), "gauge"),
    ("clock_reasons", "", gettext_noop("clock event reasons (NVML's bits)"), "gauge"),
    ("power_violation_s", "s", gettext_noop("clocks throttled by the power limit"), "counter"),
    ("thermal_violation_s", "s", gettext_noop("clocks throttled by temperature"), "counter"),
    ("power_limit_w", "W", gettext_noop("enforced power limit"), "gauge"),
    ("pcie_replays", "", gettext_noop("PCIe replays"), "counter"),
    ("ecc_uncorrected", "", gettext_noop("uncorrected ECC errors"), "counter"),
    ("processes", "", gettext_noop("compute processes"), "gauge"),
    ("xid_errors", "", gettext_noop("Xid errors since sampling began"), "counter"),
    ("sm_active_percent", "%", gettext_noop("SM activity (GPM)"), "gauge"),
    ("sm_occupancy_percent", "%", gettext_noop("SM occupancy (GPM)"), "gauge"),
    ("tensor_active_percent", "%", gettext_noop("tensor core activity (GPM)"), "gauge"),
    ("dram_active_percent", "%", gettext_noop("memory bandwidth in use (GPM)"), "gauge"),
    ("pcie_sent_bytes_per_s", "B/s", gettext_noop("sent over PCIe (GPM)"), "gauge"),
    ("pcie_received_bytes_per_s", "B/s", gettext_noop("received over PCIe (GPM)"), "gauge"),
    ("nvlink_sent_bytes_per_s", "B/s", gettext_noop("sent over NVLink (GPM)"), "gauge"),
    ("nvlink_received_bytes_per_s", "B/s", gettext_noop("received over NVLink (GPM)"), "gauge"),
)
# GPM's metrics by the signal's name, and the factor to the signal's unit.
GPM = {
    "sm_active_percent": ("SM_UTIL", 1.0),
    "sm_occupancy_percent": ("SM_OCCUPANCY", 1.0),
    "tensor_active_percent": ("ANY_TENSOR_UTIL", 1.0),
    "dram_active_percent": ("DRAM_BW_UTIL", 1.0),
    "pcie_sent_bytes_per_s": ("PCIE_TX_PER_SEC", 2**20),
    "pcie_received_bytes_per_s": ("PCIE_RX_PER_SEC", 2**20),
    "nvlink_sent_bytes_per_s": ("NVLINK_TOTAL_TX_PER_SEC", 2**20),
    "nvlink_received_bytes_per_s": ("NVLINK_TOTAL_RX_PER_SEC", 2**20),
}
SLOW_S = 1.0  # between readings of what changes slowly, only counts, or is costly to read
MOST_SHARE = 1e-3  # of a core for one of those: one that takes 4 ms is read every 4 s
GONE = ("NVMLError_GpuIsLost", "NVMLError_Unknown", "NVMLError_DriverNotLoaded", "NVMLError_Uninitialized")


class GpuSource:
    """All GPUs of this machine, read through the module ``pynvml``, or one that behaves like it."""

    name = "gpu"

    def __init__(self, nvml: ModuleType | None = None, *, period_s: float = 0.1) -> None:
        self.period_s = period_s
        self._module = nvml
        self._missing: dict[str, str] = {}
        self._readers: dict[str, Callable[[], float]] = {}
        self._gpm: dict[int, _Gpm] = {}
        self._is_open = False
        self._events: object = None
        self._xids: dict[int, int] = {}
        self._slow_readers: dict[str, Callable[[], float]] = {}
        self._due_s: dict[str, float] = {}

    @property
    def _nvml(self) -> ModuleType:
        assert self._module is not None, "the source is not open"
        return self._module

    def open(self) -> Mapping[str, Signal]:
        """Return the signals of every GPU; those that the GPU or the permissions of this process do not allow are left out with the reason."""
        if self._module is None:
            try:
                import pynvml
            except ImportError as error:
                raise SourceLost(gettext_noop("the package nvidia-ml-py is not installed")) from error
            self._module = pynvml
        n = self._nvml
        try:
            n.nvmlInit()
        except n.NVMLError as error:
            raise SourceLost(PROBLEMS[0].format(error=error)) from error
        self._is_open, self._missing, self._gpm, self._xids = True, {}, {}, {}
        self._readers, self._slow_readers, self._due_s = {}, {}, {}
        signals: dict[str, Signal] = {}
        try:
            count = n.nvmlDeviceGetCount()
            if not count:
                raise SourceLost(gettext_noop("NVML finds no GPU"))
            for index in range(count):
                handle = n.nvmlDeviceGetHandleByIndex(index)
                signals |= self._open_one(index, handle)
                signals |= self._open_mig(index, handle)
            self._watch_errors(count)
        except n.NVMLError as error:
            raise SourceLost(PROBLEMS[1].format(error=error)) from error
        return signals

    def _open_one(self, index: int, handle: object) -> dict[str, Signal]:
        n = self._nvml
        fast: dict[str, Callable[[], float]] = {
            "utilisation_percent": lambda: float(n.nvmlDeviceGetUtilizationRates(handle).gpu),
            "power_w": lambda: n.nvmlDeviceGetPowerUsage(handle) / 1e3,
            "sm_clock_mhz": lambda: float(n.nvmlDeviceGetClockInfo(handle, n.NVML_CLOCK_SM)),
            "clock_reasons": lambda: float(n.nvmlDeviceGetCurrentClocksEventReasons(handle)),
        }
        slow: dict[str, Callable[[], float]] = {
            "memory_utilisation_percent": lambda: float(n.nvmlDeviceGetUtilizationRates(handle).memory),
            "memory_used_bytes": partial(self._memory_used, handle),
            "energy_j": lambda: n.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3,
            "memory_clock_mhz": lambda: float(n.nvmlDeviceGetClockInfo(handle, n.NVML_CLOCK_MEM)),
            "temperature_c": lambda: float(n.nvmlDeviceGetTemperature(handle, n.NVML_TEMPERATURE_GPU)),
            "power_violation_s": lambda: (
                n.nvmlDeviceGetViolationStatus(handle, n.NVML_PERF_POLICY_POWER).violationTime / 1e9
            ),
            "thermal_violation_s": lambda: (
                n.nvmlDeviceGetViolationStatus(handle, n.NVML_PERF_POLICY_THERMAL).violationTime / 1e9
            ),
            "power_limit_w": lambda: n.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3,
            "pcie_replays": lambda: float(n.nvmlDeviceGetPcieReplayCounter(handle)),
            "ecc_uncorrected": lambda: float(
                n.nvmlDeviceGetTotalEccErrors(handle, n.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, n.NVML_VOLATILE_ECC)
            ),
            "processes": lambda: float(len(n.nvmlDeviceGetComputeRunningProcesses(handle))),
        }
        kept = self._kept(index, fast, self._readers) | self._kept(index, slow, self._slow_readers)
        names = kept | {"xid_errors"}
        try:
            self._gpm[index] = _Gpm(n, handle)
            names |= set(GPM)
        except (n.NVMLError, AttributeError) as error:
            self._missing |= {f"gpu{index}.{quantity}": f"GPM: {error}" for quantity in GPM}
        self._xids[index] = 0
        return {
            f"gpu{index}.{quantity}": Signal(name=f"gpu{index}.{quantity}", unit=unit, label=label, kind=kind)
            for quantity, unit, label, kind in QUANTITIES
            if quantity in names
        }

    def _kept(
        self, index: int, readers: Mapping[str, Callable[[], float]], kept: dict[str, Callable[[], float]]
    ) -> set[str]:
        """Try every reader once, keep those that answer, and return their names."""
        names = set()
        for quantity, read in readers.items():
            try:
                read()
            except self._nvml.NVMLError as error:
                if type(error).__name__ in GONE:
                    raise
                self._missing[f"gpu{index}.{quantity}"] = str(error)
                continue
            kept[f"gpu{index}.{quantity}"] = read
            names.add(quantity)
        return names

    def _open_mig(self, index: int, handle: object) -> dict[str, Signal]:
        """Return the memory signal of each MIG instance; most counters exist for whole GPUs only."""
        n = self._nvml
        try:
            if n.nvmlDeviceGetMigMode(handle)[0] != n.NVML_DEVICE_MIG_ENABLE:
                return {}
            most = n.nvmlDeviceGetMaxMigDeviceCount(handle)
        except (n.NVMLError, AttributeError):
            return {}
        signals = {}
        for k in range(most):
            try:
                part = n.nvmlDeviceGetMigDeviceHandleByIndex(handle, k)
            except n.NVMLError:
                continue
            name = f"gpu{index}.mig{k}.memory_used_bytes"
            self._slow_readers[name] = partial(self._memory_used, part)
            signals[name] = Signal(name=name, unit="B", label=MIG_LABEL.format(k=k))
        return signals

    def _memory_used(self, handle: object) -> float:
        return float(self._nvml.nvmlDeviceGetMemoryInfo(handle).used)

    def _watch_errors(self, count: int) -> None:
        n = self._nvml
        try:
            self._events = n.nvmlEventSetCreate()
            for index in range(count):
                handle = n.nvmlDeviceGetHandleByIndex(index)
                n.nvmlDeviceRegisterEvents(handle, n.nvmlEventTypeXidCriticalError, self._events)
        except (n.NVMLError, AttributeError) as error:
            self._events = None
            self._missing |= {f"gpu{index}.xid_errors": str(error) for index in range(count)}

    def missing(self) -> Mapping[str, str]:
        """Return the signals that the GPUs or the permissions of this process do not allow, with the reason."""
        return self._missing

    def read(self) -> Mapping[str, float]:
        """Return the present values; a signal that fails once is left out this time."""
        values = self._read_all(self._readers)
        for name, read in self._slow_readers.items():
            if self._is_due(name):
                began = time.thread_time()
                values |= self._read_all({name: read})
                self._next(name, time.thread_time() - began)
        for index, gpm in self._gpm.items():
            if self._is_due(f"gpu{index}.gpm"):
                try:
                    values |= {f"gpu{index}.{quantity}": value for quantity, value in gpm.read().items()}
                except self._nvml.NVMLError as error:
                    self._raise_if_gone(f"gpu{index}", error)
                self._next(f"gpu{index}.gpm", 0.0)
        if self._events is not None and self._is_due("events"):
            self._count_errors()
            values |= {f"gpu{index}.xid_errors": float(count) for index, count in self._xids.items()}
            self._next("events", 0.0)
        return values

    def _is_due(self, name: str) -> bool:
        return time.monotonic() >= self._due_s.get(name, 0.0)

    def _next(self, name: str, took_s: float) -> None:
        """Set when a signal is read again: a second from now, later where reading it takes long."""
        self._due_s[name] = time.monotonic() + max(SLOW_S, took_s / MOST_SHARE) - self.period_s / 2

    def answers(self) -> Mapping[str, Callable[[], object]]:
        """Return the reader of each signal, with all of GPM's metrics of a GPU as one, so that each can be timed."""
        gpm = {f"gpu{index}.gpm": unit.read for index, unit in self._gpm.items()}
        return {**self._readers, **self._slow_readers, **gpm}

    def _read_all(self, readers: Mapping[str, Callable[[], float]]) -> dict[str, float]:
        values = {}
        for name, read in readers.items():
            try:
                values[name] = read()
            except self._nvml.NVMLError as error:
                self._raise_if_gone(name.split(".", 1)[0], error)
        return values

    @staticmethod
    def _raise_if_gone(gpu: str, error: Exception) -> None:
        if type(error).__name__ in GONE:
            raise SourceLost(f"{gpu} is lost: {error}") from error

    def _count_errors(self) -> None:
        n = self._nvml
        try:
            event = n.nvmlEventSetWait_v2(self._events, 0)
        except n.NVMLError:  # none came
            return
        for index in self._xids:
            if n.nvmlDeviceGetIndex(event.device) == index:
                self._xids[index] += 1

    def close(self) -> None:
        """Close NVML and drop the readers."""
        if not self._is_open:
            return
        self._is_open = False
        n = self._nvml
        for gpm in self._gpm.values():
            gpm.close()
        self._gpm, self._readers, self._slow_readers = {}, {}, {}
        try:
            if self._events is not None:
                n.nvmlEventSetFree(self._events)
                self._events = None
            n.nvmlShutdown()
        except n.NVMLError:  # the GPU that vanished takes its handles with it
            return


class _Gpm:
    """Activity of a GPU's units between two samples (Hopper and later)."""

    def __init__(self, nvml: ModuleType, handle: object) -> None:
        self._nvml, self._handle = nvml, handle
        if not nvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice:
            raise AttributeError(gettext_noop("this GPU does not support it"))
        self._before, self._now = nvml.nvmlGpmSampleAlloc(), nvml.nvmlGpmSampleAlloc()
        nvml.nvmlGpmSampleGet(handle, self._before)

    def read(self) -> dict[str, float]:
        """Return the activity since the last sample."""
        n = self._nvml
        n.nvmlGpmSampleGet(self._handle, self._now)
        request = n.c_nvmlGpmMetricsGet_t()
        request.version = n.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = len(GPM)
        request.sample1, request.sample2 = self._before, self._now
        for i, (metric, _) in enumerate(GPM.values()):
            request.metrics[i].metricId = getattr(n, f"NVML_GPM_METRIC_{metric}")
        n.nvmlGpmMetricsGet(request)
        values = {}
        for i, (quantity, (_, factor)) in enumerate(GPM.items()):
            metric = request.metrics[i]
            value = float(metric.value)
            if metric.nvmlReturn == 0 and value == value:
                values[quantity] = value * factor
        self._before, self._now = self._now, self._before
        return values

    def close(self) -> None:
        """Free the two samples of this GPU."""
        for sample in (self._before, self._now):
            with suppress(self._nvml.NVMLError, ctypes.ArgumentError):
                self._nvml.nvmlGpmSampleFree(sample)


def slowed_by(bits: float) -> list[str]:
    """Return why the clocks of a GPU are throttled, from NVML's event reasons; idling is not one of them."""
    return [text for bit, text in REASONS.items() if int(bits) & bit]
