"""What took part in a run: machine, driver, packages and the state of the source tree."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import psutil

from workbench.core.devices import Device
from workbench.core.runs import Environment
from workbench.telemetry.devices import processor_name

RECORDED_PACKAGES = (
    "inference-workbench",
    "torch",
    "torchao",
    "transformers",
    "onnx",
    "onnxruntime",
    "numpy",
    "triton",
)


def package_version(name: str) -> str | None:
    """Installed version, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_revision() -> str | None:
    """The commit of the source tree, marked when it has changes; None outside a checkout.

    A copy without ``.git`` may say where it comes from in ``WORKBENCH_REVISION``.
    """
    if os.environ.get("WORKBENCH_REVISION"):
        return os.environ["WORKBENCH_REVISION"]
    folder = Path(__file__).parent
    try:
        revision = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return revision.stdout.strip() or None


def read_environment(device: Device) -> Environment:
    """The environment of a run on a device."""
    versions = {name: package_version(name) for name in RECORDED_PACKAGES}
    return Environment(
        device=device.name,
        device_id=device.catalog_id or device.kind,
        cpu=processor_name(),
        n_cpus=n_usable_cpus(),
        memory_bytes=psutil.virtual_memory().total,
        driver=device.driver,
        python=platform.python_version(),
        packages={name: version for name, version in versions.items() if version},
        git_revision=git_revision(),
    )


def n_usable_cpus() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
