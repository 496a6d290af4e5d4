"""Threads and batch under limits, and what a choice that follows the machine does when it becomes busy."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.edge import EdgeSpec
from workbench.core.units import MIB
from workbench.experiments.edge_timing import in_turns, times_of
from workbench.experiments.footprint import FootprintFailed, footprint
from workbench.telemetry.environment import n_usable_cpus
from workbench.testing.burden import Burden
from workbench.vision.adaptive import Adaptive, HostPressure, Level
from workbench.vision.sessions import Graph

Floats = npt.NDArray[np.float32]
GRID_BATCHES = (1, 16, 256)
GRID_ROUNDS = 7
PHASE_S = 1.0
OTHERS = (0.35, 0.6)  # shares of the processor that others may take before the next level is used


def thread_counts() -> list[int]:
    """1, 2, 4 ... up to all processors that this process may use."""
    n, found = n_usable_cpus(), [1]
    while found[-1] * 2 <= n:
        found.append(found[-1] * 2)
    return found if found[-1] == n else [*found, n]


def settings_rows(
    spec: EdgeSpec, graphs: Mapping[str, Path], inputs: Floats, allowed: Mapping[str, bool]
) -> list[dict[str, Any]]:
    """A row for each technique, number of threads and batch: time, memory, power, and which limit it breaks.

    Args:
        spec: With the limits.
        graphs: By technique.
        inputs: To answer.
        allowed: Whether a technique's accuracy lets it be chosen.
    """
    rows: list[dict[str, Any]] = []
    answers = {
        (technique, threads): Graph(path, threads=threads).logits
        for technique, path in graphs.items()
        for threads in thread_counts()
    }
    with tempfile.TemporaryDirectory(prefix="workbench-") as scratch:
        for batch in GRID_BATCHES:
            one = Path(scratch) / f"{batch}.npy"
            np.save(one, np.concatenate([inputs] * -(-batch // len(inputs)))[:batch])
            named = {f"{t}|{n}": answer for (t, n), answer in answers.items()}
            timed: Any = None
            for item in in_turns(named, inputs, batch=batch, rounds=GRID_ROUNDS, seed=spec.seed):
                timed = item
            for technique, threads in answers:
                found = times_of(timed[f"{technique}|{threads}"])
                try:
                    cost = footprint(graphs[technique], threads=threads, inputs=one)
                except FootprintFailed:
                    continue
                per_s = batch / found["p50_s"]
                power = (cost.energy_j if cost.energy_j is not None else cost.cpu_s * spec.watts_per_core) * per_s
                rows.append(
                    {
                        "part": "setting",
                        "technique": technique,
                        "threads": threads,
                        "batch": batch,
                        **found,
                        "inputs_per_s": per_s,
                        "peak_bytes": cost.peak_bytes,
                        "power_w": power,
                        "power_source": "counter" if cost.energy_j is not None else "estimate",
                        "breaks": _broken(spec, found["p99_s"], cost.peak_bytes, power)
                        + ([] if allowed.get(technique, True) else ["accuracy"]),
                        "provenance": "measured",
                    }
                )
    return rows


def _broken(spec: EdgeSpec, p99_s: float, peak_bytes: int, power_w: float) -> list[str]:
    limits = (
        ("latency", spec.latency_ms, 1e3 * p99_s),
        ("memory", spec.memory_mib, peak_bytes / MIB),
        ("power", spec.power_w, power_w),
    )
    return [name for name, limit, value in limits if limit is not None and value > limit]


def chosen(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Most inputs a second within all limits; None where nothing keeps them."""
    return max((r for r in rows if not r["breaks"]), key=lambda r: r["inputs_per_s"], default=None)


def adaptive_rows(graphs: Sequence[tuple[str, Path, int]], inputs: Floats) -> list[dict[str, Any]]:
    """Latency of batch 1 in a quiet, a busy and again a quiet second: the best graph always, and the choice that follows.

    Args:
        graphs: Name, graph and bytes that it needs, from the best to the smallest.
        inputs: Answered one by one.
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
    rows: list[dict[str, Any]] = []
    fixed = Graph(levels[0].graph, threads=levels[0].threads)
    with Adaptive(levels, pressure=_steady(HostPressure())) as adaptive:
        for phase in ("quiet", "busy", "quiet again"):
            if phase == "busy":
                with Burden(processes=n):
                    rows += _phase(phase, fixed, adaptive, inputs)
            else:
                rows += _phase(phase, fixed, adaptive, inputs)
    return rows


def _steady(look: HostPressure, every_s: float = 0.25) -> Any:
    """Looks at the machine four times a second at most: a look takes 0.3 ms, and a shorter span tells little."""
    seen = {"at": time.monotonic(), "found": look()}

    def read() -> Any:
        if time.monotonic() - seen["at"] >= every_s:  # type: ignore[operator]
            seen.update(at=time.monotonic(), found=look())
        return seen["found"]

    return read


def _phase(phase: str, fixed: Graph, adaptive: Adaptive, inputs: Floats) -> list[dict[str, Any]]:
    times: dict[str, list[float]] = {"fixed": [], "adaptive": []}
    adaptive.taken.clear()
    began, i = time.perf_counter(), 0
    while time.perf_counter() - began < 2 * PHASE_S:
        x = inputs[i % len(inputs) : i % len(inputs) + 1]
        for name, answer in (("fixed", fixed.logits), ("adaptive", adaptive)):
            before = time.perf_counter()
            answer(x)
            times[name].append(time.perf_counter() - before)
        i += 1
        time.sleep(0.001)  # as requests come, not as fast as they can be answered
    late = {name: np.array(t[len(t) // 3 :]) for name, t in times.items()}  # after it has noticed
    taken = adaptive.taken[len(adaptive.taken) // 3 :]
    usual = max(set(taken), key=taken.count) if taken else ""
    return [
        {
            "part": "adaptive",
            "phase": phase,
            "choice": name,
            "model": usual if name == "adaptive" else adaptive.levels[0].name,
            "p50_s": float(np.median(t)),
            "p99_s": float(np.quantile(t, 0.99)),
            "n": len(t),
            "provenance": "measured",
        }
        for name, t in late.items()
    ]
