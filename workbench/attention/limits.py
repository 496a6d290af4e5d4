"""Long prompts in PyTorch: how fast they are read and continued, which cache costs what, and where memory ends."""

import statistics

import numpy as np
import torch
from transformers import Cache, DynamicCache

from workbench.attention import timing
from workbench.attention.in_model import LongModel, Reading
from workbench.attention.kv_cache import cache_makers, held_bytes, mark_filled, preallocated_cache
from workbench.attention.reasons import KEEPS_STATES
from workbench.attention.rows import ComparedCache, MissingStatus, NotMeasured, Prefill, Probe, median_step_s
from workbench.catalog.attention_techniques import AttentionOptions
from workbench.core.errors import WorkbenchError

WINDOW_SHARE = 4  # the window of a sliding cache is a quarter of the prompt
STEP_TOKENS = 1024  # the search ends when the limit is known this well


def measure_prefill(model: LongModel, *, length: int, chunk: int, n_steps: int, seed: int) -> Prefill | NotMeasured:
    """Return the time of prefill in chunks and of decode, and the memory of both; running out of it is a result."""
    ids = np.random.default_rng(seed).integers(0, model.reader.n_words, length)
    if chunk < length and (reason := model.chunks_refused):
        return NotMeasured(
            what="prefill", length_tokens=length, chunk_tokens=chunk, status="not available", reason=reason
        )
    reading = None
    try:
        if model.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        reading = model.start(preallocated(model, room=length + n_steps))
        chunks = reading.read_in_chunks(ids, chunk=chunk)
        steps = [reading.step() for _ in range(n_steps)]
        peak = torch.cuda.max_memory_allocated() if model.device == "cuda" else None
        held = held_bytes(reading.memory)
    except Exception as error:
        if not timing.out_of_memory(error):
            raise
        cause = str(error).splitlines()[0][:300]
        error.__traceback__ = None
        del error
        timing.release()
        return NotMeasured(
            what="prefill", length_tokens=length, chunk_tokens=chunk, status="out of memory", reason=cause
        )
    finally:
        reading = None
        timing.release()
    return Prefill(
        length_tokens=length,
        chunk_tokens=chunk,
        ttft_s=sum(chunks),
        first_chunk_s=chunks[0],
        last_chunk_s=chunks[-1],
        step_s=tuple(steps),
        step_p50_s=median_step_s(steps),
        kv_held_bytes=held,
        kv_held_tokens=length + n_steps,
        peak_bytes=peak,
    )


def preallocated(model: LongModel, *, room: int) -> Cache | None:
    """Return a preallocated cache; None where the class of the model keeps something else than a cache of keys and values."""
    return preallocated_cache(model.model.config, room=room) if model.reader.takes_cache else None


def compare_cache(
    model: LongModel, name: str, *, tokens: int, n_steps: int, chunk: int, seed: int
) -> ComparedCache | NotMeasured:
    """Return the memory, the speed and the logit difference of a cache of transformers on one prompt.

    The distance is to a growing cache under the same attention: transformers' own, or for "sliding" a window.
    """
    window = max(1, tokens // WINDOW_SHARE)

    def missing(status: MissingStatus, reason: str) -> NotMeasured:
        return NotMeasured(what="cache", label=name, length_tokens=tokens, status=status, reason=reason)

    if not model.reader.takes_cache:
        return missing("not available", KEEPS_STATES.format(model=type(model.model).__name__))
    config = model.model.config
    ids = np.random.default_rng(seed).integers(0, model.reader.n_words, tokens)
    before = timing.in_use_bytes(model.device)
    try:
        if name == "sliding":
            model.with_attention("window", AttentionOptions(window=window))
        else:
            model.with_own_attention()
        makers = cache_makers(config, room=tokens + n_steps + 1, window=window, device=model.device)
        reading = model.start(makers[name]())
        read = reading.read_in_chunks(ids, chunk=chunk if model.chunks_refused is None else tokens)
        logits = _last_logits(model, reading)
        held = held_bytes(reading.memory)
        on_device = timing.in_use_bytes(model.device) - before if model.device == "cuda" else held
        steps = [reading.step() for _ in range(n_steps - 1)]
        reference = model.start(DynamicCache() if name == "sliding" else None)
        reference.read_in_chunks(ids, chunk=chunk if model.chunks_refused is None else tokens)
        distance = float((logits - _last_logits(model, reference)).abs().max())
    except WorkbenchError as error:
        return missing("not available", f"{error.cause} {error.remedy}")
    except Exception as error:
        if timing.out_of_memory(error):
            timing.release()
            return missing("out of memory", str(error).splitlines()[0][:300])
        return missing("not available", f"{type(error).__name__}: {str(error)[:200]}")
    return ComparedCache(
        cache=name,
        length_tokens=tokens,
        window_tokens=window if name == "sliding" else None,
        kv_held_bytes=held,
        device_bytes=on_device,
        prefill_s=sum(read),
        step_p50_s=statistics.median(steps) if steps else None,
        max_logit_difference=distance,
    )


def _last_logits(model: LongModel, reading: Reading) -> torch.Tensor:
    return reading.read(torch.ones((1, 1), dtype=torch.long, device=model.device))[0, -1].float()


def fits(model: LongModel, *, tokens: int, chunk: int) -> bool:
    """Return whether the last chunk of a prompt can be read and one token be made with a cache for ``tokens``.

    The cache is taken whole and its earlier part counted as read: memory is the same, and a try takes seconds.
    """
    reading = None
    try:
        cache, last = preallocated(model, room=tokens), min(chunk, tokens - 1)
        if cache is not None:
            short = DynamicCache(config=model.model.config)
            model.start(short).read_in_chunks(np.zeros(1, dtype=np.int64), chunk=1)
            mark_filled(cache, tokens=tokens - last - 1, like=short)
        reading = model.start(cache)
        reading.read_in_chunks(np.zeros(last, dtype=np.int64), chunk=last)
        reading.step()
    except Exception as error:
        if not timing.out_of_memory(error):
            raise
        error.__traceback__ = None
        return False
    finally:
        cache = reading = None
        timing.release()
    return True


def search_longest_context(model: LongModel, *, guess: int, chunk: int) -> tuple[int, list[Probe]]:
    """Return the longest context that fits, to within ``STEP_TOKENS``, by bisection around a guess; and every try."""
    probes: list[Probe] = []

    def try_length(tokens: int) -> bool:
        probes.append(Probe(tokens=tokens, fits=fits(model, tokens=tokens, chunk=chunk)))
        return probes[-1].fits

    step = max(STEP_TOKENS, guess // 20)
    if try_length(guess):
        low, high = guess, guess + step
        while try_length(high):
            low, high = high, high + step
    else:
        low, high = max(0, guess - step), guess
        while low > 0 and not try_length(low):
            low, high = max(0, low - step), low
    while high - low > STEP_TOKENS:
        middle = (low + high) // 2
        low, high = (middle, high) if try_length(middle) else (low, middle)
    return low, probes
