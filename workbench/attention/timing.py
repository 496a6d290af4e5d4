"""Time, memory and ceilings of attention calls on one device."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil
import torch

from workbench.attention.rows import Ceilings
from workbench.catalog.attention_techniques import TECHNIQUES, AttentionOptions

Tensor = torch.Tensor
COLD_BYTES = 2**28  # keys and values in turn, so that a cache of 50 MB does not answer in memory's place
CHECKED_ROWS = 16


@dataclass(frozen=True, slots=True)
class HeadShape:
    """Attention heads of one layer."""

    n_heads: int
    n_kv_heads: int
    head_dim: int


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def release() -> None:
    """Give cached memory back, as after a call that did not fit."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def number_type(device: str) -> torch.dtype:
    """Return the precision of the measurement: bfloat16 on a GPU, float32 on a CPU."""
    return torch.bfloat16 if device == "cuda" else torch.float32


def tensors(shape: HeadShape, *, n_queries: int, n_keys: int, device: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return random queries, keys and values of one sequence: (1, heads, tokens, head_dim)."""
    generator = torch.Generator(device).manual_seed(seed)
    sizes = ((shape.n_heads, n_queries), (shape.n_kv_heads, n_keys), (shape.n_kv_heads, n_keys))
    q_k_v = [
        torch.randn(1, h, n, shape.head_dim, generator=generator, device=device, dtype=number_type(device))
        for h, n in sizes
    ]
    return q_k_v[0], q_k_v[1], q_k_v[2]


def copies(k: Tensor, v: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return as many copies of keys and values as it takes to come from memory each time."""
    n = max(1, round(COLD_BYTES / (2 * k.numel() * k.element_size())))
    return [(k, v), *((k.clone(), v.clone()) for _ in range(min(n, 64) - 1))]


def clock(calls: Sequence[Callable[[], Tensor]], *, device: str) -> Callable[[], float]:
    """Return a function that makes all calls once and gives back the seconds of one."""
    if device != "cuda":

        def on_cpu() -> float:
            started = time.perf_counter()
            for call in calls:
                call()
            return (time.perf_counter() - started) / len(calls)

        return on_cpu
    replay = _record_graph(calls) if len(calls) > 1 else None

    def on_gpu() -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        if replay is not None:
            replay()
        else:
            for call in calls:
                call()
        end.record()
        torch.cuda.synchronize()
        milliseconds: float = begin.elapsed_time(end)
        return milliseconds / 1e3 / len(calls)

    return on_gpu


def _record_graph(calls: Sequence[Callable[[], Tensor]]) -> Callable[[], None] | None:
    """Return all calls as one CUDA graph, as servers run decoding steps; None where a call cannot be recorded."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.stream(stream):
            for call in calls[:2]:
                call()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            for call in calls:
                call()
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        torch.cuda.synchronize()
        return None
    return graph.replay


def peak_bytes(call: Callable[[], Tensor], *, device: str) -> int | None:
    """Return the most memory of the device in use during a call, what was in use before included; None on a CPU."""
    if device != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def in_use_bytes(device: str) -> int:
    """Return the memory of the device that tensors hold now."""
    return torch.cuda.memory_allocated() if device == "cuda" else 0


def free_bytes(device: str) -> int:
    """Return the memory that can still be taken."""
    return torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available


def ceilings(device: str) -> Ceilings:
    """Return the bandwidth of a copy and rate of a large square product, the best of some tries."""
    n, size = (8192, 2**31) if device == "cuda" else (1024, 2**27)
    dtype = number_type(device)
    source = torch.ones(size // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    copy = clock([lambda: torch.mul(source, 1.0, out=target)] * 2, device=device)
    product = clock([lambda: torch.mm(a, b, out=out)] * 2, device=device)
    for warm in (copy, product):
        warm()
    return Ceilings(
        copy_bytes_per_s=2 * size / min(copy() for _ in range(12)),
        matmul_flop_per_s=2 * n**3 / min(product() for _ in range(12)),
    )


def deviations(
    out: Tensor, q: Tensor, k: Tensor, v: Tensor, *, technique: str, options: AttentionOptions
) -> tuple[float | None, float]:
    """Return how far some rows are from float64: from the technique's own pattern, and from full attention.

    Returns:
        Largest absolute error against the technique's own pattern (None where that depends on the content), and the
        relative root mean square distance from full attention.
    """
    rows = torch.linspace(0, q.shape[2] - 1, min(CHECKED_ROWS, q.shape[2]), device=q.device).long()
    offset = k.shape[2] - q.shape[2]
    distance = (rows + offset)[:, None] - torch.arange(k.shape[2], device=q.device)
    pattern = TECHNIQUES[technique].pattern
    masks = {"full": distance >= 0}
    if pattern in {"window", "sink-window"}:
        n_sinks = options.n_sinks if pattern == "sink-window" else 0
        sinks = torch.arange(k.shape[2], device=q.device) < n_sinks
        masks[pattern] = (distance >= 0) & ((distance < options.window) | sinks)
    rows_out = out[:, :, rows].double()
    group = q.shape[1] // k.shape[1]
    expected: dict[str, list[Tensor]] = {name: [] for name in masks}
    for head in range(q.shape[1]):
        keys, values = (x[:, head // group].double() for x in (k, v))
        scores = q[:, head, rows].double() @ keys.transpose(1, 2) * q.shape[3] ** -0.5
        for name, mask in masks.items():
            expected[name].append(torch.softmax(scores.masked_fill(~mask, float("-inf")), -1) @ values)
    against = {name: torch.stack(parts, dim=1) for name, parts in expected.items()}
    own = float((rows_out - against[pattern]).abs().max()) if pattern in against else None
    return own, float((rows_out - against["full"]).norm() / against["full"].norm())
