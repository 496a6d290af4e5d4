"""Checkpoints that vLLM loads, made by llm-compressor from a model and calibration text."""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import CALIBRATION_TEXT, located
from workbench.compress.folder import linear_groups, token_ids
from workbench.compress.maker_call import made_checkpoint
from workbench.core.checkpoints import (
    MIXED,
    SCHEMES,
    CheckpointSpec,
    LayerGroup,
    config_groups,
    formats_of,
)
from workbench.core.errors import InvalidSpec, WorkbenchError
from workbench.core.progress import SCRATCH, Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.engines.environments import require
from workbench.experiments.text import read_text, windows_of
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment

KIND = "checkpoint"


def run(spec: CheckpointSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; checkpoints lie in ``spec.out``, which must be given."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measure(spec, Path(folder)), on_progress)


def measure(spec: CheckpointSpec, folder: Path) -> Iterator[Progress | Run]:
    """Progress and, last, the run with a row for each checkpoint. Finished checkpoints are not made again."""
    started_at = utc_now()
    model_spec_from(spec.model)
    device = chosen_device("auto")
    environment = require("llmcompressor", device=device.kind)
    scratch = folder / SCRATCH
    scratch.mkdir(parents=True, exist_ok=True)
    groups = linear_groups(located(spec.model))
    plans = {name: plan_of(spec, name, groups) for name in spec.schemes}
    needs_text = any(algorithm != "rtn" for algorithm, _ in plans.values())
    ids = _calibration_ids(spec, scratch) if needs_text else None
    rows: list[Mapping[str, Any]] = []
    failures: list[Mapping[str, str]] = []
    total = 100.0 * len(plans)
    for i, (name, (algorithm, plan)) in enumerate(plans.items()):
        target = place_of(spec, name, plan, folder)
        began = time.monotonic()
        request = {
            "model": located(spec.model),
            "algorithm": algorithm,
            "config_groups": config_groups(plan, groups),
            "ignore": ["lm_head", *(m for g, f in formats_of(plan, groups) if f.weights is None for m in g.modules)],
            "ids": str(ids) if ids and algorithm != "rtn" else None,
            "seed": spec.seed,
        }
        if not target.exists():
            try:
                for step in made_checkpoint(environment.python, request, scratch=scratch, target=target):
                    yield Progress(step=f"{name} · {step.step}", done=100.0 * i + step.done, total=total)
            except WorkbenchError as error:
                failures.append({"method": name, "cause": error.cause, "remedy": error.remedy})
                continue
        rows.append(
            {
                "scheme": name,
                "label": SCHEMES[name].label if name in SCHEMES else "mixed",
                "folder": str(target),
                "weight_bytes": sum(f.stat().st_size for f in target.glob("*.safetensors")),
                "calibration_tokens": spec.n_samples * spec.sample_tokens if algorithm != "rtn" else 0,
                "make_s": time.monotonic() - began,
                "llmcompressor": environment.version,
                "provenance": "measured",
            }
        )
    if not rows:
        raise WorkbenchError(failures[0]["cause"], remedy=failures[0]["remedy"])
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(device),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=rows,
        samples={},
        failures=failures,
    )


def plan_of(spec: CheckpointSpec, scheme: str, groups: list[LayerGroup]) -> tuple[str, dict[str, str]]:
    """Algorithm, and the format of each group, of a scheme."""
    if scheme == MIXED:
        plan = {g.name: f.name for g, f in formats_of(spec.plan or {}, groups)}
        return "gptq", plan
    return SCHEMES[scheme].algorithm, {g.name: SCHEMES[scheme].format for g in groups}


def place_of(spec: CheckpointSpec, scheme: str, plan: Mapping[str, str], folder: Path) -> Path:
    """Where a checkpoint goes: its name tells what it was made from, so that another spec never meets it."""
    out = Path(spec.out).expanduser() if spec.out else folder.parent.parent / "checkpoints"
    what = [located(spec.model), spec.text, spec.n_samples, spec.sample_tokens, spec.seed, sorted(plan.items())]
    digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:8]
    target = out / f"{Path(spec.model).name}-{scheme}-{digest}"
    if target.exists() and not list(target.glob("*.safetensors")):
        raise InvalidSpec(f"{target} exists and is no checkpoint.", remedy="Move it away, or name another folder.")
    return target


def _calibration_ids(spec: CheckpointSpec, scratch: Path) -> Path:
    ids = token_ids(located(spec.model), read_text(spec.text, default=CALIBRATION_TEXT))
    windows = windows_of(ids, n=spec.n_samples, length=spec.sample_tokens, what="calibration")
    path = scratch / "calibration.npy"
    np.save(path, windows)
    return path
