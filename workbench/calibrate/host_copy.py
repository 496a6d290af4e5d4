"""Bandwidth between a GPU and the memory of its host."""

import time

from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.telemetry.devices import gpu_devices

CHUNK_BYTES, TIMED_S = 2**28, 1.5


def host_bandwidth_bytes_per_s() -> float:
    """Return the bandwidth of copies from pinned host memory to the first GPU and back, the slower of both; a few seconds.

    Raises ``NotAvailable`` where there is no GPU: nothing is guessed.
    """
    gpus, problem = gpu_devices()
    if not gpus:
        raise NotAvailable(
            gettext("The link to the host's memory cannot be measured here: {problem}.").format(
                problem=gettext(problem or "")
            ),
            remedy=gettext("Give its bandwidth with --host-bandwidth, as `nvbandwidth` or a data sheet has it."),
        )
    import torch

    host = torch.empty(CHUNK_BYTES, dtype=torch.uint8, pin_memory=True)
    device = torch.empty(CHUNK_BYTES, dtype=torch.uint8, device="cuda")
    rates = []
    for target, source in ((device, host), (host, device)):
        target.copy_(source, non_blocking=True)
        torch.cuda.synchronize()
        began_s, n = time.perf_counter(), 0
        while time.perf_counter() - began_s < TIMED_S:
            target.copy_(source, non_blocking=True)
            torch.cuda.synchronize()
            n += 1
        rates.append(n * CHUNK_BYTES / (time.perf_counter() - began_s))
    return min(rates)
