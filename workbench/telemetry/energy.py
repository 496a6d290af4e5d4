"""Energy that a GPU or a processor has used, from the device's counter."""

from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


def energy_meter(device: str, *, index: int = 0) -> Callable[[], float | None]:
    """Return a function that reads a GPU's energy counter in joules; it returns None on a CPU, and where NVML has no counter."""
    if device != "cuda":
        return lambda: None
    try:
        import pynvml
    except ImportError:
        return lambda: None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:
        return lambda: None
    return lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3


def processor_meter(folder: Path = POWERCAP) -> Callable[[], float | None]:
    """Return a function that reads the energy counters of the processor packages (RAPL) in joules; it returns None where none can be read.

    An overflow between two reads is corrected with the range that the kernel reports. The kernel shows
    ``intel-rapl:N`` for each package, on AMD too.
    """
    packages = [p for p in sorted(folder.glob("intel-rapl:*")) if p.name.count(":") == 1]
    last: dict[Path, int] = {}
    overflow_uj: dict[Path, int] = {}

    def read() -> float | None:
        total = 0.0
        try:
            for p in packages:
                now = int((p / "energy_uj").read_text())
                if now < last.get(p, 0):
                    overflow_uj[p] = overflow_uj.get(p, 0) + int((p / "max_energy_range_uj").read_text())
                last[p] = now
                total += (now + overflow_uj.get(p, 0)) / 1e6
        except (OSError, ValueError):
            return None
        return total if packages else None

    return read
