"""A module of the workbench in a process of its own, which is spoken to line by line and never outlives its user."""

import subprocess
import sys
from typing import Self


class ChildProcess:
    """Starts ``python -m MODULE`` and reads its first line; ends with the ``with`` block. The module ends when its standard input does.

    Args:
        module: Dotted name.
        arguments: Of its command line.
    """

    def __init__(self, module: str, *arguments: str | bytes) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.first_line = self._line()

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    def _line(self) -> bytes:
        assert self._child.stdout is not None
        return self._child.stdout.readline()

    def asked(self, line: bytes = b"") -> bytes:
        """Return the line that it answers to a line."""
        assert self._child.stdin is not None
        self._child.stdin.write(line + b"\n")
        self._child.stdin.flush()
        return self._line()

    def close(self) -> None:
        """End the child and wait for it."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
