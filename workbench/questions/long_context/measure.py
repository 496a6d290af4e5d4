"""Long contexts with a whole model: read and continued, cached in several ways, up to where memory ends."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import msgspec

from workbench.attention import timing
from workbench.attention.in_model import LongModel
from workbench.attention.limits import compare_cache, measure_prefill, search_longest_context
from workbench.attention.reasons import NO_HARD_END
from workbench.attention.rows import ComparedCache, NotMeasured, Prefill, median_step_s
from workbench.attention.techniques import best_technique
from workbench.catalog.attention_techniques import AttentionOptions
from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.models import is_only_a_shape, model_spec_from
from workbench.catalog.paths import located
from workbench.core.devices import Device
from workbench.core.errors import WorkbenchError
from workbench.core.language import gettext_noop
from workbench.core.progress import Progress
from workbench.core.rows import Failure, Row
from workbench.engines.environments import require
from workbench.engines.inside_vllm.call import script_lines
from workbench.estimate.kv_cache import kv_cache_bytes, longest_context_tokens, prefill_workspace_bytes
from workbench.estimate.weights import weight_bytes
from workbench.measuring.envelope import Record
from workbench.measuring.kept import Kept
from workbench.questions.long_context.limits import check_fits, number_bits
from workbench.questions.long_context.rows import Limit, Served
from workbench.questions.long_context.spec import LongContextSpec, ServedVariant
from workbench.telemetry.devices import chosen_device

START_WORK = 12.0
STATE_BITS = 16
"""Width in which ``ModelSpec`` counts states."""


def measure(spec: LongContextSpec, record: Record) -> Iterator[Progress]:
    """Yield the progress and fill the record; finished parts are kept, so that a second call goes on from there."""
    model, device = model_spec_from(spec.model), chosen_device(spec.device)
    check_fits(spec, model, device)
    record.device = device
    if spec.served:
        record.packages["vllm"] = require("vllm", device=device.kind).version
    in_torch = TorchParts(spec, model, device, record.kept)
    n_lengths, own = len(spec.lengths_for(model.max_context_tokens)), len(in_torch.names)
    total = own + len(spec.served) * (START_WORK + n_lengths)
    for i, name in enumerate(in_torch.names):
        yield Progress(step=name, done=i, total=total)
        record.rows.append(in_torch.row(name))
    for i, text in enumerate(spec.served):
        variant, begun = ServedVariant.read(text), own + i * (START_WORK + n_lengths)
        part = record.kept.read(f"served {text}", ServedPart)
        try:
            if part is None:
                part = ServedPart()
                yield Progress(
                    step=gettext_noop("{label} · starting").format(label=variant.label), done=begun, total=total
                )
                request = _served_request(spec, model, variant)
                for line in script_lines("contexts", request, folder=record.kept.scratch, device=device.kind):
                    part = part.with_line(line)
                    step, done = f"{variant.label} · {part.last_step}", begun + START_WORK + len(part.contexts)
                    yield Progress(step=step, done=done, total=total)
                record.kept.write(f"served {text}", part)
        except WorkbenchError as error:
            record.failures.append(Failure.of(error, text))
            continue
        record.rows += _served_rows(model, variant, part)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedCache:
    """The KV cache of an engine that is ready."""

    kv_capacity_tokens: int
    kv_allocated_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedContext:
    """One prompt in the engine."""

    context_tokens: int
    does_not_fit: bool = False
    ttft_s: float = 0.0
    ttft_prefix_s: float = 0.0
    step_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPart:
    """What the script in vLLM's environment has printed so far."""

    cache: ServedCache | None = None
    contexts: tuple[ServedContext, ...] = ()

    def with_line(self, line: Mapping[str, object]) -> "ServedPart":
        """Return the part with one more line of the script."""
        if "context_tokens" not in line:
            return replace(self, cache=msgspec.convert(line, ServedCache))
        return replace(self, contexts=(*self.contexts, msgspec.convert(line, ServedContext)))

    @property
    def last_step(self) -> str:
        """Name of the newest line for the progress."""
        return str(self.contexts[-1].context_tokens) if self.contexts else "ready"


class TorchParts:
    """What is measured in PyTorch, by the name of each part; the model is opened when the first one needs it."""

    def __init__(self, spec: LongContextSpec, model: ModelSpec, device: Device, kept: Kept) -> None:
        self._spec, self._model, self._device, self._kept = spec, model, device, kept
        self._bits = number_bits(device)
        self._opened: LongModel | None = None
        self._prediction = kept.once("prediction", Limit, self._predict_limit)
        self.names = [f"prefill {n} {c}" for n in spec.lengths_for(model.max_context_tokens) for c in spec.chunks]
        self.names += [f"cache {c}" for c in spec.caches]
        self.names += ["limit"] if spec.search else []

    def row(self, name: str) -> Row:
        """Return the row of a part, measured or kept."""
        part, *rest = name.split(" ")
        if part == "limit":
            return self._kept.once(name, Limit, self._limit)
        if missing := self._kept.read(name, NotMeasured):
            return missing
        row = self._prefill(name, *rest) if part == "prefill" else self._cache(name, *rest)
        self._kept.write(name, row)
        return row

    def _predict_limit(self) -> Limit:
        """Return the longest context from arithmetic, before anything is loaded."""
        free = timing.free_bytes(self._device.kind)
        weights = weight_bytes(self._model, weight_bits=self._bits, other_bits=self._bits)
        workspace = prefill_workspace_bytes(self._model, chunk_tokens=self._spec.search_chunk, bits=self._bits)
        left = free - weights - workspace
        return Limit(
            free_bytes=free,
            weight_bytes=weights,
            workspace_bytes=workspace,
            predicted_tokens=longest_context_tokens(self._model, free_bytes=left, kv_bits=self._bits),
            model_limit_tokens=self._model.max_context_tokens,
        )

    def _model_in_torch(self) -> LongModel:
        half, place = self._device.kind == "cuda", located(self._spec.model)
        technique = best_technique(self._device.kind, half=half)
        if self._opened is None:
            self._opened = LongModel(
                place,
                device=self._device.kind,
                technique=technique,
                options=AttentionOptions(),
                random_weights=is_only_a_shape(place),
                half=half,
            )
        self._opened.with_attention(technique, AttentionOptions())  # a cache may have been measured with another
        return self._opened

    def _prefill(self, name: str, length: str, chunk: str) -> Prefill | NotMeasured:
        if kept := self._kept.read(name, Prefill):
            return kept
        spec, opened = self._spec, self._model_in_torch()
        row = measure_prefill(opened, length=int(length), chunk=int(chunk), n_steps=spec.decode_steps, seed=spec.seed)
        if isinstance(row, NotMeasured):
            return row
        if self._model.kv_layers is None or (self._model.state_bytes and self._bits != STATE_BITS):
            return row  # some states stay in float32 whatever the model's numbers are
        predicted = kv_cache_bytes(self._model, context_tokens=row.kv_held_tokens, kv_bits=self._bits)
        return replace(row, kv_predicted_bytes=predicted + self._model.state_bytes)

    def _cache(self, name: str, cache: str) -> ComparedCache | NotMeasured:
        if kept := self._kept.read(name, ComparedCache):
            return kept
        spec, opened = self._spec, self._model_in_torch()
        steps, chunk = spec.decode_steps, min(spec.chunks)
        tokens = spec.cache_tokens_for(self._model.max_context_tokens)
        return compare_cache(opened, cache, tokens=tokens, n_steps=steps, chunk=chunk, seed=spec.seed)

    def _limit(self) -> Limit:
        if self._device.kind != "cuda":
            reason = NO_HARD_END
            return replace(self._prediction, reason=reason)
        guess, chunk = self._prediction.predicted_tokens, self._spec.search_chunk
        longest, probes = search_longest_context(self._model_in_torch(), guess=guess, chunk=chunk)
        return replace(self._prediction, found_tokens=longest, probes=tuple(probes))


def _served_request(spec: LongContextSpec, model: ModelSpec, variant: ServedVariant) -> dict[str, object]:
    place = located(spec.model)
    lengths = spec.lengths_for(model.max_context_tokens)
    room = lengths[-1] + spec.decode_steps + 64
    return {
        "model": place,
        "random_weights": is_only_a_shape(place),
        "kv_cache_dtype": variant.kv_cache_dtype,
        "contexts": lengths,
        "decode_steps": spec.decode_steps,
        "max_model_len": min(room, model.max_context_tokens or room),
        "options": {"max_num_batched_tokens": variant.chunk_tokens, "gpu_memory_utilization": spec.memory_fraction},
        "seed": spec.seed,
    }


def _served_rows(model: ModelSpec, variant: ServedVariant, part: ServedPart) -> list[Row]:
    bits = 8 if variant.kv_cache_dtype == "fp8" else 16
    capacity = part.cache.kv_capacity_tokens if part.cache else None
    predicted = kv_cache_bytes(model, context_tokens=capacity, kv_bits=bits) if capacity else None
    return [
        NotMeasured(
            what="served",
            label=variant.label,
            length_tokens=c.context_tokens,
            status="out of memory",
            reason="longer than the cache or the model's limit",
        )
        if c.does_not_fit
        else Served(
            variant=variant.text,
            label=variant.label,
            length_tokens=c.context_tokens,
            ttft_s=c.ttft_s,
            ttft_prefix_s=c.ttft_prefix_s,
            step_s=c.step_s,
            step_p50_s=median_step_s(c.step_s),
            kv_capacity_tokens=capacity,
            kv_allocated_bytes=part.cache.kv_allocated_bytes if part.cache else None,
            kv_predicted_bytes=predicted,
        )
        for c in part.contexts
    ]
