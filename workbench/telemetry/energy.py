"""The energy that a GPU or a processor has used, from its own counter."""

from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


def energy_meter(device: str, *, index: int = 0) -> Callable[[], float | None]:
    """A function that reads a GPU's counter in joule; on a CPU, and where NVML has no counter, it gives None."""
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
    """A function that reads the processor packages' counters (RAPL) in joule; where there is none that may be read, it gives None.

    A counter that runs over between two reads is put right with the range that the kernel names.

    Args:
        folder: Where the kernel shows them: ``intel-rapl:N`` for each package, on AMD too.
    """
    packages = [p for p in sorted(folder.glob("intel-rapl:*")) if p.name.count(":") == 1]
    last: dict[Path, int] = {}
    over: dict[Path, int] = {}

    def read() -> float | None:
        total = 0.0
        try:
            for p in packages:
                now = int((p / "energy_uj").read_text())
                if now < last.get(p, 0):
                    over[p] = over.get(p, 0) + int((p / "max_energy_range_uj").read_text())
                last[p] = now
                total += (now + over.get(p, 0)) / 1e6
        except (OSError, ValueError):
            return None
        return total if packages else None

    return read
