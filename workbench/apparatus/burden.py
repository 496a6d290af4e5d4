"""Programs that get in a server's way: they take processor time, or memory and its bandwidth. In processes of their own."""

import argparse
import os
import time

import numpy as np
import psutil

from workbench.apparatus.child_process import ChildProcess

PIECE_BYTES = 64 << 20


class Burden:
    """Processes that work until the ``with`` block ends, or their parent is gone.

    Args:
        processes: How many.
        memory_fraction: Share of the machine's memory that they fill together and write again and again; 0: they only compute.
    """

    def __init__(self, *, processes: int, memory_fraction: float = 0.0) -> None:
        share = str(memory_fraction / processes)
        self._children = [ChildProcess("workbench.apparatus.burden", share) for _ in range(processes)]
        self._since = time.monotonic(), self._cpu_s()

    def _cpu_s(self) -> float:
        times = [psutil.Process(c.pid).cpu_times() for c in self._children]
        return sum(t.user + t.system for t in times)

    def cores_used(self) -> float:
        """Return the processor cores that they have used since they were ready, on average."""
        at, used = self._since
        return (self._cpu_s() - used) / max(time.monotonic() - at, 1e-9)

    def resident_bytes(self) -> int:
        """Return the memory that they hold, in bytes."""
        return sum(psutil.Process(c.pid).memory_info().rss for c in self._children)

    def close(self) -> None:
        """End the processes of the burden."""
        for child in self._children:
            child.close()

    def __enter__(self) -> "Burden":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main() -> None:
    """Work until the parent is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("memory_fraction", type=float)
    asked = parser.parse_args()
    wanted = int(asked.memory_fraction * psutil.virtual_memory().total)
    held = [np.zeros(PIECE_BYTES, np.uint8) for _ in range(wanted // PIECE_BYTES)]
    for piece in held:
        piece.fill(1)
    print("ready", flush=True)
    parent, value = os.getppid(), 0
    while os.getppid() == parent:
        value = (value + 1) % 256
        for piece in held:
            piece.fill(value)
            if os.getppid() != parent:
                return
        if not held:
            sum(range(200_000))


if __name__ == "__main__":
    main()
