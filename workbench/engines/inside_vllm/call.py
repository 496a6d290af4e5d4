"""Runs one of the scripts beside this file in vLLM's environment and hands on the lines that it tells."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil

from workbench.core.errors import WorkbenchError
from workbench.core.language import gettext
from workbench.engines.environments import require
from workbench.engines.vllm import vllm_variables

END_S = 10.0  # that a script and its children get to end by themselves
WRAPPERS = ("Engine core initialization failed", "EngineDeadError")


class ScriptFailed(WorkbenchError):
    """A script in vLLM's environment ended with an error."""


def script_lines(script: str, request: Mapping[str, Any], *, folder: Path, device: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects that a script prints, as they come.

    Args:
        script: "steps" or "gemm".
        request: What the script's description asks for.
        folder: For the request and the log; it exists.
        device: "cpu" or "cuda".

    Raises:
        NotAvailable: vLLM is not installed.
        ScriptFailed: the script ended with an error; its last error line is in the message.
    """
    environment = require("vllm", device=device)
    asked = folder / f"{script}.json"
    asked.write_text(json.dumps(request))
    asked.with_suffix(".json.rendezvous").unlink(missing_ok=True)
    log = folder / f"{script}.log"
    command = [str(environment.python), str(Path(__file__).parent / f"{script}.py"), str(asked)]
    variables = os.environ | vllm_variables(device=device, offline=True)
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=variables) as process,
    ):
        assert process.stdout is not None
        has_ended = False
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    yield json.loads(line)
            has_ended = True
        finally:
            if not has_ended:
                _end(process)
            code = process.wait()
    if code:
        raise _failure(log, code)


class Dialogue:
    """A script that answers each line that it is sent with one line, so that several can be measured interleaved.

    Use it in a ``with`` block. The script tells one line when it is ready, and ends when its input does.
    """

    def __init__(self, script: str, request: Mapping[str, Any], *, name: str, folder: Path, device: str) -> None:
        environment = require("vllm", device=device)
        asked = folder / f"{name}.json"
        asked.write_text(json.dumps(request))
        self._log = folder / f"{name}.log"
        self._errors = self._log.open("w")
        self._process = subprocess.Popen(
            [str(environment.python), str(Path(__file__).parent / f"{script}.py"), str(asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | vllm_variables(device=device, offline=True),
        )

    def heard(self) -> dict[str, Any]:
        """Return the next line of the script; raises ``ScriptFailed`` when it has ended instead."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        code = self._process.wait()
        raise _failure(self._log, code)

    def ask(self, **command: Any) -> dict[str, Any]:
        """Return the answer of the script to a command."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except OSError:
            return self.heard()  # which says why it has ended
        return self.heard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        _end(self._process)
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]


def _end(process: subprocess.Popen[str]) -> None:
    """End a script and the processes that vLLM started for it; they outlive the script otherwise."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    process.terminate()
    try:  # not by psutil, which would take the exit code away from ``process``
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
    for left in psutil.wait_procs(children, timeout=END_S)[1]:
        left.kill()


def _failure(log: Path, code: int) -> ScriptFailed:
    """Return why a script ended, from its log."""
    cause = _cause(log)
    if "cpu_gemm_wna16" in cause:  # vLLM 0.32 has this kernel in its AVX-512 library, not in the one for AVX2
        return ScriptFailed(
            gettext("vLLM's CPU build has no kernel for 4-bit weights on a processor without AVX-512."),
            remedy=gettext("Use a processor with AVX-512, a GPU, or 8-bit weights."),
        )
    return ScriptFailed(
        gettext("vLLM ended with code {code}: {cause}").format(code=code, cause=cause),
        remedy=gettext("The log {log} has the details.").format(log=log),
    )


def _cause(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    telling = [i for i, line in enumerate(lines) if "Error:" in line and not any(w in line for w in WRAPPERS)]
    if not telling:
        return (lines or [gettext("no message")])[-1][-400:]
    cause = lines[telling[-1]]
    following = lines[telling[-1] + 1 : telling[-1] + 2] if cause.endswith(":") else []
    return " ".join(part.removeprefix("[rank0]:").strip() for part in (cause, *following))[-400:]
