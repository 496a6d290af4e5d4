"""Threads and batch sizes within limits, and latency on a busy machine with a fixed and with an adaptive model."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from workbench.apparatus.burden import Burden
from workbench.apparatus.footprint import FootprintFailed, footprint
from workbench.core.units import LEAST_FOR_P99
from workbench.measuring.interleaved import batch_times, interleaved_times
from workbench.questions.edge.rows import AdaptiveResult, Limits, Setting
from workbench.questions.edge.spec import EdgeSpec
from workbench.telemetry.environment import n_usable_cpus
from workbench.vision.adaptive import Adaptive, HostPressure, Level, Pressure
from workbench.vision.sessions import Examples, Graph

Floats = npt.NDArray[np.float32]
GRID_BATCHES = (1, 16, 256)
GRID_ROUNDS = 7
QUICK_S, ENOUGH = 0.02, ceil(LEAST_FOR_P99 / GRID_ROUNDS)
"""Batches up to so long are timed often enough for a p99: so many in a round."""
LONGEST_S = 2.0
"""Batch sizes whose single batch would take longer are not timed."""
PHASE_S = 1.0
Phase = Literal["quiet", "busy", "quiet again"]
OTHERS = (0.35, 0.6)  # shares of the processor that others may take before the next level is used


def thread_counts() -> list[int]:
    """Return 1, 2, 4 ... up to all processors that this process may use."""
    n = n_usable_cpus()
    return sorted({*(2**i for i in range(n.bit_length())), n})


def settings(
    spec: EdgeSpec,
    graphs: Mapping[str, Path],
    inputs: Examples,
    allowed: Mapping[str, bool],
    *,
    batch: int | None = None,
) -> list[Setting]:
    """Return the time, memory and power of each technique, number of threads and batch size, and the limits that it exceeds.

    Args:
        spec: Spec with the limits.
        graphs: Graphs by technique.
        inputs: Inputs that are answered.
        allowed: Whether the accuracy of a technique allows to choose it.
        batch: Batch size where it is fixed.
    """
    rows: list[Setting] = []
    limits = Limits.of(spec)
    answers = {
        (technique, threads): Graph(path, threads=threads).logits
        for technique, path in graphs.items()
        for threads in thread_counts()
    }
    with tempfile.TemporaryDirectory(prefix="workbench-") as scratch:
        for size in (batch,) if batch else GRID_BATCHES:
            slowest_s = size * max((r.times.p50_s / r.batch for r in rows), default=0.0)
            if slowest_s > LONGEST_S:
                break
            one = Path(scratch) / f"{size}.npy"
            np.save(one, np.concatenate([inputs] * -(-size // len(inputs)))[:size])
            least = ENOUGH if slowest_s <= QUICK_S else 1
            named = {f"{t}|{n}": answer for (t, n), answer in answers.items()}
            timed = interleaved_times(named, inputs, batch=size, rounds=GRID_ROUNDS, seed=spec.seed, least=least)
            for technique, threads in answers:
                times = batch_times(timed[f"{technique}|{threads}"])
                try:
                    cost = footprint(graphs[technique], threads=threads, inputs=[one])
                except FootprintFailed:
                    continue
                energy_j, source = cost.energy(spec.watts_per_core)
                per_s = size / times.p50_s
                broken = limits.broken(p99_s=times.p99_s, peak_bytes=cost.peak_bytes, power_w=energy_j * per_s)
                rows.append(
                    Setting(
                        technique=technique,
                        threads=threads,
                        batch=size,
                        times=times,
                        inputs_per_s=per_s,
                        peak_bytes=cost.peak_bytes,
                        power_w=energy_j * per_s,
                        power_source=source,
                        breaks=broken if allowed.get(technique, True) else (*broken, "accuracy"),
                    )
                )
    return rows


def best_setting(rows: Sequence[Setting]) -> Setting | None:
    """Return the setting with the highest throughput within all limits; None where there is none."""
    return max((r for r in rows if not r.breaks), key=lambda r: r.inputs_per_s, default=None)


def adaptive_results(graphs: Sequence[tuple[str, Path, int]], inputs: Floats) -> list[AdaptiveResult]:
    """Return the latency of batch size 1 on a quiet, a busy and again a quiet machine, with the best graph and with the adaptive choice.

    Args:
        graphs: Name, graph and bytes that it needs, from the best to the smallest.
        inputs: Inputs that are answered one by one.
    """
    n = n_usable_cpus()
    levels = [
        Level(
            name=name,
            graph=path,
            needs_bytes=needs,
            threads=n if i == 0 else 1,
            most_others_fraction=OTHERS[i] if i < min(len(OTHERS), len(graphs) - 1) else 1.0,
        )
        for i, (name, path, needs) in enumerate(graphs)
    ]
    rows: list[AdaptiveResult] = []
    phases: tuple[Phase, ...] = ("quiet", "busy", "quiet again")
    fixed = Graph(levels[0].graph, threads=levels[0].threads)
    with Adaptive(levels, pressure=_rate_limited(HostPressure())) as adaptive:
        for phase in phases:
            if phase == "busy":
                with Burden(processes=n):
                    rows += _phase(phase, fixed, adaptive, inputs)
            else:
                rows += _phase(phase, fixed, adaptive, inputs)
    return rows


def _rate_limited(read_host: HostPressure, every_s: float = 0.25) -> Callable[[], Pressure]:
    """Return a reader of the machine that reads it four times a second at most: a reading takes 0.3 ms, and shorter spans are noisy."""
    read_at, pressure = time.monotonic(), read_host()

    def read() -> Pressure:
        nonlocal read_at, pressure
        if time.monotonic() - read_at >= every_s:
            read_at, pressure = time.monotonic(), read_host()
        return pressure

    return read


def _phase(phase: Phase, fixed: Graph, adaptive: Adaptive, inputs: Floats) -> list[AdaptiveResult]:
    times: dict[Literal["fixed", "adaptive"], list[float]] = {"fixed": [], "adaptive": []}
    answers: tuple[Callable[[Floats], Floats], ...] = (fixed.logits, adaptive)
    adaptive.used_levels.clear()
    began, i = time.perf_counter(), 0
    while time.perf_counter() - began < 2 * PHASE_S:
        x = inputs[i % len(inputs) : i % len(inputs) + 1]
        for own, answer in zip(times.values(), answers, strict=True):
            before = time.perf_counter()
            answer(x)
            own.append(time.perf_counter() - before)
        i += 1
        time.sleep(0.001)  # as requests come, not as fast as they can be answered
    taken = adaptive.used_levels[len(adaptive.used_levels) // 3 :]
    usual = max(set(taken), key=taken.count) if taken else ""
    results = []
    for choice, own in times.items():
        late = np.array(own[len(own) // 3 :])  # after it has noticed
        results.append(
            AdaptiveResult(
                phase=phase,
                choice=choice,
                model=usual if choice == "adaptive" else adaptive.levels[0].name,
                p50_s=float(np.median(late)),
                p99_s=float(np.quantile(late, 0.99)),
                n=len(late),
            )
        )
    return results
