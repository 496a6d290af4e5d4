"""Ring attention in processes of its own, one for each device: time and error."""

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from workbench.attention import timing
from workbench.attention.exact import full
from workbench.attention.ring import own_piece, ring
from workbench.attention.techniques import best_backend
from workbench.core.attention import AttentionOptions
from workbench.core.errors import NotAvailable, WorkbenchError

WARM_UP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RingRequest:
    """One measurement."""

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
    """What came out."""

    seconds: tuple[float, ...]
    """Of each round, the slowest device."""
    max_error: float
    """Of some rows of every device against float64."""
    peak_bytes: int | None
    """Of the device that used most; None on a CPU."""


def measured_ring(request: RingRequest) -> RingResult:
    """Spawn the processes and measure.

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
            raise WorkbenchError(f"A process of the ring failed: {last}", remedy="See the log of the job.") from error
        answers = [json.loads((Path(folder) / f"{r}.json").read_text()) for r in range(request.world)]
    rounds = zip(*(a["seconds"] for a in answers), strict=True)
    peaks = [a["peak_bytes"] for a in answers if a["peak_bytes"] is not None]
    return RingResult(
        seconds=tuple(max(r) for r in rounds),
        max_error=max(a["max_error"] for a in answers),
        peak_bytes=max(peaks, default=None),
    )


def _process(rank: int, folder: str) -> None:
    request = RingRequest(**json.loads((Path(folder) / "request.json").read_text()))
    on_gpu = request.device == "cuda"
    if on_gpu:
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(1)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=request.world
    )
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
        error = _error(call(), q, k, v, rank=rank, world=request.world)
        if request.world > 1:
            del q, k, v
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        seconds = [_timed(call, on_gpu=on_gpu) for _ in range(WARM_UP + request.rounds)][WARM_UP:]
    answer: dict[str, Any] = {
        "seconds": seconds,
        "max_error": error,
        "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
    }
    (Path(folder) / f"{rank}.json").write_text(json.dumps(answer))
    dist.barrier()
    dist.destroy_process_group()


def _timed(call: Any, *, on_gpu: bool) -> float:
    dist.barrier()
    if on_gpu:
        torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _error(out: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, rank: int, world: int) -> float:
    """Largest error of some rows of both of this device's pieces."""
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
