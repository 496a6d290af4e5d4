"""vLLM's steps by precision, batch and context: prefill, time per output token, and room for the KV cache."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import located
from workbench.core.checkpoints import FORMATS, MIXED, config_groups, formats_of, quantization_config
from workbench.core.errors import InvalidSpec, NotAvailable, WorkbenchError
from workbench.core.progress import SCRATCH, Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.serving_speed import Served, ServingSpeedSpec
from workbench.core.statistics import quantile_interval
from workbench.engines.environments import require
from workbench.engines.inside_vllm.call import told
from workbench.estimate.linear_layers import decoder_groups, products
from workbench.estimate.roofline import prefill_floor_s, step_floor_s
from workbench.experiments.ceilings import published_ceilings
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment

KIND = "serving_speed"
TIE = 1.02  # medians closer than this are called equal
START_WORK = 12.0  # starting vLLM, in units of one cell


def run(spec: ServingSpeedSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measure(spec, Path(folder)), on_progress)


def measure(spec: ServingSpeedSpec, folder: Path) -> Iterator[Progress | Run]:
    """Progress and, last, the run. ``folder`` keeps what was measured, so that a second call goes on from there."""
    started_at = utc_now()
    device = chosen_device("auto")
    vllm_version = require("vllm", device=device.kind).version
    parts, scratch = folder / "parts", folder / SCRATCH
    for made in (parts, scratch):
        made.mkdir(parents=True, exist_ok=True)
    failures: list[Mapping[str, str]] = []
    work = START_WORK + len(spec.cells)
    measured: dict[str, list[dict[str, Any]]] = {}
    for i, text in enumerate(spec.served):
        served = Served.read(text)
        kept = parts / f"{i}.json"
        if not kept.exists():
            lines: list[dict[str, Any]] = []
            try:
                yield Progress(step=f"{served.label} · starting vLLM", done=i * work, total=len(spec.served) * work)
                for line in told("steps", _request(spec, served, scratch), folder=scratch, device=device.kind):
                    lines.append(line)
                    step = _step(served, line)
                    done = i * work + START_WORK + len(lines) - 1
                    yield Progress(step=step, done=done, total=len(spec.served) * work)
            except WorkbenchError as error:
                failures.append({"method": text, "cause": error.cause, "remedy": error.remedy})
                continue
            unfinished = kept.with_suffix(".part")
            unfinished.write_text(json.dumps(lines))
            os.replace(unfinished, kept)
        measured[text] = json.loads(kept.read_text())
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(device).with_package("vllm", vllm_version),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=[row for text in spec.served for row in _rows(text, measured.get(text), failures)],
        samples={"step_s": {text: _samples(lines) for text, lines in measured.items()}},
        failures=failures,
    )


def _step(served: Served, line: Mapping[str, Any]) -> str:
    if "batch" not in line:
        return f"{served.label} · vLLM is ready"
    return f"{served.label} · batch {line['batch']} × {line['context_tokens']} tokens"


def _request(spec: ServingSpeedSpec, served: Served, scratch: Path) -> dict[str, Any]:
    place = located(served.folder or spec.model)
    if served.folder is not None and not Path(place).is_dir():
        raise InvalidSpec(
            f"{served.folder} is neither a format nor a folder.", remedy=f"Formats: {', '.join(FORMATS)}."
        )
    budget = max(spec.max_num_batched_tokens, *spec.batches)
    return {
        "model": place if served.folder else str(_shape(spec, served, scratch)),
        "random_weights": served.folder is None,
        "kv_cache_dtype": served.kv_cache_dtype,
        "cells": spec.cells,
        "decode_steps": spec.decode_steps + 2,
        # The first sequences go on while the prompts of the last ones are read, a token for each reading step.
        "max_model_len": max(spec.contexts) + 2 * -(-spec.most_tokens // budget) + 2 * spec.decode_steps + 64,
        "options": {
            "max_num_batched_tokens": budget,
            "gpu_memory_utilization": spec.memory_fraction,
            "tensor_parallel_size": spec.tensor_parallel,
            **spec.engine_options,
        },
        "seed": spec.seed,
    }


def _shape(spec: ServingSpeedSpec, served: Served, scratch: Path) -> Path:
    """A folder with nothing but a configuration, for weights that vLLM makes up."""
    config = json.loads((Path(located(spec.model)) / "config.json").read_text())
    plan = plan_of(spec, served)
    if any(form != "bf16" for form in plan.values()):
        groups = decoder_groups(model_spec_from(spec.model))
        kept = [m for g, form in formats_of(plan, groups) if form.weights is None for m in g.modules]
        config["quantization_config"] = quantization_config(config_groups(plan, groups), kept=["lm_head", *kept])
    folder = scratch / served.text
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    return folder


def plan_of(spec: ServingSpeedSpec, served: Served) -> dict[str, str]:
    """The format of each role, or of each layer group."""
    if served.format == MIXED:
        return dict(spec.plan or {})
    return dict.fromkeys(products(model_spec_from(spec.model)), served.format or "bf16")


def _rows(text: str, lines: list[dict[str, Any]] | None, failures: list[Mapping[str, str]]) -> list[dict[str, Any]]:
    served = Served.read(text)
    if lines is None:
        reason = next(f["cause"] for f in failures if f["method"] == text)
        return [{"served": text, "label": served.label, "status": "failed", "reason": reason}]
    about = next((line for line in lines if "kv_capacity_tokens" in line), {})
    rows: list[dict[str, Any]] = []
    for line in (line for line in lines if "batch" in line):
        row: dict[str, Any] = {
            "served": text,
            "label": served.label,
            "status": "does not fit" if line.get("does_not_fit") else "measured",
            "provenance": "measured",
            "kv_capacity_tokens": about.get("kv_capacity_tokens"),
            "batch": line["batch"],
            "context_tokens": line["context_tokens"],
        }
        if not line.get("does_not_fit"):
            tpot = quantile_interval(np.asarray(line["step_s"]), 0.5)
            n_read = line["batch"] * line["context_tokens"]
            row |= {
                "tpot_p50_s": tpot.value,
                "tpot_p50_s_low": tpot.low,
                "tpot_p50_s_high": tpot.high,
                "tpot_p99_s": float(np.quantile(line["step_s"], 0.99)),
                "n_steps": len(line["step_s"]),
                "prefill_s": line["prefill_s"],
                "prefill_tokens_per_s": n_read / line["prefill_s"],
            }
        rows.append(row)
    return rows


def with_roofline(run: Run) -> list[dict[str, Any]]:
    """The rows of a run beside the least times that the device's published peaks allow, where the catalogue has it.

    ``step_roofline_fraction`` and ``prefill_roofline_fraction`` say how much of the way there is done; 1 is the floor.
    """
    spec = ServingSpeedSpec.from_dict(run.spec)
    rows = [dict(row) for row in run.results]
    try:
        ceilings = published_ceilings(run.environment.device_id)
    except NotAvailable:
        return rows
    model = model_spec_from(spec.model)
    for row in rows:
        served = Served.read(row["served"])
        plan = plan_of(spec, served)
        if row["status"] != "measured" or served.folder is not None or any("." in group for group in plan):
            continue
        size = {"batch": row["batch"], "context_tokens": row["context_tokens"], "ceilings": ceilings}
        step = step_floor_s(model, plan, kv_bits=8 if served.kv_cache_dtype == "fp8" else 16, **size)
        prefill = prefill_floor_s(model, plan, **size)
        row |= {
            "step_floor_s": step,
            "step_roofline_fraction": step / row["tpot_p50_s"],
            "prefill_floor_s": prefill,
            "prefill_roofline_fraction": prefill / row["prefill_s"],
        }
    return rows


def crossover_batch(run: Run, served: str, other: str, *, context_tokens: int) -> int | None:
    """Least measured batch from which ``served`` is no more than 2 % faster per output token than ``other``; None: none."""
    times = {
        (r["served"], r["batch"]): r["tpot_p50_s"]
        for r in run.results
        if r["status"] == "measured" and r["context_tokens"] == context_tokens
    }
    batches = sorted(b for name, b in times if name == served and (other, b) in times)
    slower = [b for b in batches if times[served, b] * TIE >= times[other, b]]
    return next((b for b in slower if all(c in slower for c in batches if c >= b)), None)


def _samples(lines: list[dict[str, Any]]) -> dict[str, list[float]]:
    return {
        f"{line['batch']}x{line['context_tokens']}": [round(s, 7) for s in line["step_s"]]
        for line in lines
        if "step_s" in line
    }
