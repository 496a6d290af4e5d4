"""The machine around the GPUs: processors, pressure, throttling, memory, disk and network."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from workbench.core.samples import Signal

PRESSURE = Path("/proc/pressure")
CGROUP = (Path("/sys/fs/cgroup/cpu.stat"), Path("/sys/fs/cgroup/cpu/cpu.stat"))
SLOW_S = 1.0  # between readings of what only counts, and of memory
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100

SIGNALS = {
    s.name: s
    for s in (
        Signal(name="host.cpu_percent", unit="%", label="processors busy, of all"),
        Signal(name="host.busiest_core_percent", unit="%", label="busiest processor core"),
        Signal(name="host.steal_percent", unit="%", label="processor time taken by other machines"),
        Signal(name="host.cpu_stalled_s", unit="s", label="some task waited for a processor", kind="counter"),
        Signal(name="host.memory_stalled_s", unit="s", label="some task waited for memory", kind="counter"),
        Signal(name="host.io_stalled_s", unit="s", label="some task waited for a disk", kind="counter"),
        Signal(name="host.throttled_s", unit="s", label="stopped by the container's processor limit", kind="counter"),
        Signal(name="host.memory_used_bytes", unit="B", label="memory in use"),
        Signal(name="host.swap_used_bytes", unit="B", label="swap in use"),
        Signal(name="host.disk_read_bytes", unit="B", label="read from disks", kind="counter"),
        Signal(name="host.disk_written_bytes", unit="B", label="written to disks", kind="counter"),
        Signal(name="host.received_bytes", unit="B", label="received from networks", kind="counter"),
        Signal(name="host.sent_bytes", unit="B", label="sent to networks", kind="counter"),
        Signal(name="host.retransmitted_segments", unit="", label="TCP segments sent again", kind="counter"),
        Signal(name="process.busiest_thread_percent", unit="%", label="busiest thread of the watched processes"),
        Signal(name="process.cpu_percent", unit="%", label="watched processes, of one core"),
        Signal(name="process.memory_bytes", unit="B", label="resident memory of the watched processes"),
    )
}


class HostSource:
    """Reads this machine; signals that its system lacks are left out with the reason.

    Args:
        pids: Processes whose threads are watched too, with their children at the time of opening.
    """

    name = "host"

    def __init__(self, pids: Sequence[int] = (), *, period_s: float = 0.1) -> None:
        self.period_s = period_s
        self.pids = tuple(pids)
        self._missing: dict[str, str] = {}
        self._cores: list[tuple[float, float, float]] = []
        self._threads: dict[int, float] = {}
        self._at = 0.0
        self._readers: list[Callable[[], Mapping[str, float]]] = []
        self._slow_readers: list[Callable[[], Mapping[str, float]]] = []
        self._slow_at = 0.0

    def open(self) -> Mapping[str, Signal]:
        """All signals that this system has."""
        self._missing, self._readers = {}, [self._processors]
        self._slow_readers, self._slow_at = [self._memory, self._traffic], 0.0
        for what in ("cpu", "memory", "io"):
            if not (PRESSURE / what).is_file():
                self._missing[f"host.{what}_stalled_s"] = "the kernel has no pressure stall information"
        if len(self._missing) < 3:
            self._slow_readers.append(self._pressure)
        self._cgroup = next((p for p in CGROUP if p.is_file()), None)
        if self._cgroup is None:
            self._missing["host.throttled_s"] = "there is no cpu.stat of a control group"
        else:
            self._slow_readers.append(self._throttled)
        if Path("/proc/net/snmp").is_file():
            self._slow_readers.append(self._segments)
        else:
            self._missing["host.retransmitted_segments"] = "there is no /proc/net/snmp"
        if self.pids:
            self._readers.append(self._watched)
            self._watched()
        self._cores = _core_times()
        self._at = time.monotonic()
        return SIGNALS

    def missing(self) -> Mapping[str, str]:
        """Signals that are left out."""
        return self._missing

    def read(self) -> Mapping[str, float]:
        """Values of now; shares are of the time since the last reading."""
        told: dict[str, float] = {}
        for reader in self._readers:
            told |= reader()
        self._at = time.monotonic()
        if self._at - self._slow_at >= SLOW_S:
            self._slow_at = self._at
            for reader in self._slow_readers:
                told |= reader()
        return told

    def close(self) -> None:
        """Nothing is held open."""

    def _processors(self) -> Mapping[str, float]:
        before, self._cores = self._cores, _core_times()
        shares, steals = [], []
        for (busy, idle, steal), (b0, i0, s0) in zip(self._cores, before, strict=False):
            total = (busy - b0) + (idle - i0)
            if total > 0:
                shares.append(100 * (busy - b0) / total)
                steals.append(100 * (steal - s0) / total)
        if not shares:
            return {}
        return {
            "host.cpu_percent": sum(shares) / len(shares),
            "host.busiest_core_percent": max(shares),
            "host.steal_percent": sum(steals) / len(steals),
        }

    @staticmethod
    def _memory() -> Mapping[str, float]:
        memory = psutil.virtual_memory()
        return {
            "host.memory_used_bytes": float(memory.total - memory.available),
            "host.swap_used_bytes": float(psutil.swap_memory().used),
        }

    @staticmethod
    def _traffic() -> Mapping[str, float]:
        told: dict[str, float] = {}
        disk, net = psutil.disk_io_counters(), psutil.net_io_counters()
        if disk is not None:
            told |= {"host.disk_read_bytes": float(disk.read_bytes), "host.disk_written_bytes": float(disk.write_bytes)}
        if net is not None:
            told |= {"host.received_bytes": float(net.bytes_recv), "host.sent_bytes": float(net.bytes_sent)}
        return told

    def _pressure(self) -> Mapping[str, float]:
        told = {}
        for what in ("cpu", "memory", "io"):
            try:
                some = (PRESSURE / what).read_text().split("\n", 1)[0]
            except OSError:  # some kernels have the files and refuse to read them
                continue
            told[f"host.{what}_stalled_s"] = int(some.rsplit("total=", 1)[1]) / 1e6
        return told

    def _throttled(self) -> Mapping[str, float]:
        assert self._cgroup is not None
        for line in self._cgroup.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key in {"throttled_usec", "throttled_time"}:
                return {"host.throttled_s": int(value) / (1e6 if key == "throttled_usec" else 1e9)}
        return {}

    @staticmethod
    def _segments() -> Mapping[str, float]:
        lines = [x.split() for x in Path("/proc/net/snmp").read_text().splitlines() if x.startswith("Tcp:")]
        if len(lines) < 2 or "RetransSegs" not in lines[0]:
            return {}
        return {"host.retransmitted_segments": float(lines[1][lines[0].index("RetransSegs")])}

    def _watched(self) -> Mapping[str, float]:
        now, used, resident = time.monotonic(), {}, 0.0
        for pid in self.pids:
            try:
                for entry in os.scandir(f"/proc/{pid}/task"):
                    fields = Path(entry.path, "stat").read_text().rsplit(")", 1)[1].split()
                    used[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICKS
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                resident += pages * os.sysconf("SC_PAGE_SIZE")
            except (OSError, IndexError, ValueError):  # it ended, or this is no Linux
                continue
        before, self._threads = self._threads, used
        elapsed = now - self._at
        spent = [used[t] - before[t] for t in used if t in before]
        if not spent or elapsed <= 0:
            return {}
        return {
            "process.busiest_thread_percent": 100 * max(spent) / elapsed,
            "process.cpu_percent": 100 * sum(spent) / elapsed,
            "process.memory_bytes": resident,
        }


def _core_times() -> list[tuple[float, float, float]]:
    """Busy, idle and stolen seconds of each core since the start."""
    made = []
    for t in psutil.cpu_times(percpu=True):
        idle = t.idle + getattr(t, "iowait", 0.0)
        steal = getattr(t, "steal", 0.0)
        busy = t.user + t.system + getattr(t, "nice", 0.0) + getattr(t, "irq", 0.0) + getattr(t, "softirq", 0.0) + steal
        made.append((busy, idle, steal))
    return made
