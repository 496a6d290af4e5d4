"""What this machine has, and what is missing or wrong, with the remedy."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.catalog.tables import engines
from workbench.core.language import gettext
from workbench.core.units import GIB, shown_bytes
from workbench.telemetry.devices import cpu_device, gpu_devices
from workbench.telemetry.environment import n_usable_cpus, package_version

LOW_DISK_BYTES, LOW_MEMORY_BYTES = 5 * GIB, 4 * GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the examination."""

    topic: str
    state: Literal["ok", "missing", "problem"]
    value: str
    remedy: str = ""


def examine(home: Path) -> list[Finding]:
    """Return findings on hardware, engines, packages and disk; ``home`` is where runs are kept."""
    return [*_hardware(), *_engines(), *_packages(), *_places(home)]


def _hardware() -> list[Finding]:
    cpu = cpu_device()
    low = cpu.free_bytes < LOW_MEMORY_BYTES
    findings = [
        Finding(
            topic="processor",
            state="problem" if low else "ok",
            value=gettext("{name}, {n} cores, {free} of {total} free").format(
                name=cpu.name,
                n=n_usable_cpus(),
                free=shown_bytes(cpu.free_bytes),
                total=shown_bytes(cpu.memory_bytes),
            ),
            remedy=gettext("Close programs: measurements need about 4 GiB.") if low else "",
        )
    ]
    gpus, reason = gpu_devices()
    for index, gpu in enumerate(gpus):
        busy = gpu.free_bytes < 0.5 * gpu.memory_bytes
        value = gettext("{name}, {free} of {total} free, compute capability {capability}, driver {driver}").format(
            name=gpu.name,
            free=shown_bytes(gpu.free_bytes),
            total=shown_bytes(gpu.memory_bytes),
            capability=gpu.compute_capability,
            driver=gpu.driver,
        )
        remedy = gettext("Another program holds most of its memory: {command} names it.") if busy else ""
        remedy = remedy.format(command="`nvidia-smi`")
        findings.append(Finding(topic=f"GPU {index}", state="problem" if busy else "ok", value=value, remedy=remedy))
    if not gpus:
        remedy = gettext(
            "Measurements run on the CPU; runs measured on an H200 are shown beside them. "
            "To use a GPU, install NVIDIA's driver."
        )
        findings.append(
            Finding(
                topic="GPU",
                state="missing",
                value=gettext("none: {reason}").format(reason=gettext(reason or "")),
                remedy=remedy,
            )
        )
    return findings


def _engines() -> list[Finding]:
    findings = []
    for engine in engines():
        if engine.install != "make lab" and not engine.install.startswith("workbench"):
            continue  # cannot be installed from here; `workbench engines recipes` says how to start it
        if version := package_version(engine.package):
            value = gettext("{version} (tested with {tested}): {use}").format(
                version=version, tested=engine.tested_version, use=gettext(engine.what_for)
            )
            findings.append(Finding(topic=engine.name, state="ok", value=value))
        else:
            value = gettext("not installed: {use}").format(use=gettext(engine.what_for))
            findings.append(Finding(topic=engine.name, state="missing", value=value, remedy=engine.install))
    return findings


def _packages() -> list[Finding]:
    findings = []
    for name in ("transformers", "numpy", "jupyterlab", "ipywidgets", "plotly"):
        if version := package_version(name):
            findings.append(Finding(topic=name, state="ok", value=version))
        else:
            findings.append(Finding(topic=name, state="missing", value=gettext("not installed"), remedy="make lab"))
    remedy = "" if (3, 11) <= sys.version_info[:2] <= (3, 13) else gettext("Use Python 3.11, 3.12 or 3.13.")
    python = Finding(topic="Python", state="problem" if remedy else "ok", value=sys.version.split()[0], remedy=remedy)
    return [*findings, python]


def _places(home: Path) -> list[Finding]:
    existing = next(p for p in (home, *home.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    writable = os.access(existing, os.W_OK)
    value = gettext("{place}, {free} free").format(place=home, free=shown_bytes(free))
    remedy = "" if writable else gettext("Set WORKBENCH_HOME to a writable folder.")
    remedy = remedy or (
        gettext("Free disk space: exports and reference logits need some.") if free < LOW_DISK_BYTES else ""
    )
    has_model = (REFERENCE_MODEL / "model.safetensors").exists()
    return [
        Finding(topic="runs and jobs", state="problem" if remedy else "ok", value=value, remedy=remedy),
        Finding(
            topic="reference model",
            state="ok" if has_model else "missing",
            value=REFERENCE_MODEL.name if has_model else gettext("its weights are missing"),
            remedy=""
            if has_model
            else gettext("{command}, or choose another model.").format(command="git checkout -- data/models"),
        ),
    ]
