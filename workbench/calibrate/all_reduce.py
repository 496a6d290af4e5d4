"""All-reduce over the devices of this machine, in processes of its own: time by size."""

import time
from dataclasses import dataclass

import torch
import torch.distributed as dist

from workbench.attention.device_group import answers_of_group

WARM_UP = 3
AT_ONCE = 20  # calls in one CUDA graph, as in a decode step


@dataclass(frozen=True, slots=True, kw_only=True)
class AllReduceRequest:
    """Sizes of all-reduces to time, and how often."""

    world: int
    n_bytes: tuple[int, ...]
    rounds: int
    device: str
    """"cpu" (gloo) or "cuda" (NCCL)."""


def n_usable() -> int:
    """Return the number of GPUs that this process sees."""
    return torch.cuda.device_count()


def all_reduce_seconds(request: AllReduceRequest) -> dict[int, list[float]]:
    """Return the seconds of one all-reduce of 16-bit numbers by size in bytes, each round the slowest device.

    On GPUs the calls are replayed as a CUDA graph, as serving engines do. Raises as ``answers_of_group`` does.
    """
    answers = answers_of_group(_timed, request, dict[int, list[float]], name="The all-reduce")
    return {n: [max(r) for r in zip(*(a[n] for a in answers), strict=True)] for n in request.n_bytes}


def _timed(_rank: int, request: AllReduceRequest) -> dict[int, list[float]]:
    timed = _on_gpu if request.device == "cuda" else _on_cpu
    sizes = {n: torch.zeros(max(1, n // 2), dtype=torch.bfloat16, device=request.device) for n in request.n_bytes}
    return {n: timed(x, request.rounds) for n, x in sizes.items()}


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
