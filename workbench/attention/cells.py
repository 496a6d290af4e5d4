"""One measurement: a technique at a length, in prefill or decoding."""

from collections.abc import Callable
from typing import Any

import torch

from workbench.attention import timing
from workbench.attention.techniques import prepared
from workbench.attention.timing import Ceilings, HeadShape
from workbench.core.attention import AttentionOptions
from workbench.core.errors import WorkbenchError
from workbench.core.units import shown_bytes
from workbench.estimate.attention import attention_flop, kv_read_bytes, pairs_seen

SHORT_S = 2e-3  # calls shorter than this are repeated in one CUDA graph
REPEATS = 10
ENERGY_S = 0.4  # NVML's counter moves every 20 to 100 ms
SCORE_BYTES = 4  # of one score that "math" keeps, a few times over
MATH_COPIES = 3


def measured_cell(
    technique: str,
    *,
    phase: str,
    length: int,
    shape: HeadShape,
    options: AttentionOptions,
    ceilings: Ceilings,
    rounds: int,
    device: str,
    seed: int,
    energy_j: Callable[[], float | None],
) -> dict[str, Any]:
    """Times (``seconds``), memory, energy and error of one cell, or its ``status`` and ``reason``.

    Memory that runs out is a result; the device is usable afterwards.
    """
    n_queries = length if phase == "prefill" else 1
    row: dict[str, Any] = {"technique": technique, "phase": phase, "length_tokens": length}
    try:
        _refuse_what_kills(technique, n_queries, length, shape, device)
        found = _timed(technique, n_queries, length, shape, options, rounds, device, seed, energy_j)
    except WorkbenchError as error:
        status = "out of memory" if isinstance(error, _TooLarge) else "not available"
        return row | {"status": status, "reason": error.cause}
    except Exception as error:
        cause = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]
        ran_out = timing.out_of_memory(error)
        error.__traceback__ = None  # its frames hold the tensors
        del error
        timing.release()
        return row | {"status": "out of memory" if ran_out else "not available", "reason": cause}
    pairs = pairs_seen(technique, options, n_queries=n_queries, n_keys=length)
    best = sorted(found["seconds"])[len(found["seconds"]) // 2]
    if pairs is not None:
        bits = 8 * torch.empty(0, dtype=timing.number_type(device)).element_size()
        flop = attention_flop(pairs, n_heads=shape.n_heads, head_dim=shape.head_dim)
        found["flop_per_s"] = flop / best
        if phase == "prefill":
            found["ceiling_fraction"] = found["flop_per_s"] / ceilings.matmul_flop_per_s
        else:
            read = kv_read_bytes(pairs, n_kv_heads=shape.n_kv_heads, head_dim=shape.head_dim, bits=bits)
            found["read_bytes_per_s"] = read / best
            found["ceiling_fraction"] = found["read_bytes_per_s"] / ceilings.copy_bytes_per_s
    return row | {"status": "measured"} | found


class _TooLarge(WorkbenchError):
    """Scores that would not fit; on a CPU the system would end the process instead of refusing."""


def _refuse_what_kills(technique: str, n_queries: int, length: int, shape: HeadShape, device: str) -> None:
    if device == "cpu" and technique == "math":
        needed = MATH_COPIES * SCORE_BYTES * shape.n_heads * n_queries * length
        free = timing.free_bytes(device)
        if needed > 0.8 * free:
            raise _TooLarge(
                f"All scores take {shown_bytes(needed)}; {shown_bytes(free)} are free.", remedy="Choose flash."
            )


def _timed(
    technique: str,
    n_queries: int,
    length: int,
    shape: HeadShape,
    options: AttentionOptions,
    rounds: int,
    device: str,
    seed: int,
    energy_j: Callable[[], float | None],
) -> dict[str, Any]:
    q, k, v = timing.tensors(shape, n_queries=n_queries, n_keys=length, device=device, seed=seed)
    around = timing.in_use_bytes(device)
    call = prepared(q, k, v, technique=technique, options=options)
    with torch.inference_mode():
        out = call()
        error, distance = timing.deviations(out, q, k, v, technique=technique, options=options)
        io_bytes = sum(x.numel() * x.element_size() for x in (q, k, v, out))
        del out
        peak = timing.peak_bytes(call, device=device)
        once = timing.clock([call], device=device)
        estimate = once()
        calls = [call]
        if device == "cuda" and n_queries == 1:
            calls += [prepared(q, *kv, technique=technique, options=options) for kv in timing.copies(k, v)[1:]]
        if device == "cuda" and estimate < SHORT_S:
            calls *= max(1, REPEATS // len(calls))
        many = timing.clock(calls, device=device)
        many()
        wanted = 1 if estimate > 1 else min(rounds, 3) if estimate > 0.2 else rounds
        seconds = [many() for _ in range(wanted)]
        joule = _energy(many, len(calls), sum(seconds) / len(seconds), energy_j)
    return {
        "seconds": seconds,
        "max_error": error,
        "distance_from_full": distance,
        "io_bytes": io_bytes,
        "peak_bytes": None if peak is None else peak - around + sum(x.numel() * x.element_size() for x in (q, k, v)),
        "energy_j": joule,
    }


def _energy(
    many: Callable[[], float], n_calls: int, call_s: float, energy_j: Callable[[], float | None]
) -> float | None:
    """Joule of one call, from enough calls for the meter to move; None where there is no meter."""
    before = energy_j()
    if before is None:
        return None
    n = max(1, round(ENERGY_S / (call_s * n_calls)))
    for _ in range(n):
        many()
    after = energy_j()
    return None if after is None else (after - before) / (n * n_calls)
