"""Work that several devices do together, in processes of its own, one for each device."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.rows import plain


class GroupRequest(Protocol):
    """What is asked of a group; it travels to every process."""

    @property
    def world(self) -> int:
        """Number of devices in the group."""

    @property
    def device(self) -> str:
        """Kind of the devices: "cpu" (gloo) or "cuda" (NCCL)."""


Q = TypeVar("Q", bound=GroupRequest)
A = TypeVar("A")


def answers_of_group(work: Callable[[int, Q], A], request: Q, kind: type[A], *, name: str) -> list[A]:
    """Return what ``work``, a function of a module, answers to rank and request in each process.

    The answers travel as JSON and come back as ``kind``.

    Raises:
        NotAvailable: there are fewer devices.
        WorkbenchError: a process failed; its error is in the message.
    """
    if request.device == "cuda" and torch.cuda.device_count() < request.world:
        raise NotAvailable(
            f"{request.world} GPUs are needed and {torch.cuda.device_count()} are available.", remedy="Ask for fewer."
        )
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        try:
            spawn(_process, args=(folder, work, request), nprocs=request.world)  # type: ignore[no-untyped-call]
        except (ProcessRaisedException, ProcessExitedException) as error:
            last = str(error).strip().splitlines()[-1]
            raise WorkbenchError(f"{name} failed: {last}", remedy="See the log of the job.") from error
        return [
            msgspec.json.decode((Path(folder) / f"{rank}.json").read_bytes(), type=kind)
            for rank in range(request.world)
        ]


def _process(rank: int, folder: str, work: Callable[[int, Q], object], request: Q) -> None:
    on_gpu = request.device == "cuda"
    if on_gpu:
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(1)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=request.world
    )
    (Path(folder) / f"{rank}.json").write_text(json.dumps(plain(work(rank, request))))
    dist.barrier()
    dist.destroy_process_group()
