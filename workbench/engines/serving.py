"""How a model is served by an engine on this machine: the command, its variables, and what must be made first."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import REFERENCE_MODEL, located
from workbench.core.errors import NotAModel, NotAvailable, WorkbenchError
from workbench.core.language import gettext
from workbench.engines import environments
from workbench.engines.lmdeploy import lmdeploy_command
from workbench.engines.server import ServerFailed
from workbench.engines.vllm import vllm_command, vllm_variables

NAMES = {"vllm": "vLLM", "lmdeploy": "LMDeploy", "torch": "PyTorch (transformers)", "onnx": "ONNX Runtime"}
STARTABLE = tuple(NAMES)
TEXT_FILES = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "generation_config.json")
"""What a model's tokenizer and chat template read beside ``tokenizer.json``, where it has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A command that serves a model."""

    command: tuple[str, ...]
    variables: Mapping[str, str]
    version: str | None


def launch_for(
    engine: str,
    model: str,
    *,
    name: str,
    port: int,
    device: str,
    cache: Path,
    tell: Callable[[str], None],
    extra: Sequence[str] = (),
) -> Launch:
    """Return the launch command of an engine of ``STARTABLE``; a model is a folder, or for vLLM and LMDeploy a hub id.

    ``cache`` keeps exported graphs, and ``tell`` takes a line when something takes time.

    Raises:
        NotAvailable: the engine is not installed, or does not run on this device.
        NotAModel: torch and ONNX need a folder, with a configuration and files that are whole.
    """
    place = Path(located(model))
    if engine == "vllm":
        environment = environments.require("vllm", device=device)
        command = vllm_command(environment, str(place), name=name, port=port, device=device, extra=extra)
        variables = vllm_variables(device=device, offline=place.is_dir())
        return Launch(command=tuple(command), variables=variables, version=f"vLLM {environment.version}")
    if engine == "lmdeploy":
        environment = environments.require("lmdeploy", device=device)
        command = lmdeploy_command(environment, str(place), name=name, port=port, extra=extra)
        hub = {"HF_HUB_OFFLINE": "1"} if place.is_dir() else {}
        return Launch(command=tuple(command), variables=hub, version=f"LMDeploy {environment.version}")
    if engine not in STARTABLE:
        raise ServerFailed(
            gettext("{engine} is not an engine that can be started.").format(engine=repr(engine)),
            remedy=gettext("Choose from: {names}.").format(names=", ".join(STARTABLE)),
        )
    if engine == "onnx" and device != "cpu":
        raise NotAvailable(
            gettext("The ONNX engine runs on the CPU only."), remedy=gettext("Choose the device cpu for it.")
        )
    model_spec_from(str(place))
    if not (place / "config.json").exists():
        raise NotAModel(
            gettext("{model} is not a folder with a transformers model.").format(model=model),
            remedy=gettext("Name one that holds config.json."),
        )
    folder = exported(place, cache=cache, tell=tell) if engine == "onnx" else place
    own = [sys.executable, "-m", "workbench.engines.openai_server", "--engine", engine, "--model", str(folder)]
    command = [*own, "--name", name, "--port", str(port), "--device", device, *extra]
    return Launch(command=tuple(command), variables={}, version=None)


def exported(folder: Path, *, cache: Path, tell: Callable[[str], None]) -> Path:
    """Return the ONNX graph of a model, exported once and kept until the model changes; raises ``NotAModel`` without a tokenizer."""
    if not (folder / "tokenizer.json").is_file():
        raise NotAModel(
            gettext("{folder} has no tokenizer.json.").format(folder=folder.name),
            remedy=gettext("Name a folder with a fast tokenizer."),
        )

    def make(target: Path) -> None:
        tell("exporting to ONNX")
        _made_by("workbench.compress.onnx_export", folder, target / "model.onnx", what=gettext("The export to ONNX"))
        for name in ("tokenizer.json", "config.json"):
            shutil.copy(folder / name, target / name)
        for name in TEXT_FILES:
            if (folder / name).exists():
                shutil.copy(folder / name, target / name)

    return _kept(folder, cache, make)


def with_random_weights(folder: Path, *, cache: Path, tell: Callable[[str], None]) -> Path:
    """Return a model of the same shape with random weights, written once and kept until the configuration changes."""
    if not (folder / "config.json").exists():
        raise NotAModel(
            gettext("{folder} has no config.json.").format(folder=folder.name),
            remedy=gettext("Name a folder with a model's configuration."),
        )

    def make(target: Path) -> None:
        tell("writing random weights")
        own = folder / "tokenizer.json"
        tokenizer = own if own.exists() else REFERENCE_MODEL / "tokenizer.json"
        _made_by("workbench.engines.random_model", folder, target, tokenizer, what=gettext("Writing random weights"))

    return _kept(folder, cache, make)


def image_model(folder: Path, *, cache: Path) -> Path:
    """Return the folder of a vision-language shape with a processor and a tokenizer, for an engine with dummy weights."""
    if not (folder / "preprocessor_config.json").exists():
        raise NotAModel(
            gettext("{folder} has no preprocessor_config.json.").format(folder=folder.name),
            remedy=gettext("Name the folder of a vision-language model."),
        )
    module, tokenizer = "workbench.engines.image_model", REFERENCE_MODEL / "tokenizer.json"
    return _kept(
        folder, cache, lambda target: _made_by(module, folder, target, tokenizer, what=gettext("Writing a processor"))
    )


def rounded_weights(folder: Path, *, bits: int, cache: Path) -> Path:
    """Return the model with its linear layers rounded to so many bits, written once and kept until the model changes."""
    module, place = "workbench.compress.rounded_folder", cache / f"{bits}-bits"
    return _kept(
        folder, place, lambda target: _made_by(module, folder, target, str(bits), what=gettext("Rounding weights"))
    )


def _kept(folder: Path, cache: Path, make: Callable[[Path], None]) -> Path:
    """Return the folder that ``make`` fills, under a name that changes with the files of the model."""
    digest = hashlib.sha256(f"3 {folder.resolve()}".encode())
    for file in sorted(folder.iterdir()):
        digest.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}".encode())
    target = cache / digest.hexdigest()[:16]
    if (target / "config.json").exists():
        return target
    unfinished = target.with_suffix(f".{os.getpid()}.part")
    unfinished.mkdir(parents=True)
    try:
        make(unfinished)
        unfinished.rename(target)
    except (OSError, WorkbenchError):
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return target


def _made_by(module: str, *paths: Path | str, what: str) -> None:
    command = [sys.executable, "-m", module, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1][-300:]
        raise ServerFailed(
            gettext("{what} failed: {reason}").format(what=what, reason=last),
            remedy=gettext("Use another engine, or free disk space if it ran out."),
        )
