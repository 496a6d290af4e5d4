"""The environment of a run: machine, driver, packages and revision of the source tree."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import psutil

from workbench.core.devices import Device
from workbench.core.runs import Environment
from workbench.telemetry.devices import processor_name

PACKAGES = ("inference-workbench", "torch", "torchao", "transformers", "onnx", "onnxruntime", "numpy", "triton")


def package_version(name: str) -> str | None:
    """Return the installed version of a package; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_revision() -> str | None:
    """Return the commit of the source tree, marked when it has changes; None outside a checkout.

    For a copy without ``.git`` the variable ``WORKBENCH_REVISION`` can name the commit.
    """
    if os.environ.get("WORKBENCH_REVISION"):
        return os.environ["WORKBENCH_REVISION"]
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    folder = Path(__file__).parent
    try:
        revision = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return revision.stdout.strip() or None


def read_environment(device: Device) -> Environment:
    """Return the environment of a run on a device."""
    versions = {name: package_version(name) for name in PACKAGES}
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
    """Return the number of processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
