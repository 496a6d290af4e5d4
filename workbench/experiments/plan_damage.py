"""A whole plan, measured: its divergence from the model as it was, by the amount of calibration text."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import CALIBRATION_TEXT, HELD_OUT_TEXT, located
from workbench.compress.folder import token_ids
from workbench.compress.layer_damage import open_layer_damage
from workbench.core.checkpoints import formats_of
from workbench.core.errors import InvalidSpec
from workbench.core.plan_damage import PlanDamageSpec
from workbench.core.progress import Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.experiments.sensitivity import mean_with_interval
from workbench.experiments.text import Ids, read_text, windows_of
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import n_usable_cpus, read_environment

KIND = "plan_damage"


def run(spec: PlanDamageSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measure(spec, Path(folder)), on_progress)


def measure(spec: PlanDamageSpec, folder: Path) -> Iterator[Progress | Run]:
    """Progress and, last, the run: a row for each amount of calibration text. ``folder`` keeps finished rows."""
    started_at = utc_now()
    model_spec_from(spec.model)
    parts = folder / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    device, place = chosen_device(spec.device), located(spec.model)
    total = float(len(spec.n_samples))
    yield Progress(step="loading", done=0, total=total)
    evaluation = token_ids(place, read_text(spec.text, default=HELD_OUT_TEXT))
    text = windows_of(evaluation, n=spec.n_windows, length=spec.window_tokens, what="evaluation")[1::2]
    calibration = token_ids(place, read_text(spec.calibration, default=CALIBRATION_TEXT))
    windows = windows_of(calibration, n=max(1, *spec.n_samples), length=spec.window_tokens, what="calibration")
    order = np.random.default_rng(spec.seed).permutation(len(windows))
    rows: list[dict[str, Any]] = []
    for i, n in enumerate(spec.n_samples):
        kept = parts / f"{n}.json"
        if not kept.exists():
            yield Progress(step=f"{n} windows of calibration text", done=float(i), total=total)
            part = _measured(spec, text, windows[order[:n]], place=place, device=device.kind)
            unfinished = kept.with_suffix(".part")
            unfinished.write_text(json.dumps(part))
            os.replace(unfinished, kept)
        part = json.loads(kept.read_text())
        mean = mean_with_interval(np.asarray(part["kl_nat"]), seed=spec.seed)
        rows.append(
            {
                "calibration_windows": n,
                "calibration_tokens": n * spec.window_tokens,
                "stored_bits": part["stored_bits"],
                "mean_kl_nat_per_token": mean.value,
                "mean_kl_nat_per_token_low": mean.low,
                "mean_kl_nat_per_token_high": mean.high,
                "n_windows": len(part["kl_nat"]),
                "make_s": part["make_s"],
                "provenance": "measured",
            }
        )
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(device),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=list(rows),
        samples={"kl_nat": {str(n): json.loads((parts / f"{n}.json").read_text())["kl_nat"] for n in spec.n_samples}},
        failures=[],
    )


def _measured(spec: PlanDamageSpec, text: Ids, calibration: Ids, *, place: str, device: str) -> dict[str, Any]:
    """KL of each window of text under the plan, after GPTQ saw the calibration windows (none: rounded)."""
    damage = open_layer_damage(place, device=device, threads=max(1, n_usable_cpus()))
    chosen = formats_of(spec.plan, damage.groups)
    unfit = [g.name for g, f in chosen if not damage.fits(g, f.name)]
    if unfit:
        raise InvalidSpec(
            f"The inputs of {unfit[0]} are no multiple of the format's group.", remedy="Choose another format."
        )
    damage.remember("verify", text)
    began = time.monotonic()
    if len(calibration):
        damage.calibrate(calibration)
    with damage.applied({g.name: f.name for g, f in chosen}):
        made_s = time.monotonic() - began
        kl = damage.kl_nat("verify")
    sizes = {g.name: damage.n_weights(g) for g in damage.groups}
    bits = sum(damage.stored_bits(g, f.name) * sizes[g.name] for g, f in chosen) / sum(sizes.values())
    return {"kl_nat": kl.tolist(), "make_s": made_s, "stored_bits": bits}


def enough_tokens(rows: Sequence[Mapping[str, Any]], *, within: float = 0.05) -> int:
    """Least calibration text from which on every larger amount stays within a share of the largest one's divergence."""
    ordered = sorted(rows, key=lambda r: r["calibration_tokens"])
    goal = ordered[-1]["mean_kl_nat_per_token"] * (1 + within)
    enough = ordered[-1]
    for row in reversed(ordered):
        if row["mean_kl_nat_per_token"] > goal:
            break
        enough = row
    return int(enough["calibration_tokens"])
