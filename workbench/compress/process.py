"""A variant in a process of its own: a crash or a lack of memory ends the variant, not the measurement."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from workbench.compress.serving import start_serving
from workbench.compress.spec import QuantizationSpec
from workbench.compress.variant import VariantOperations
from workbench.core.errors import WorkbenchError

T = TypeVar("T")
P = ParamSpec("P")


class VariantFailed(WorkbenchError):
    """A variant could not be loaded, quantized or run."""


class VariantNotAvailable(VariantFailed):
    """A method that cannot be applied to this model."""


def _context(device: str) -> BaseContext:
    """Return how processes start: forked from a server with torch loaded, or spawned on CUDA, which does not survive a fork."""
    if device == "cuda":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["workbench.compress.preload"])
    return context


class VariantProcess:
    """A worker in a process of its own, and calls of its operations."""

    def __init__(self, spec: QuantizationSpec, method: str, *, device: str, folder: Path, threads: int) -> None:
        context = _context(device)
        self.method = method
        self._connection, child_end = context.Pipe()
        self._process = context.Process(  # type: ignore[attr-defined]
            target=start_serving, args=(child_end, spec, method, device, folder, threads), daemon=True
        )
        self._process.start()
        child_end.close()

    def call(
        self, operation: Callable[Concatenate[VariantOperations, P], T], *args: P.args, **arguments: P.kwargs
    ) -> T:
        """Return the operation's value; raises ``VariantFailed`` when it raised or the process died."""
        try:
            self._connection.send((operation.__name__, args, arguments))
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(5)
            raise VariantFailed(self._death(), remedy="Free memory or leave this method out.") from error
        if answer[0] == "ok":
            value: T = answer[1]
            return value
        if answer[0] == "refused":
            kind = VariantNotAvailable if answer[3] else VariantFailed
            raise kind(answer[1], remedy=answer[2]) from RuntimeError(answer[4])
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
        """Id of the process while it lives."""
        pid: int | None = self._process.pid
        return pid

    def close(self) -> None:
        """End the process and free its memory."""
        self._connection.close()
        self._process.join(2)  # it leaves its loop when the connection closes
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()
