"""A variant in a process of its own: a crash or a lack of memory ends the variant, not the measurement."""

import multiprocessing
import os
import signal
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from workbench.compress.serving import start_serving
from workbench.core.errors import WorkbenchError
from workbench.core.quantization import QuantizationSpec


class VariantFailed(WorkbenchError):
    """A variant could not be loaded, quantized or run."""


def _context(device: str) -> BaseContext:
    """Forked from a server that has torch loaded; on CUDA started anew, since CUDA does not survive a fork."""
    if device == "cuda":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["workbench.compress.preload"])
    return context


class VariantProcess:
    """Starts a worker and calls its operations by name."""

    def __init__(self, spec: QuantizationSpec, method: str, *, device: str, folder: Path, threads: int) -> None:
        context = _context(device)
        self.method = method
        self._connection, theirs = context.Pipe()
        self._process = context.Process(  # type: ignore[attr-defined]
            target=start_serving, args=(theirs, spec, method, device, folder, threads), daemon=True
        )
        self._process.start()
        theirs.close()

    def call(self, operation: str, **arguments: Any) -> Any:
        """The operation's value; ``VariantFailed`` when it raised or the process died."""
        try:
            self._connection.send((operation, arguments))
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(5)
            raise VariantFailed(self._death(), remedy="Free memory or leave this method out.") from error
        if answer[0] == "ok":
            return answer[1]
        raise VariantFailed(answer[1], remedy="The log of the run has the details.") from RuntimeError(answer[2])

    def _death(self) -> str:
        code = self._process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = ", as the kernel does when memory runs out" if -code == signal.SIGKILL else ""
            return f"The process of {self.method} was ended by {name}{hint}."
        return f"The process of {self.method} ended with code {code}."

    @property
    def pid(self) -> int | None:
        """Process id while it lives."""
        pid: int | None = self._process.pid
        return pid

    def close(self) -> None:
        """End the process and free its memory."""
        self._connection.close()
        self._process.join(2)  # it leaves its loop when the connection closes
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()
