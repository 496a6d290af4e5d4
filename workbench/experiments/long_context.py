"""Long contexts with a whole model: read and continued, cached in several ways, up to where memory ends."""

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.attention import timing
from workbench.attention.in_model import LongModel
from workbench.attention.limits import cache_row, longest_found, reading
from workbench.attention.techniques import best_technique
from workbench.catalog.models import is_only_a_shape, model_spec_from
from workbench.catalog.paths import located
from workbench.core.attention import AttentionOptions
from workbench.core.devices import Device
from workbench.core.errors import WorkbenchError
from workbench.core.long_context import LongContextSpec, ServedVariant
from workbench.core.models import ModelSpec
from workbench.core.progress import Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.engines.environments import require
from workbench.engines.inside_vllm.call import told
from workbench.estimate.kv_cache import kv_cache_bytes, longest_context_tokens, prefill_workspace_bytes
from workbench.estimate.weights import weight_bytes
from workbench.experiments.context_limits import check_fits, number_bits
from workbench.experiments.parts import Kept
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment

KIND = "long_context"
START_WORK = 12.0


def run(spec: LongContextSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measure(spec, Path(folder)), on_progress)


def measure(spec: LongContextSpec, folder: Path) -> Iterator[Progress | Run]:
    """Progress and, last, the run. ``folder`` keeps what was measured, so that a second call goes on from there."""
    started_at = utc_now()
    model, device = model_spec_from(spec.model), chosen_device(spec.device)
    check_fits(spec, model, device)
    environment = read_environment(device)
    if spec.served:
        environment = environment.with_package("vllm", require("vllm", device=device.kind).version)
    kept = Kept(folder)
    rows: list[dict[str, Any]] = []
    failures: list[Mapping[str, str]] = []
    own = len(spec.lengths) * len(spec.chunks) + len(spec.caches) + (8 if spec.search else 0)
    total = own + len(spec.served) * (START_WORK + len(spec.lengths))
    for done, step, row in _in_torch(spec, model, device, kept):
        yield Progress(step=step, done=done, total=total)
        if row is not None:
            rows.append(row)
    for i, text in enumerate(spec.served):
        variant, begun = ServedVariant.read(text), own + i * (START_WORK + len(spec.lengths))
        lines = kept.read(f"served {text}")
        try:
            if lines is None:
                lines = []
                yield Progress(step=f"{variant.label} · starting", done=begun, total=total)
                request = _served_request(spec, model, variant)
                for line in told("contexts", request, folder=kept.scratch, device=device.kind):
                    lines.append(line)
                    done = begun + START_WORK + len(lines) - 1
                    yield Progress(
                        step=f"{variant.label} · {line.get('context_tokens', 'ready')}", done=done, total=total
                    )
                kept.write(f"served {text}", lines)
        except WorkbenchError as error:
            failures.append({"method": text, "cause": error.cause, "remedy": error.remedy})
            continue
        rows += _served_rows(model, variant, lines)
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=environment,
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=list(rows),
        samples={},
        failures=failures,
    )


def _in_torch(
    spec: LongContextSpec, model: ModelSpec, device: Device, kept: Kept
) -> Iterator[tuple[float, str, dict[str, Any] | None]]:
    """Progress, and a row with each measurement that is done."""
    opened: LongModel | None = None
    bits = number_bits(device)
    prediction: dict[str, Any] | None = kept.read("prediction")
    if prediction is None:
        prediction = _prediction(spec, model, device)
        kept.write("prediction", prediction)
    names = [f"reading {n} {c}" for n in sorted(set(spec.lengths)) for c in spec.chunks]
    names += [f"cache {c}" for c in spec.caches]
    names += ["limit"] if spec.search else []
    for i, name in enumerate(names):
        yield float(i), name, None
        row = kept.read(name)
        if row is None:
            if opened is None and (name != "limit" or device.kind == "cuda"):
                opened = _opened(spec, device)
            row = _measured(name, spec, model, device, opened, prediction)
            kept.write(name, row)
        if "kv_held_tokens" in row:
            tokens = row["kv_held_tokens"]
            row["kv_predicted_bytes"] = kv_cache_bytes(model, context_tokens=tokens, kv_bits=bits)
        yield float(i + 1), name, row


def _opened(spec: LongContextSpec, device: Device) -> LongModel:
    place = located(spec.model)
    return LongModel(
        place,
        device=device.kind,
        technique=best_technique(device.kind, half=device.kind == "cuda"),
        options=AttentionOptions(),
        random_weights=is_only_a_shape(place),
        half=device.kind == "cuda",
    )


def _prediction(spec: LongContextSpec, model: ModelSpec, device: Device) -> dict[str, Any]:
    """The longest context from arithmetic, before anything is loaded."""
    bits = number_bits(device)
    free = timing.free_bytes(device.kind)
    weights = weight_bytes(model, weight_bits=bits, other_bits=bits)
    workspace = prefill_workspace_bytes(model, chunk_tokens=spec.search_chunk, bits=bits)
    left = free - weights - workspace
    return {
        "free_bytes": free,
        "weight_bytes": weights,
        "workspace_bytes": workspace,
        "predicted_tokens": longest_context_tokens(model, free_bytes=left, kv_bits=bits),
    }


def _measured(
    name: str,
    spec: LongContextSpec,
    model: ModelSpec,
    device: Device,
    opened: LongModel | None,
    prediction: Mapping[str, Any],
) -> dict[str, Any]:
    part, *rest = name.split(" ")
    row: dict[str, Any] = {"part": part, "provenance": "measured"}
    if part != "cache" and opened is not None:
        opened.with_attention(best_technique(device.kind, half=device.kind == "cuda"), AttentionOptions())
    if part == "limit":
        row |= dict(prediction) | {"model_limit_tokens": model.max_context_tokens}
        if device.kind != "cuda":
            reason = "A processor's memory has no hard end, so the limit is predicted only."
            return row | {"status": "not available", "reason": reason}
        assert opened is not None
        found, probes = longest_found(opened, guess=prediction["predicted_tokens"], chunk=spec.search_chunk)
        return row | {"status": "measured", "found_tokens": found, "probes": [asdict(p) for p in probes]}
    assert opened is not None
    if part == "reading":
        length, chunk = int(rest[0]), int(rest[1])
        row |= reading(opened, length=length, chunk=chunk, n_steps=spec.decode_steps, seed=spec.seed)
        if "step_s" in row:
            row["step_p50_s"] = statistics.median(row["step_s"][2:] or row["step_s"])
        return row
    return row | cache_row(
        opened,
        rest[0],
        tokens=spec.cache_tokens,
        n_steps=spec.decode_steps,
        chunk=min(spec.chunks),
        seed=spec.seed,
    )


def _served_request(spec: LongContextSpec, model: ModelSpec, variant: ServedVariant) -> dict[str, Any]:
    place = located(spec.model)
    room = max(spec.lengths) + spec.decode_steps + 64
    return {
        "model": place,
        "random_weights": is_only_a_shape(place),
        "kv_cache_dtype": variant.kv_cache_dtype,
        "contexts": sorted(set(spec.lengths)),
        "decode_steps": spec.decode_steps,
        "max_model_len": min(room, model.max_context_tokens or room),
        "options": {
            "max_num_batched_tokens": variant.chunk_tokens,
            "gpu_memory_utilization": spec.memory_fraction,
        },
        "seed": spec.seed,
    }


def _served_rows(model: ModelSpec, variant: ServedVariant, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    about = next((line for line in lines if "kv_capacity_tokens" in line), {})
    bits = 8 if variant.kv_cache_dtype == "fp8" else 16
    capacity = about.get("kv_capacity_tokens")
    common = {
        "part": "served",
        "provenance": "measured",
        "variant": variant.text,
        "label": variant.label,
        "kv_capacity_tokens": capacity,
        "kv_allocated_bytes": about.get("kv_allocated_bytes"),
        "kv_predicted_bytes": kv_cache_bytes(model, context_tokens=capacity, kv_bits=bits) if capacity else None,
    }
    rows = []
    for line in (line for line in lines if "context_tokens" in line):
        row = common | {"length_tokens": line["context_tokens"]}
        if line.get("does_not_fit"):
            rows.append(row | {"status": "out of memory", "reason": "longer than the cache or the model's limit"})
            continue
        steps = line["step_s"][2:] or line["step_s"]
        row |= {"status": "measured", "ttft_s": line["ttft_s"], "ttft_prefix_s": line["ttft_prefix_s"]}
        rows.append(row | {"step_p50_s": statistics.median(steps), "step_s": line["step_s"]})
    return rows
