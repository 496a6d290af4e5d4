"""Checkpoints that vLLM loads, made by llm-compressor from a model and calibration text."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from workbench.catalog.formats import MIXED, SCHEMES, LayerGroup, config_groups, formats_of
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import CALIBRATION_TEXT, located
from workbench.compress.checkpoint_maker import Request
from workbench.compress.folder import planned_layers, prefix_ids, require_context, token_ids
from workbench.compress.layers import Layers
from workbench.compress.maker_call import made_checkpoint
from workbench.compress.stored_weights import require_stored, stored_coverage
from workbench.core.errors import InvalidSpec, WorkbenchError
from workbench.core.language import gettext
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.engines.environments import require
from workbench.measuring.envelope import Record
from workbench.measuring.text import read_text, windows_of
from workbench.questions.quantization.checkpoint.rows import CheckpointResult
from workbench.questions.quantization.checkpoint.spec import CheckpointSpec, require_float_weights
from workbench.telemetry.devices import chosen_device


def measure(spec: CheckpointSpec, record: Record) -> Iterator[Progress]:
    """Make a checkpoint for each scheme; finished checkpoints are not made again."""
    require_float_weights(model_spec_from(spec.model))
    record.device = device = chosen_device("auto")
    environment = require("llmcompressor", device=device.kind)
    (layers, groups), scratch = planned_layers(located(spec.model)), record.kept.scratch
    plans = {name: plan_of(spec, name, groups) for name in spec.schemes}
    needs_text = any(algorithm != "rtn" for algorithm, _ in plans.values())
    ids = _calibration_ids(spec, scratch) if needs_text else None
    total = 100.0 * len(plans)
    for i, (name, (algorithm, plan)) in enumerate(plans.items()):
        target = place_of(spec, name, plan, record.folder)
        began = time.monotonic()
        request = Request(
            model=located(spec.model),
            algorithm=algorithm,
            config_groups=config_groups(plan, groups),
            ignore=[*layers.kept, *(t for g, f in formats_of(plan, groups) if f.weights is None for t in g.targets)],
            ids=str(ids) if ids and algorithm != "rtn" else None,
            seed=spec.seed,
        )
        coverage = layers.coverage([m for g, f in formats_of(plan, groups) if f.weights is not None for m in g.modules])
        if not target.exists():
            try:
                require_divisible(layers, plan, groups)
                for step in made_checkpoint(environment.python, request, scratch=scratch, target=target):
                    yield Progress(step=f"{name} · {step.step}", done=100.0 * i + step.done, total=total)
                require_stored(target, sum(c.n_quantized for c in coverage))
            except WorkbenchError as error:
                record.failures.append(Failure.of(error, name))
                continue
        record.rows.append(
            CheckpointResult(
                scheme=name,
                label=SCHEMES[name].label if name in SCHEMES else "mixed",
                folder=str(target),
                weight_bytes=sum(f.stat().st_size for f in target.glob("*.safetensors")),
                calibration_tokens=spec.n_samples * spec.sample_tokens if algorithm != "rtn" else 0,
                make_s=time.monotonic() - began,
                llmcompressor=environment.version,
                coverage=stored_coverage(target, layers),
            )
        )
    if not record.rows:
        raise WorkbenchError(record.failures[0].cause, remedy=record.failures[0].remedy)


def plan_of(spec: CheckpointSpec, scheme: str, groups: list[LayerGroup]) -> tuple[str, dict[str, str]]:
    """Return the algorithm of a scheme, and the format of each layer group."""
    if scheme == MIXED:
        plan = {g.name: f.name for g, f in formats_of(spec.plan or {}, groups)}
        return "gptq", plan
    return SCHEMES[scheme].algorithm, {g.name: SCHEMES[scheme].format for g in groups}


def require_divisible(layers: Layers, plan: Mapping[str, str], groups: list[LayerGroup]) -> None:
    """Raise ``InvalidSpec`` where a format's group does not divide the inputs of a layer, or experts cannot be named."""
    if layers.n_unsplit_experts:
        raise InvalidSpec(
            gettext(
                "The experts of this architecture ({n} weights) have a layout that is not known, so that no checkpoint would quantize them."
            ).format(n=f"{layers.n_unsplit_experts:,}"),
            remedy=gettext("Use a checkpoint that the model's authors have quantized."),
        )
    for group, form in formats_of(plan, groups):
        for module in group.modules:
            width = layers.linears[module].in_features
            if form.weights is not None and form.group_size and width % form.group_size:
                raise InvalidSpec(
                    gettext("The {n} inputs of {layer} are no multiple of the {size} of {format}.").format(
                        n=width, layer=module, size=form.group_size, format=form.label
                    ),
                    remedy=gettext("Choose a scheme with one scale per row, or a plan that leaves this group in bf16."),
                )


def place_of(spec: CheckpointSpec, scheme: str, plan: Mapping[str, str], folder: Path) -> Path:
    """Return the folder of a checkpoint; its name has a digest of the inputs, so that another spec never finds it."""
    out = Path(spec.out).expanduser() if spec.out else folder.parent.parent / "checkpoints"
    inputs = [located(spec.model), spec.text, spec.n_samples, spec.sample_tokens, spec.seed, sorted(plan.items())]
    digest = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:8]
    target = out / f"{Path(spec.model).name}-{scheme}-{digest}"
    if target.exists() and not list(target.glob("*.safetensors")):
        raise InvalidSpec(
            gettext("{name} exists and is no checkpoint.").format(name=target),
            remedy=gettext("Move it away, or name another folder."),
        )
    return target


def _calibration_ids(spec: CheckpointSpec, scratch: Path) -> Path:
    place = located(spec.model)
    require_context(place, spec.sample_tokens)
    ids, before = token_ids(place, read_text(spec.text, default=CALIBRATION_TEXT)), prefix_ids(place)
    windows = windows_of(ids, n=spec.n_samples, length=spec.sample_tokens, what="calibration", prefix=before)
    path = scratch / "calibration.npy"
    np.save(path, windows)
    return path
