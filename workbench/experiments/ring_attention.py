"""One sequence over several devices: how much faster, at which length, and how exact."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from workbench.attention.ring_process import RingRequest, measured_ring
from workbench.catalog.models import model_spec_from
from workbench.core.errors import WorkbenchError
from workbench.core.long_context import RingSpec
from workbench.core.progress import Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.statistics import quantile_interval
from workbench.experiments.parts import Kept
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment

KIND = "ring_attention"


def run(spec: RingSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measure(spec, Path(folder)), on_progress)


def measure(spec: RingSpec, folder: Path) -> Iterator[Progress | Run]:
    """Progress and, last, the run. ``folder`` keeps what was measured, so that a second call goes on from there."""
    started_at = utc_now()
    model, device = model_spec_from(spec.model), chosen_device(spec.device)
    kept = Kept(folder)
    cells = [(n, w) for n in spec.lengths for w in spec.worlds]
    rows: list[dict[str, Any]] = []
    samples: dict[str, list[float]] = {}
    for i, (tokens, world) in enumerate(cells):
        yield Progress(step=f"{tokens} tokens on {world}", done=i, total=len(cells))
        row: dict[str, Any] = {"world": world, "length_tokens": tokens, "provenance": "measured"}
        answer = kept.read(f"{tokens} {world}")
        if answer is None:
            request = RingRequest(
                world=world,
                tokens=tokens,
                n_heads=model.n_heads,
                n_kv_heads=model.n_kv_heads,
                head_dim=model.head_dim,
                device=device.kind,
                rounds=spec.rounds,
                seed=spec.seed,
            )
            try:
                got = measured_ring(request)
            except WorkbenchError as error:
                rows.append(row | {"status": "not available", "reason": error.cause})
                continue
            answer = asdict(got)
            kept.write(f"{tokens} {world}", answer)
        p50 = quantile_interval(np.asarray(answer["seconds"]), 0.5)
        row |= {"status": "measured", "p50_s": p50.value, "p50_s_low": p50.low, "p50_s_high": p50.high}
        row |= {"max_error": answer["max_error"], "peak_bytes": answer["peak_bytes"], "n": len(answer["seconds"])}
        one = next((r for r in rows if r["world"] == 1 and r["length_tokens"] == tokens and "p50_s" in r), None)
        if one:
            row["speedup"] = one["p50_s"] / row["p50_s"]
        rows.append(row)
        samples[f"{tokens}-{world}"] = list(answer["seconds"])
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(device),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=list(rows),
        samples={"seconds": samples},
        failures=[],
    )
