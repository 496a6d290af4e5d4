"""The energy that a GPU has used, from its own counter."""

from collections.abc import Callable


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
