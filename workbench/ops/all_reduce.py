"""All-reduce over the devices of this machine, in processes of its own: time by size."""

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from workbench.core.errors import NotAvailable, WorkbenchError

WARM_UP = 3
AT_ONCE = 20  # calls in one CUDA graph, as in a decoding step


@dataclass(frozen=True, slots=True, kw_only=True)
class AllReduceRequest:
    """Sizes to time."""

    world: int
    n_bytes: tuple[int, ...]
    rounds: int
    device: str
    """"cpu" (gloo) or "cuda" (NCCL)."""


def n_usable() -> int:
    """GPUs that this process sees."""
    return torch.cuda.device_count()


def all_reduce_seconds(request: AllReduceRequest) -> dict[int, list[float]]:
    """Seconds of one all-reduce of 16-bit numbers by size in bytes, each round the slowest device.

    On GPUs the calls are replayed as a CUDA graph, as serving engines do.

    Raises:
        NotAvailable: there are fewer devices.
        WorkbenchError: a process failed; its error is in the message.
    """
    if request.device == "cuda" and torch.cuda.device_count() < request.world:
        raise NotAvailable(
            f"{request.world} GPUs are wanted and {torch.cuda.device_count()} are here.", remedy="Ask for fewer."
        )
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        (Path(folder) / "request.json").write_text(json.dumps(asdict(request)))
        try:
            spawn(_process, args=(folder,), nprocs=request.world)  # type: ignore[no-untyped-call]
        except (ProcessRaisedException, ProcessExitedException) as error:
            last = str(error).strip().splitlines()[-1]
            raise WorkbenchError(f"The all-reduce failed: {last}", remedy="See the log of the job.") from error
        answers = [json.loads((Path(folder) / f"{r}.json").read_text()) for r in range(request.world)]
    return {n: [max(r) for r in zip(*(a[str(n)] for a in answers), strict=True)] for n in request.n_bytes}


def _process(rank: int, folder: str) -> None:
    request = AllReduceRequest(**json.loads((Path(folder) / "request.json").read_text()))
    on_gpu = request.device == "cuda"
    if on_gpu:
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(1)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=request.world
    )
    found: dict[int, list[float]] = {}
    for n in request.n_bytes:
        x = torch.zeros(max(1, n // 2), dtype=torch.bfloat16, device=request.device)
        found[n] = _on_gpu(x, request.rounds) if on_gpu else _on_cpu(x, request.rounds)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


def _on_cpu(x: torch.Tensor, rounds: int) -> list[float]:
    seconds = []
    for _ in range(WARM_UP + rounds):
        dist.barrier()
        started = time.perf_counter()
        dist.all_reduce(x)
        seconds.append(time.perf_counter() - started)
    return seconds[WARM_UP:]


def _on_gpu(x: torch.Tensor, rounds: int) -> list[float]:
    for _ in range(WARM_UP):
        dist.all_reduce(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(AT_ONCE):
            dist.all_reduce(x)
    seconds = []
    for _ in range(WARM_UP + rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        dist.barrier()
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        milliseconds: float = begin.elapsed_time(end)
        seconds.append(milliseconds / 1e3 / AT_ONCE)
    return seconds[WARM_UP:]
