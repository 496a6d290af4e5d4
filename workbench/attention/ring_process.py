"""Ring attention in processes of its own, one for each device: time and error."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist

from workbench.attention import timing
from workbench.attention.device_group import answers_of_group
from workbench.attention.exact import full
from workbench.attention.ring import own_piece, ring
from workbench.attention.techniques import best_backend
from workbench.catalog.attention_techniques import AttentionOptions

WARM_UP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RingRequest:
    """Size and device of one measurement."""

    world: int
    tokens: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    device: str
    rounds: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RingResult:
    """Time, error and memory of a ring."""

    seconds: tuple[float, ...]
    """Of each round, the slowest device."""
    max_error: float
    """Of some rows of every device against float64."""
    peak_bytes: int | None
    """Of the device that used most; None on a CPU."""


def measure_ring(request: RingRequest) -> RingResult:
    """Spawn the processes and measure; raises as ``answers_of_group`` does."""
    answers = answers_of_group(_answer, request, RingResult, name="A process of the ring")
    rounds = zip(*(a.seconds for a in answers), strict=True)
    peaks = [a.peak_bytes for a in answers if a.peak_bytes is not None]
    return RingResult(
        seconds=tuple(max(r) for r in rounds),
        max_error=max(a.max_error for a in answers),
        peak_bytes=max(peaks, default=None),
    )


def _answer(rank: int, request: RingRequest) -> RingResult:
    on_gpu = request.device == "cuda"
    shape = timing.HeadShape(request.n_heads, request.n_kv_heads, request.head_dim)
    # The same numbers on every device: each takes its piece.
    q, k, v = timing.tensors(
        shape, n_queries=request.tokens, n_keys=request.tokens, device=request.device, seed=request.seed
    )
    pieces = [own_piece(x, rank=rank, world=request.world).contiguous() for x in (q, k, v)]
    backend = best_backend(q.device, q.dtype)

    def call() -> torch.Tensor:
        return ring(*pieces, backend=backend) if request.world > 1 else full(q, k, v, backend=backend).out

    with torch.inference_mode():
        error = _max_error(call(), q, k, v, rank=rank, world=request.world)
        if request.world > 1:
            del q, k, v
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        seconds = tuple(_time(call, on_gpu=on_gpu) for _ in range(WARM_UP + request.rounds))[WARM_UP:]
    peak = torch.cuda.max_memory_allocated() if on_gpu else None
    return RingResult(seconds=seconds, max_error=error, peak_bytes=peak)


def _time(call: Callable[[], torch.Tensor], *, on_gpu: bool) -> float:
    dist.barrier()
    if on_gpu:
        torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _max_error(out: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, rank: int, world: int) -> float:
    """Return the largest error of some rows of both of this device's pieces."""
    if world == 1:
        own, _ = timing.deviations(out, q, k, v, technique="flash", options=AttentionOptions())
        return float(own or 0.0)
    half, worst = q.shape[2] // (2 * world), 0.0
    for part, piece in zip(out.chunk(2, dim=2), (rank, 2 * world - 1 - rank), strict=True):
        stop = (piece + 1) * half
        rows = q[:, :, piece * half : stop], k[:, :, :stop], v[:, :, :stop]
        own, _ = timing.deviations(part, *rows, technique="flash", options=AttentionOptions())
        worst = max(worst, own or 0.0)
    return worst
