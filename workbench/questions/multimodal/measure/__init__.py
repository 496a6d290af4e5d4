"""TTFT with images in vLLM: its parts, predicted and measured, and what caches save."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import REFERENCE_MODEL, located
from workbench.catalog.vision import vision_model
from workbench.catalog.vision_spec import VisionSpec
from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.language import gettext, gettext_noop
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.core.statistics import median_over_rounds, middle_95, resampled_mean_interval
from workbench.engines.environments import require
from workbench.engines.inside_vllm.call import Dialogue
from workbench.engines.serving import image_model
from workbench.estimate.device_calibration import machine_of
from workbench.estimate.image_time import Asked, TtftParts, break_even_hit_rate, computed_parts, learnt, predicted_parts
from workbench.load.prompts import open_tokenizer, single_token_words
from workbench.measuring.envelope import Record
from workbench.questions.multimodal.measure.requests import LEARNT_COUNTS, Engine, cell_rounds, stream_rounds
from workbench.questions.multimodal.rows import (
    BreakEven,
    Cell,
    EngineSamples,
    ImagesSamples,
    RequestTimes,
    Stream,
    StreamSamples,
)
from workbench.questions.multimodal.spec import CACHES, ImagesSpec, size_of
from workbench.telemetry.devices import chosen_device

CACHE_GIB = 4.0  # vLLM's default of its processor cache
DRAWS = 2000
Floats = npt.NDArray[np.float64]
START_WORK = 60.0  # starting vLLM, in units of a request


def measure(spec: ImagesSpec, record: Record) -> Iterator[Progress]:
    """Yield progress and fill the record: parts with the first engine alone, then caches with an engine each, interleaved."""
    device = record.device = chosen_device("auto")
    if device.kind == "cpu":
        raise NotAvailable(
            gettext("vLLM's image processors need torchvision, which has no CPU build for this torch."),
            remedy=gettext("Run this on a machine with a GPU; the run that ships was measured on one."),
        )
    record.packages["vllm"] = require("vllm", device=device.kind).version
    scratch = record.kept.scratch
    model = image_model(Path(located(spec.model)), cache=scratch / "models")
    cells, streams = cell_rounds(spec), stream_rounds(spec)
    total, done = START_WORK * len(spec.caches) + len(cells) + len(streams), 0.0
    with ExitStack() as stack:
        engines: dict[str, Engine] = {}
        for name in spec.caches:  # one after another: each looks at what memory is free
            yield Progress(
                step=gettext_noop("{label} · starting vLLM").format(label=CACHES[name]), done=done, total=total
            )
            try:
                dialogue = stack.enter_context(
                    Dialogue("images", _request(spec, name, model), name=name, folder=scratch, device=device.kind)
                )
                engines[name] = Engine(dialogue)
            except WorkbenchError as error:
                record.failures.append(Failure.of(error, CACHES[name]))
            done += START_WORK
            if name in engines and name == "none":  # while nothing else is on the host
                for step in cells:
                    yield Progress(step=step.label, done=done, total=total)
                    engines[name].ask(step)
                    done += 1
        for step in streams:
            yield Progress(step=step.label, done=done, total=total)
            for name in (n for n in step.caches if n in engines):
                engines[name].ask(step)
            done += 1
    samples = {name: engine.samples() for name, engine in engines.items()}
    vision = vision_model(spec.vision)
    if "none" in samples:
        record.rows += cell_rows(spec, vision, samples["none"], device_id=device.catalog_id or "")
        record.rows += stream_rows(spec, samples)
    record.samples = ImagesSamples(engines=samples)


def _request(spec: ImagesSpec, cache: str, model: Path) -> dict[str, object]:
    words = single_token_words(open_tokenizer(str(REFERENCE_MODEL)))  # type: ignore[arg-type]
    return {
        "model": str(model),
        "text_tokens": spec.text_tokens,
        "words": words[:200],
        "most_images": max(*LEARNT_COUNTS, *spec.held_out_counts),
        "processor_cache_gib": 0.0 if cache == "none" else CACHE_GIB,
        "prefix_caching": cache == "prefix",
        "max_model_len": spec.max_model_len,
        "options": {"gpu_memory_utilization": 0.9 / len(spec.caches)} | (spec.engine_options or {}),
        "seed": spec.seed,
    }


def parts_of(requests: Sequence[RequestTimes]) -> TtftParts:
    """Return the median of each part."""
    rest = [q.ttft_s - q.accept_s - q.encoder_s - q.projector_s for q in requests]
    return TtftParts(
        accept_s=_median([q.accept_s for q in requests]),
        encoder_s=_median([q.encoder_s for q in requests]),
        projector_s=_median([q.projector_s for q in requests]),
        prompt_s=_median(rest),
    )


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))


def _prompt_tokens(requests: Sequence[RequestTimes]) -> int:
    return round(_median([q.prompt_tokens for q in requests]))


def cell_rows(spec: ImagesSpec, vision: VisionSpec, samples: EngineSamples, *, device_id: str) -> Iterator[Cell]:
    """Yield each measured cell: parts, shares, and what was predicted from the other cells and from the calibration."""
    fitted_sizes = {size_of(s) for s in spec.sizes}
    texts = [(Asked(height_px=1, width_px=1, n_images=0, text_tokens=t.n_tokens), t.requests) for t in samples.texts]
    images = [
        (
            Asked(height_px=i.height_px, width_px=i.width_px, n_images=i.n_images, text_tokens=spec.text_tokens),
            i.requests,
        )
        for i in samples.images
    ]
    if not images:
        return
    fitted = [
        *texts,
        *((a, r) for a, r in images if (a.height_px, a.width_px) in fitted_sizes and a.n_images in LEARNT_COUNTS),
    ]
    costs = learnt(vision, [(a, parts_of(r), _prompt_tokens(r)) for a, r in fitted])
    model = model_spec_from(spec.model)
    try:
        machine = machine_of(device_id)[0]
    except WorkbenchError:
        machine = None
    for a, requests in images:
        predicted = predicted_parts(vision, costs, a)
        computed = computed_parts(vision, model, machine, a, accept_s=predicted.accept_s) if machine else None
        middle = median_over_rounds(np.array([q.ttft_s for q in requests]))
        yield Cell(
            height_px=a.height_px,
            width_px=a.width_px,
            n_images=a.n_images,
            prompt_tokens=_prompt_tokens(requests),
            is_held_out=(a.height_px, a.width_px) not in fitted_sizes,
            ttft_p50_s=middle.value,
            ttft_p50_interval_s=(middle.low, middle.high),
            parts=parts_of(requests),
            predicted=predicted,
            computed=computed,
            error_fraction=predicted.ttft_s / middle.value - 1,
            n=len(requests),
        )


def stream_rows(spec: ImagesSpec, samples: Mapping[str, EngineSamples]) -> Iterator[Stream | BreakEven]:
    """Yield each hit rate and cache, and for each cache where it breaks even.

    Predicted from requests that all miss or all hit, measured on streams of both; ``by_parts_hit_rate`` is what the parts
    without a cache and the time of a hash alone would say.
    """
    base = samples["none"]
    if not base.streams:
        return
    # What a request takes without a cache, and one with as many words and no image.
    plain, bare = parts_of([q for s in base.streams for q in s.requests]), parts_of(base.texts[0].requests)
    hash_s = _median([h for own in samples.values() for h in own.hash_s])
    without = _ttft(base.streams)
    for name, streams in ((name, own.streams) for name, own in samples.items() if own.streams):
        hit_s, miss_s = _predicted(name, plain, bare, hash_s)
        for s in streams:
            ttft = _ttft([s])
            yield Stream(
                cache=name,
                hit_rate=s.hit_rate,
                ttft_mean_s=float(ttft.mean()),
                ttft_mean_interval_s=resampled_mean_interval(ttft, seed=spec.seed),
                predicted_ttft_mean_s=s.hit_rate * hit_s + (1 - s.hit_rate) * miss_s,
                n=len(ttft),
            )
        missed, hit = (_ttft([s for s in streams if s.hit_rate == rate]) for rate in (0.0, 1.0))
        mixed = [s for s in streams if 0 < s.hit_rate < 1]
        if name == "none" or not mixed or not len(missed) or not len(hit):
            continue
        misses, hits = (_ttft(mixed, is_hit=is_hit) for is_hit in (False, True))
        yield BreakEven(
            cache=name,
            without_s=float(without.mean()),
            missed_s=float(missed.mean()),
            hit_s=float(hit.mean()),
            predicted_hit_rate=_break_even(missed, hit, without),
            hit_rate=_break_even(misses, hits, without),
            hit_rate_interval=_break_even_interval(misses, hits, without, spec.seed),
            by_parts_hit_rate=break_even_hit_rate(missed_s=miss_s, hit_s=hit_s, without_s=plain.ttft_s),
        )


def _ttft(streams: Sequence[StreamSamples], *, is_hit: bool | None = None) -> Floats:
    """Return the TTFT of all requests, or of those that hit or miss."""
    return np.array([q.ttft_s for s in streams for q in s.requests if is_hit is None or q.is_hit == is_hit])


def _break_even(misses: Floats, hits: Floats, without: Floats) -> float | None:
    missed_s, hit_s, without_s = (float(x.mean()) for x in (misses, hits, without))
    return break_even_hit_rate(missed_s=missed_s, hit_s=hit_s, without_s=without_s)


def _predicted(cache: str, plain: TtftParts, bare: TtftParts, hash_s: float) -> tuple[float, float]:
    """Return the seconds of a hit and of a miss, from parts that were measured without a cache and the time of a hash.

    A miss costs the hash more. A hit spares processor and encoder, with the prefix cache the prefill of the image
    tokens too, and costs the hash.
    """
    if cache == "none":
        return plain.ttft_s, plain.ttft_s
    hit = hash_s + bare.accept_s + (bare.prompt_s if cache == "prefix" else plain.prompt_s)
    return hit, plain.ttft_s + hash_s


def _break_even_interval(misses: Floats, hits: Floats, without: Floats, seed: int) -> tuple[float, float]:
    """Return the bootstrap interval; a draw in which hits are no faster counts as 1."""
    rng = np.random.default_rng(seed)
    drawn = (_break_even(*(rng.choice(x, len(x)) for x in (misses, hits, without))) for _ in range(DRAWS))
    return middle_95([1.0 if rate is None else rate for rate in drawn])
