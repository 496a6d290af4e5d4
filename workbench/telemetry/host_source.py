"""Signals of the host: processors, pressure stalls, throttling, memory, disk and network."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from workbench.core.language import gettext_noop
from workbench.telemetry.samples import Signal

PRESSURE = Path("/proc/pressure")
CGROUP = (Path("/sys/fs/cgroup/cpu.stat"), Path("/sys/fs/cgroup/cpu/cpu.stat"))
SLOW_S = 1.0  # between readings of what only counts, and of memory
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
MOST_READ_BYTES = 1 << 18
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100

SIGNALS = {
    s.name: s
    for s in (
        Signal(name="host.cpu_percent", unit="%", label=gettext_noop("processor utilization, mean of all cores")),
        Signal(name="host.cores", unit="", label=gettext_noop("processor cores")),
        Signal(name="host.memory_bytes", unit="B", label=gettext_noop("memory of the machine")),
        Signal(name="host.busiest_core_percent", unit="%", label=gettext_noop("utilization of the busiest core")),
        Signal(name="host.steal_percent", unit="%", label=gettext_noop("steal time of other virtual machines")),
        Signal(
            name="host.cpu_stalled_s",
            unit="s",
            label=gettext_noop("pressure stall: tasks that waited for a processor"),
            kind="counter",
        ),
        Signal(
            name="host.memory_stalled_s",
            unit="s",
            label=gettext_noop("pressure stall: tasks that waited for memory"),
            kind="counter",
        ),
        Signal(
            name="host.io_stalled_s",
            unit="s",
            label=gettext_noop("pressure stall: tasks that waited for a disk"),
            kind="counter",
        ),
        Signal(
            name="host.throttled_s",
            unit="s",
            label=gettext_noop("throttled by the container's CPU limit"),
            kind="counter",
        ),
        Signal(name="host.memory_used_bytes", unit="B", label=gettext_noop("memory in use")),
        Signal(name="host.swap_used_bytes", unit="B", label=gettext_noop("swap in use")),
        Signal(name="host.disk_read_bytes", unit="B", label=gettext_noop("read from disks"), kind="counter"),
        Signal(name="host.disk_written_bytes", unit="B", label=gettext_noop("written to disks"), kind="counter"),
        Signal(name="host.received_bytes", unit="B", label=gettext_noop("received from networks"), kind="counter"),
        Signal(name="host.sent_bytes", unit="B", label=gettext_noop("sent to networks"), kind="counter"),
        Signal(
            name="host.retransmitted_segments",
            unit="",
            label=gettext_noop("TCP segments retransmitted"),
            kind="counter",
        ),
        Signal(
            name="process.busiest_thread_percent",
            unit="%",
            label=gettext_noop("busiest thread of the watched processes"),
        ),
        Signal(name="process.cpu_percent", unit="%", label=gettext_noop("watched processes, of one core")),
        Signal(name="process.memory_bytes", unit="B", label=gettext_noop("resident memory of the watched processes")),
        Signal(name="server.cpu_percent", unit="%", label=gettext_noop("server's processes, of one core")),
        Signal(name="server.busiest_thread_percent", unit="%", label=gettext_noop("server's busiest thread")),
        Signal(
            name="server.waited_percent",
            unit="%",
            label=gettext_noop("server's threads ready but without a core, of one core"),
        ),
        Signal(name="server.allowed_cores", unit="", label=gettext_noop("cores that the server may use")),
        Signal(name="server.memory_bytes", unit="B", label=gettext_noop("resident memory of the server")),
        Signal(
            name="server.major_faults", unit="", label=gettext_noop("server's pages read from disk"), kind="counter"
        ),
    )
}


class HostSource:
    """Reads the signals of this machine; those that its system lacks are left out with the reason.

    It also reads the threads of ``pids``, and those of a server's process and of the children that it has when the source opens.
    """

    name = "host"

    def __init__(self, pids: Sequence[int] = (), *, server_pid: int | None = None, period_s: float = 0.1) -> None:
        self.period_s = period_s
        self.pids = tuple(pids)
        self._server_pid = server_pid
        self._server: tuple[int, ...] = ()
        self._missing: dict[str, str] = {}
        self._cores: list[tuple[float, float, float]] = []
        self._threads: dict[str, dict[int, tuple[float, float]]] = {}
        self._files = _KeptFiles()
        self._at = 0.0
        self._readers: list[Callable[[], Mapping[str, float]]] = []
        self._slow_readers: list[Callable[[], Mapping[str, float]]] = []
        self._slow_at = 0.0

    def open(self) -> Mapping[str, Signal]:
        """Return all signals that this system has."""
        self._missing, self._readers = {}, [self._processors]
        self._slow_readers, self._slow_at = [self._memory, self._traffic], 0.0
        for what in ("cpu", "memory", "io"):
            if not (PRESSURE / what).is_file():
                self._missing[f"host.{what}_stalled_s"] = gettext_noop("the kernel has no pressure stall information")
        if len(self._missing) < 3:
            self._slow_readers.append(self._pressure)
        self._cgroup = next((p for p in CGROUP if p.is_file()), None)
        if self._cgroup is None:
            self._missing["host.throttled_s"] = gettext_noop("there is no cpu.stat of a control group")
        else:
            self._slow_readers.append(self._throttled)
        if Path("/proc/net/snmp").is_file():
            self._slow_readers.append(self._segments)
        else:
            self._missing["host.retransmitted_segments"] = gettext_noop("there is no /proc/net/snmp")
        self._at = time.monotonic()
        self._threads = {}
        self._server = _family(self._server_pid) if self._server_pid is not None else ()
        for watched, pids in ((self._watched, self.pids), (self._serving, self._server)):
            if pids:
                self._readers.append(watched)
                watched()
        self._cores = _core_times(self._files)
        return SIGNALS

    def missing(self) -> Mapping[str, str]:
        """Return the signals that are left out, with the reason."""
        return self._missing

    def read(self) -> Mapping[str, float]:
        """Return the present values; shares are of the time since the last read."""
        values: dict[str, float] = {}
        for reader in self._readers:
            values |= reader()
        self._at = time.monotonic()
        if self._at - self._slow_at >= SLOW_S:
            self._slow_at = self._at
            for reader in self._slow_readers:
                values |= reader()
        return values

    def close(self) -> None:
        """Close the kernel's files that are open."""
        self._files.close()

    def _processors(self) -> Mapping[str, float]:
        before, self._cores = self._cores, _core_times(self._files)
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
            "host.cores": float(psutil.cpu_count() or 1),
            "host.memory_bytes": float(memory.total),
            "host.memory_used_bytes": float(memory.total - memory.available),
            "host.swap_used_bytes": float(psutil.swap_memory().used),
        }

    @staticmethod
    def _traffic() -> Mapping[str, float]:
        values: dict[str, float] = {}
        disk, net = psutil.disk_io_counters(), psutil.net_io_counters()
        if disk is not None:
            values |= {
                "host.disk_read_bytes": float(disk.read_bytes),
                "host.disk_written_bytes": float(disk.write_bytes),
            }
        if net is not None:
            values |= {"host.received_bytes": float(net.bytes_recv), "host.sent_bytes": float(net.bytes_sent)}
        return values

    def _pressure(self) -> Mapping[str, float]:
        values = {}
        for what in ("cpu", "memory", "io"):
            try:
                some = (PRESSURE / what).read_text().split("\n", 1)[0]
            except OSError:  # some kernels have the files and refuse to read them
                continue
            values[f"host.{what}_stalled_s"] = int(some.rsplit("total=", 1)[1]) / 1e6
        return values

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
        spent, _, resident = self._since("process", self.pids)
        names = ("process.busiest_thread_percent", "process.cpu_percent", "process.memory_bytes")
        return dict(zip(names, (max(spent), sum(spent), resident), strict=True)) if spent else {}

    def _serving(self) -> Mapping[str, float]:
        spent, waited, resident = self._since("server", self._server)
        if not spent:
            return {}
        values = {
            "server.busiest_thread_percent": max(spent),
            "server.cpu_percent": sum(spent),
            "server.waited_percent": sum(waited),
            "server.memory_bytes": resident,
        }
        try:
            values["server.allowed_cores"] = float(min(len(os.sched_getaffinity(p)) for p in self._server))
            values["server.major_faults"] = float(sum(_major_faults(p) for p in self._server))
        except (OSError, AttributeError):  # one of them ended, or this is no Linux
            pass
        return values

    def _thread_times(self, pid: int, thread: int) -> tuple[float, float]:
        """Return the seconds that a thread has run, and was ready without a core; the second is 0 where the kernel does not count it."""
        task = f"/proc/{pid}/task/{thread}"
        try:
            ran, waited, *_ = self._files.read(f"{task}/schedstat").split()
            return int(ran) / 1e9, int(waited) / 1e9
        except (PermissionError, ValueError):
            fields = self._files.read(f"{task}/stat").rsplit(b")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / TICKS, 0.0

    def _since(self, name: str, pids: Sequence[int]) -> tuple[list[float], list[float], float]:
        """Return the percent of a core that each thread used and waited for since the last read, and resident bytes."""
        now: dict[int, tuple[float, float]] = {}
        resident = 0.0
        for pid in pids:
            try:
                for thread in self._files.threads(pid):
                    with suppress(ProcessLookupError, FileNotFoundError):  # it ended since its process was looked at
                        now[thread] = self._thread_times(pid, thread)
                pages = int(self._files.read(f"/proc/{pid}/statm").split()[1])
                resident += pages * PAGE_BYTES
            except (OSError, IndexError, ValueError):  # it ended, or this is no Linux
                continue
        before, self._threads[name] = self._threads.get(name, {}), now
        elapsed = time.monotonic() - self._at
        both = [t for t in now if t in before]
        if not both or elapsed <= 0:
            return [], [], resident
        spent, waited = ([100 * (now[t][i] - before[t][i]) / elapsed for t in both] for i in (0, 1))
        return spent, waited, resident


class _KeptFiles:
    """Files of the kernel that are opened once and read many times, because opening takes longer than reading."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}
        self._threads: dict[int, tuple[float, list[int]]] = {}

    def read(self, path: str) -> bytes:
        """Return the present content of a file; raises ``OSError`` when the file is gone."""
        kept = self._open.get(path)
        if kept is None:
            kept = self._open[path] = os.open(path, os.O_RDONLY)
        try:
            return os.pread(kept, MOST_READ_BYTES, 0)
        except OSError:
            os.close(self._open.pop(path))
            raise

    def threads(self, pid: int) -> list[int]:
        """Return the threads of a process, looked up at most once a second."""
        now = time.monotonic()
        at, known = self._threads.get(pid, (-SLOW_S, []))
        if now - at >= SLOW_S:
            known = [int(entry.name) for entry in os.scandir(f"/proc/{pid}/task")]
            self._threads[pid] = now, known
        return known

    def close(self) -> None:
        """Close all files that are open."""
        for kept in self._open.values():
            os.close(kept)
        self._open.clear()
        self._threads.clear()


def _major_faults(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[9])


def _family(pid: int) -> tuple[int, ...]:
    """Return a process and its children; none when it has ended."""
    try:
        process = psutil.Process(pid)
        return (pid, *(c.pid for c in process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return ()


def listening_on(port: int) -> int | None:
    """Return the process of this machine that listens on a TCP port; None when there is none, or no permission to see it."""
    try:
        listening = (c for c in psutil.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN)
        return next((c.pid for c in listening if c.laddr and c.laddr.port == port), None)
    except (psutil.AccessDenied, OSError):
        return None


def _core_times(files: _KeptFiles) -> list[tuple[float, float, float]]:
    """Return busy, idle and stolen seconds of each core since the start; see proc_stat(5) for the columns."""
    cores = []
    try:
        for line in files.read("/proc/stat").split(b"\n", 1 + (os.cpu_count() or 1)):
            name, *columns = line.split()
            if name == b"cpu":
                continue
            if not name.startswith(b"cpu"):
                break
            user, nice, system, idle, waiting, irq, soft, steal = (int(c) / TICKS for c in columns[:8])
            cores.append((user + nice + system + irq + soft + steal, idle + waiting, steal))
    except (OSError, ValueError):  # this is no Linux
        return [(t.user + t.system + getattr(t, "nice", 0.0), t.idle, 0.0) for t in psutil.cpu_times(percpu=True)]
    return cores
