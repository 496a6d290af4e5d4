"""Makes one checkpoint in llm-compressor's environment: whole in its place, or not there at all."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from workbench.core.errors import WorkbenchError
from workbench.core.progress import Progress

WEIGHTS = "model*.safetensors"


class MakerFailed(WorkbenchError):
    """llm-compressor could not make a checkpoint."""


def made_checkpoint(python: Path, request: Mapping[str, Any], *, scratch: Path, target: Path) -> Iterator[Progress]:
    """Progress, in percent, until ``target`` holds the checkpoint.

    Args:
        python: Interpreter that has llm-compressor.
        request: What ``checkpoint_maker.py`` asks for, without ``out``.
        scratch: Folder for unfinished files; it exists.
        target: Folder that must not exist yet.

    Raises:
        MakerFailed: it ended with an error, or without weights; nothing is left at ``target``.
    """
    unfinished = scratch / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    asked = scratch / "request.json"
    asked.write_text(json.dumps({**request, "out": str(unfinished)}))
    log = scratch / "maker.log"
    command = [str(python), str(Path(__file__).parent / "checkpoint_maker.py"), str(asked)]
    # The folder of the script holds modules of ours whose names others use, so it must not be searched (-P).
    command.insert(1, "-P")
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    told = json.loads(line)
                    yield Progress(step=told["step"], done=told["done"], total=told["total"])
        finally:
            if process.poll() is None:
                process.terminate()
            code = process.wait()
    if code or not list(unfinished.glob(WEIGHTS)):
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        last = next((line for line in reversed(lines) if "Error" in line), (lines or ["no message"])[-1])
        shutil.rmtree(unfinished, ignore_errors=True)
        raise MakerFailed(
            f"llm-compressor ended with code {code}: {last[-400:]}", remedy=f"The log {log} has the rest."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(unfinished, target)
