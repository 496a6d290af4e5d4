"""The devices of this machine."""

import platform
import re
from pathlib import Path

import psutil

from workbench.core.devices import Device
from workbench.core.language import gettext, gettext_noop

# Names that NVML gives, by row of data/hardware.csv; the first prefix that fits counts.
CATALOG_NAMES = (
    ("NVIDIA H200 NVL", "h200-nvl"),
    ("NVIDIA H200", "h200-sxm"),
    ("NVIDIA H100 PCIe", "h100-pcie"),
    ("NVIDIA H100 NVL", "h100-nvl"),
    ("NVIDIA H100", "h100-sxm"),
    ("NVIDIA B200", "b200-sxm"),
    ("NVIDIA B300", "b300-sxm"),
    ("NVIDIA A100-SXM4-40GB", "a100-sxm-40"),
    ("NVIDIA A100-SXM4-80GB", "a100-sxm-80"),
    ("NVIDIA A100-PCIE-40GB", "a100-pcie-40"),
    ("NVIDIA A100 80GB PCIe", "a100-pcie-80"),
    ("NVIDIA L40S", "l40s"),
    ("NVIDIA L4", "l4"),
    ("NVIDIA A10G", "a10g"),
    ("NVIDIA A10", "a10"),
    ("Tesla T4", "t4"),
    ("NVIDIA GeForce RTX 4090", "rtx4090"),
    ("NVIDIA GeForce RTX 5090", "rtx5090"),
)


def processor_name() -> str:
    """Return the name that the maker gives the processor."""
    info = Path("/proc/cpuinfo")
    match = re.search(r"^model name\s*:\s*(.*\S)", info.read_text(), re.MULTILINE) if info.exists() else None
    return match[1] if match else platform.processor() or platform.machine()


def cpu_device() -> Device:
    """Return the processor of this machine as a device, with its memory."""
    memory = psutil.virtual_memory()
    return Device(kind="cpu", name=processor_name(), memory_bytes=memory.total, free_bytes=memory.available)


def gpu_devices() -> tuple[list[Device], str | None]:
    """Return the NVIDIA GPUs, or none and the reason why there are none."""
    try:
        import pynvml
    except ImportError:
        return [], gettext_noop("the package nvidia-ml-py is not installed")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], gettext("NVML does not start: {error}").format(error=error)
    try:
        driver = pynvml.nvmlSystemGetDriverVersion()
        gpus = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            name = pynvml.nvmlDeviceGetName(handle)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
            gpus.append(
                Device(
                    kind="cuda",
                    name=name,
                    memory_bytes=memory.total,
                    free_bytes=memory.free,
                    compute_capability=major + minor / 10,
                    driver=driver,
                    catalog_id=catalog_id(name),
                )
            )
        return gpus, None if gpus else gettext_noop("NVML finds no GPU")
    except pynvml.NVMLError as error:
        return [], gettext("NVML cannot read the GPUs: {error}").format(error=error)
    finally:
        pynvml.nvmlShutdown()


def catalog_id(name: str) -> str | None:
    """Return the row of the hardware catalogue for a name that NVML gives."""
    return next((row for prefix, row in CATALOG_NAMES if name.startswith(prefix)), None)


def chosen_device(choice: str) -> Device:
    """Return the device for "auto", "cpu" or "cuda"; raises ``NotAvailable`` when a GPU is asked for and none is there."""
    from workbench.core.errors import NotAvailable

    gpus, problem = gpu_devices() if choice != "cpu" else ([], None)
    if gpus:
        return gpus[0]
    if choice == "cuda":
        raise NotAvailable(
            gettext("There is no GPU to run on: {problem}.").format(problem=gettext(problem or "")),
            remedy=gettext("Choose the device cpu or auto."),
        )
    return cpu_device()
