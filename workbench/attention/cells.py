"""One measurement: a technique at a length, in prefill or decoding."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from workbench.attention import timing
from workbench.attention.reasons import SCORES_DO_NOT_FIT
from workbench.attention.rows import Ceilings, Cell, CellSeconds, MissingCell, MissingStatus, Phase, TimedCell
from workbench.attention.techniques import attention_call
from workbench.attention.timing import HeadShape
from workbench.catalog.attention_techniques import AttentionOptions
from workbench.core.errors import WorkbenchError
from workbench.core.statistics import median_over_rounds
from workbench.core.units import shown_bytes
from workbench.estimate.attention import attention_flop, kv_read_bytes, pairs_seen

SHORT_S = 2e-3  # calls shorter than this are repeated in one CUDA graph
REPEATS = 10
ENERGY_S = 0.4  # NVML's counter moves every 20 to 100 ms
SCORE_BYTES = 4  # of one score that "math" keeps, a few times over
MATH_COPIES = 3


def measure_cell(
    technique: str,
    *,
    phase: Phase,
    length: int,
    shape: HeadShape,
    options: AttentionOptions,
    ceilings: Ceilings,
    rounds: int,
    device: str,
    seed: int,
    energy_j: Callable[[], float | None],
) -> TimedCell | MissingCell:
    """Return times, memory, energy and error of one cell, or why there are none.

    Memory that runs out is a result; the device is usable afterwards.
    """
    n_queries = length if phase == "prefill" else 1

    def missing(status: MissingStatus, reason: str) -> MissingCell:
        return MissingCell(technique=technique, phase=phase, length_tokens=length, status=status, reason=reason)

    try:
        _require_score_memory(technique, n_queries, length, shape, device)
        call = _measure_call(technique, n_queries, length, shape, options, rounds, device, seed, energy_j)
    except WorkbenchError as error:
        return missing("out of memory" if isinstance(error, _ScoresTooLarge) else "not available", error.cause)
    except Exception as error:
        cause = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]
        ran_out = timing.out_of_memory(error)
        error.__traceback__ = None  # its frames hold the tensors
        del error
        timing.release()
        return missing("out of memory" if ran_out else "not available", cause)
    cell = Cell(
        technique=technique,
        phase=phase,
        length_tokens=length,
        p50_s=median_over_rounds(np.asarray(call.seconds)),
        n=len(call.seconds),
        max_error=call.max_error,
        distance_from_full=call.distance_from_full,
        io_bytes=call.io_bytes,
        peak_bytes=call.peak_bytes,
        energy_j=call.energy_j,
    )
    pairs = pairs_seen(technique, options, n_queries=n_queries, n_keys=length)
    if pairs is not None:
        median = sorted(call.seconds)[len(call.seconds) // 2]
        flop_per_s = attention_flop(pairs, n_heads=shape.n_heads, head_dim=shape.head_dim) / median
        cell = replace(cell, flop_per_s=flop_per_s, ceiling_fraction=flop_per_s / ceilings.matmul_flop_per_s)
        if phase == "decode":
            bits = 8 * torch.empty(0, dtype=timing.number_type(device)).element_size()
            read = kv_read_bytes(pairs, n_kv_heads=shape.n_kv_heads, head_dim=shape.head_dim, bits=bits) / median
            cell = replace(cell, read_bytes_per_s=read, ceiling_fraction=read / ceilings.copy_bytes_per_s)
    calls = CellSeconds(technique=technique, phase=phase, length_tokens=length, seconds=call.seconds)
    return TimedCell(cell=cell, calls=calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """What was measured of one call; the fields are those of a cell."""

    seconds: tuple[float, ...]
    max_error: float | None
    distance_from_full: float
    io_bytes: int
    peak_bytes: int | None
    energy_j: float | None


class _ScoresTooLarge(WorkbenchError):
    """Scores that would not fit; on a CPU the system would end the process instead of refusing."""


def _require_score_memory(technique: str, n_queries: int, length: int, shape: HeadShape, device: str) -> None:
    if device == "cpu" and technique == "math":
        needed = MATH_COPIES * SCORE_BYTES * shape.n_heads * n_queries * length
        free = timing.free_bytes(device)
        if needed > 0.8 * free:
            raise _ScoresTooLarge(
                SCORES_DO_NOT_FIT.format(needed=shown_bytes(needed), free=shown_bytes(free)), remedy="Choose flash."
            )


def _measure_call(
    technique: str,
    n_queries: int,
    length: int,
    shape: HeadShape,
    options: AttentionOptions,
    rounds: int,
    device: str,
    seed: int,
    energy_j: Callable[[], float | None],
) -> _Call:
    q, k, v = timing.tensors(shape, n_queries=n_queries, n_keys=length, device=device, seed=seed)
    around = timing.in_use_bytes(device)
    call = attention_call(q, k, v, technique=technique, options=options)
    with torch.inference_mode():
        out = call()
        error, distance = timing.deviations(out, q, k, v, technique=technique, options=options)
        io_bytes = sum(x.nbytes for x in (q, k, v, out))
        del out
        peak = timing.peak_bytes(call, device=device)
        once = timing.clock([call], device=device)
        estimate = once()
        calls = [call]
        if device == "cuda" and n_queries == 1:
            calls += [attention_call(q, *kv, technique=technique, options=options) for kv in timing.copies(k, v)[1:]]
        if device == "cuda" and estimate < SHORT_S:
            calls *= max(1, REPEATS // len(calls))
        many = timing.clock(calls, device=device)
        many()
        n_rounds = 1 if estimate > 1 else min(rounds, 3) if estimate > 0.2 else rounds
        seconds = tuple(many() for _ in range(n_rounds))
        joule = _energy(many, len(calls), sum(seconds) / len(seconds), energy_j)
    return _Call(
        seconds=seconds,
        max_error=error,
        distance_from_full=distance,
        io_bytes=io_bytes,
        peak_bytes=None if peak is None else peak - around + sum(x.nbytes for x in (q, k, v)),
        energy_j=joule,
    )


def _energy(
    many: Callable[[], float], n_calls: int, call_s: float, energy_j: Callable[[], float | None]
) -> float | None:
    """Return the joule of one call, from enough calls for the meter to move; None where there is no meter."""
    before = energy_j()
    if before is None:
        return None
    n = max(1, round(ENERGY_S / (call_s * n_calls)))
    for _ in range(n):
        many()
    after = energy_j()
    return None if after is None else (after - before) / (n * n_calls)
