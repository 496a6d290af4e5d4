"""Attention techniques over length: time, memory, energy, error, and their share of what this device can do."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from workbench.attention import timing
from workbench.attention.cells import measured_cell
from workbench.attention.timing import Ceilings, HeadShape
from workbench.catalog.models import model_spec_from
from workbench.core.attention import TECHNIQUES, AttentionSpec
from workbench.core.progress import Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.statistics import quantile_interval
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.energy import energy_meter
from workbench.telemetry.environment import read_environment

KIND = "attention"


def run(spec: AttentionSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measure(spec, Path(folder)), on_progress)


def measure(spec: AttentionSpec, folder: Path) -> Iterator[Progress | Run]:
    """Progress and, last, the run. ``folder`` keeps measured cells, so that a second call goes on from there."""
    started_at = utc_now()
    model = model_spec_from(spec.model)
    device = chosen_device(spec.device)
    shape = HeadShape(model.n_heads, model.n_kv_heads, model.head_dim)
    cells = [(p, n, t) for p in spec.phases for n in sorted(set(spec.lengths)) for t in spec.techniques]
    kept = folder / "cells.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    yield Progress(step="measuring the ceilings", done=0, total=len(cells) + 1)
    ceilings = timing.ceilings(device.kind)
    meter = energy_meter(device.kind)
    rows: list[dict[str, Any]] = _read(kept)
    known = {(r["phase"], r["length_tokens"], r["technique"]) for r in rows}
    for i, (phase, length, technique) in enumerate(cells):
        label = TECHNIQUES[technique].label
        yield Progress(step=f"{phase} · {length} tokens · {label}", done=i + 1, total=len(cells) + 1)
        if (phase, length, technique) in known:
            continue
        row = _too_slow(rows, spec, phase, technique) or measured_cell(
            technique,
            phase=phase,
            length=length,
            shape=shape,
            options=spec.options,
            ceilings=ceilings,
            rounds=spec.rounds,
            device=device.kind,
            seed=spec.seed,
            energy_j=meter,
        )
        rows.append(row | {"phase": phase, "length_tokens": length, "technique": technique})
        with kept.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
            file.flush()
            os.fsync(file.fileno())
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(device),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=[_ceiling_row(ceilings), *map(_summary, rows)],
        samples={"seconds": {_name(r): r["seconds"] for r in rows if "seconds" in r}},
        failures=[],
    )


def _read(kept: Path) -> list[dict[str, Any]]:
    if not kept.exists():
        return []
    whole = kept.read_text().rpartition("\n")[0]  # a line that was cut off is measured again
    return [json.loads(line) for line in whole.splitlines()]


def _name(row: dict[str, Any]) -> str:
    return f"{row['phase']} {row['length_tokens']} {row['technique']}"


def _too_slow(rows: list[dict[str, Any]], spec: AttentionSpec, phase: str, technique: str) -> dict[str, Any] | None:
    """A row for a technique that took too long, or ran out of memory, at a smaller length."""
    before = [r for r in rows if r["technique"] == technique and r["phase"] == phase]
    if any(r["status"] == "out of memory" for r in before):
        return {"status": "out of memory", "reason": "A shorter context did not fit already."}
    slowest = max((max(r["seconds"]) for r in before if "seconds" in r), default=0.0)
    if slowest > spec.most_call_s:
        return {"status": "left out", "reason": f"One call took {slowest:.0f} s at a smaller length."}
    return None


def _ceiling_row(ceilings: Ceilings) -> dict[str, Any]:
    return {
        "part": "ceilings",
        "provenance": "measured",
        "copy_bytes_per_s": ceilings.copy_bytes_per_s,
        "matmul_flop_per_s": ceilings.matmul_flop_per_s,
    }


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"part": "cell", "provenance": "measured", "label": TECHNIQUES[row["technique"]].label}
    told |= {k: v for k, v in row.items() if k != "seconds"}
    if "seconds" in row:
        p50 = quantile_interval(np.asarray(row["seconds"]), 0.5)
        told |= {"p50_s": p50.value, "p50_s_low": p50.low, "p50_s_high": p50.high, "n": len(row["seconds"])}
    return told
