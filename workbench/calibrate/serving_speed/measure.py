"""vLLM's steps by precision, batch and context: prefill, time per output token, and room for the KV cache."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from workbench.calibrate.serving_speed.rows import CellSamples, ServingSpeedSamples, plan_of
from workbench.calibrate.serving_speed.spec import ServingSpeedSpec
from workbench.catalog.formats import FORMATS, config_groups, formats_of, quantization_config
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import located
from workbench.catalog.served import Served
from workbench.core.errors import InvalidSpec, WorkbenchError
from workbench.core.language import gettext, gettext_noop
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.core.statistics import median_over_rounds
from workbench.engines.environments import require
from workbench.engines.inside_vllm.call import script_lines
from workbench.estimate.linear_layers import decoder_groups
from workbench.estimate.rows import CellTooLarge, StepCell, StepTime
from workbench.measuring.envelope import Record
from workbench.telemetry.devices import chosen_device

START_WORK = 12.0  # starting vLLM, in units of one cell


@dataclass(frozen=True, slots=True, kw_only=True)
class CellLine:
    """A cell as the script in vLLM's environment prints it."""

    batch: int
    context_tokens: int
    prefill_s: float | None = None
    """None: the KV cache does not hold the cell."""
    step_s: Sequence[float] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionLines:
    """What vLLM did in one precision, as it is kept for a resumed measurement."""

    kv_capacity_tokens: int | None
    cells: Sequence[CellLine]


def measure(spec: ServingSpeedSpec, record: Record) -> Iterator[Progress]:
    """Time the cells of each precision in a vLLM of its own; a precision that fails becomes a failure."""
    record.device = device = chosen_device("auto")
    record.packages["vllm"] = require("vllm", device=device.kind).version
    scratch, work = record.kept.scratch, START_WORK + len(spec.cells)
    total = len(spec.served) * work
    samples: dict[str, list[CellSamples]] = {}
    for i, text in enumerate(spec.served):
        served, begin = Served.read(text), i * work
        lines = record.kept.read(str(i), PrecisionLines)
        if lines is None:
            capacity, cells = None, list[CellLine]()
            try:
                yield Progress(
                    step=gettext_noop("{label} · starting vLLM").format(label=served.label), done=begin, total=total
                )
                for message in script_lines(
                    "steps", _request(spec, served, scratch), folder=scratch, device=device.kind
                ):
                    if "batch" in message:
                        cells.append(msgspec.convert(message, CellLine))
                    else:
                        capacity = msgspec.convert(message["kv_capacity_tokens"], int)
                    step = _step(served, cells[-1] if cells else None)
                    yield Progress(step=step, done=begin + START_WORK + len(cells), total=total)
            except WorkbenchError as error:
                record.failures.append(Failure.of(error, text))
                continue
            lines = PrecisionLines(kv_capacity_tokens=capacity, cells=cells)
            record.kept.write(str(i), lines)
        record.rows += [_row(served, line, lines.kv_capacity_tokens) for line in lines.cells]
        samples[text] = [
            CellSamples(batch=line.batch, context_tokens=line.context_tokens, step_s=[round(s, 7) for s in line.step_s])
            for line in lines.cells
            if line.step_s
        ]
    record.samples = ServingSpeedSamples(cells=samples)


def _step(served: Served, line: CellLine | None) -> str:
    if line is None:
        return f"{served.label} · vLLM is ready"
    return f"{served.label} · batch {line.batch} × {line.context_tokens} tokens"


def _request(spec: ServingSpeedSpec, served: Served, scratch: Path) -> dict[str, object]:
    place = located(served.folder or spec.model)
    if served.folder is not None and not Path(place).is_dir():
        raise InvalidSpec(
            gettext("{folder} is neither a format nor a folder.").format(folder=served.folder),
            remedy=gettext("Formats: {names}.").format(names=", ".join(FORMATS)),
        )
    budget = max(spec.max_num_batched_tokens, *spec.batches)
    return {
        "model": place if served.folder else str(shape_folder(spec, served, scratch)),
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


def shape_folder(spec: ServingSpeedSpec, served: Served, scratch: Path) -> Path:
    """Write a folder with nothing but a configuration, for random weights, and return it."""
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


def _row(served: Served, line: CellLine, kv_capacity_tokens: int | None) -> StepCell:
    batch, context = line.batch, line.context_tokens
    if line.prefill_s is None:
        return CellTooLarge(
            served=served.text,
            label=served.label,
            batch=batch,
            context_tokens=context,
            kv_capacity_tokens=kv_capacity_tokens,
        )
    return StepTime(
        served=served.text,
        label=served.label,
        batch=batch,
        context_tokens=context,
        kv_capacity_tokens=kv_capacity_tokens,
        tpot_p50_s=median_over_rounds(np.asarray(line.step_s)),
        tpot_p99_s=float(np.quantile(line.step_s, 0.99)),
        n_steps=len(line.step_s),
        prefill_s=line.prefill_s,
        prefill_tokens_per_s=batch * context / line.prefill_s,
    )
