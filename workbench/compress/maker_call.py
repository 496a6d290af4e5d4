"""Makes one checkpoint in llm-compressor's environment; an unfinished one never appears at its place."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import msgspec

from workbench.compress.checkpoint_maker import Request
from workbench.core.errors import WorkbenchError
from workbench.core.progress import Progress

WEIGHTS = "model*.safetensors"


class MakerFailed(WorkbenchError):
    """llm-compressor failed to make a checkpoint."""


def made_checkpoint(python: Path, request: Request, *, scratch: Path, target: Path) -> Iterator[Progress]:
    """Yield progress, in percent, until ``target`` holds the checkpoint.

    Args:
        python: Interpreter that has llm-compressor.
        request: The checkpoint to make.
        scratch: Folder for unfinished files; it exists.
        target: Folder that must not exist yet.

    Raises:
        MakerFailed: it ended with an error, or without weights; nothing is left at ``target``.
    """
    unfinished = scratch / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    request_file = scratch / "request.json"
    request_file.write_text(json.dumps(asdict(request) | {"out": str(unfinished)}))
    log = scratch / "maker.log"
    command = [str(python), str(Path(__file__).parent / "checkpoint_maker.py"), str(request_file)]
    # The folder of the script holds modules of the workbench whose names other packages use, so it must not be searched (-P).
    command.insert(1, "-P")
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    yield msgspec.json.decode(line, type=Progress)
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
