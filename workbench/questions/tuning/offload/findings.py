"""What a cache in the host's memory does for a trace: tokens that are found there, and loading them against computing them again."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp
from pathlib import Path
from statistics import mean

import numpy as np

from workbench.calibrate.host_copy import host_bandwidth_bytes_per_s
from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.models import language_model_from
from workbench.catalog.paths import located, workbench_home
from workbench.core.columns import Columns
from workbench.core.errors import DoesNotFit
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.statistics import Floats, Interval
from workbench.core.traces import read_trace
from workbench.core.traffic import Arrival
from workbench.core.units import GIB, shown_bytes, shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict
from workbench.estimate.device_calibration import CALIBRATIONS, offers
from workbench.estimate.kv_cache import kv_bytes_per_token
from workbench.estimate.precision import chosen_precision, roles_of, weight_bits_of
from workbench.estimate.prediction import Z
from workbench.estimate.search import Offer, require_kernel
from workbench.estimate.serving_memory import context_plan
from workbench.estimate.step_time import decode_step_s, reading_s
from workbench.questions.tuning.offload.spec import OffloadSpec
from workbench.simulate.costs import load_log_errors
from workbench.simulate.reuse import Reuse, require_hash_ids, reuse

N_SIZES = 8
MOST_SEQUENCES = 256
measured_bandwidth = lru_cache(maxsize=1)(host_bandwidth_bytes_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePoint:
    """What caches of one size have of the trace."""

    cache_tokens: int
    hit_fraction: float
    """Share of the prompt tokens that are known, with exact least-recently-used eviction."""
    n_too_long: int
    """Requests that are longer than the cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OffloadAnswer:
    """A cache on the device alone, and one that goes on in the host's memory; times are means over the requests."""

    about: str
    n_requests: int
    kv_bytes_per_token: float
    device_cache_tokens: int
    host_cache_tokens: int
    points: Sequence[CachePoint]
    device_hit_fraction: float
    both_hit_fraction: float
    loaded_tokens: float
    """Tokens that a request finds in the host's memory only."""
    bandwidth_bytes_per_s: float
    bandwidth_is_measured: bool
    load_s: float
    recompute_s: Interval
    """Time to compute what is loaded, with its nominal 80 % interval."""
    work_s: float
    """Time of the device for a request with a cache on the device alone."""
    break_even_bytes_per_s: Interval | None
    """Bandwidth at which loading takes as long as computing again; None where nothing is loaded."""
    saved_devices: Interval
    """Devices that are saved, if the device waits for every load."""
    is_calibrated: bool
    provenance: Provenance = Provenance.ESTIMATED

    @property
    def saved_s(self) -> Interval:
        """Return the prefill time that a request saves; below zero where loading takes longer."""
        r = self.recompute_s
        return Interval(r.value - self.load_s, r.low - self.load_s, r.high - self.load_s)

    def saved_at(self, bandwidth_bytes_per_s: float) -> float:
        """Return the prefill time that a request saves with another bandwidth."""
        return self.recompute_s.value - self.loaded_tokens * self.kv_bytes_per_token / bandwidth_bytes_per_s


def offload_answer(spec: OffloadSpec) -> OffloadAnswer:
    """Return what offload does for a trace.

    Raises:
        InvalidSpec: The trace cannot be read, or does not say what prompts share.
        NotAvailable: No bandwidth was given, and none can be measured here.
        DoesNotFit: The model leaves no room for a cache on the device.
    """
    arrivals = read_trace(Path(located(spec.trace))).arrivals
    require_hash_ids(arrivals, spec.trace)
    model = language_model_from(spec.model)
    (offer,) = offers([spec.device], own=workbench_home() / CALIBRATIONS)
    precision = chosen_precision(model, spec.precision)
    require_kernel(offer, precision)
    per_token = kv_bytes_per_token(model, kv_bits=spec.kv_bits)
    bandwidth = spec.host_bytes_per_s or measured_bandwidth()
    device_tokens = _device_tokens(model, spec, offer, arrivals)
    host_tokens = int(spec.host_memory_gib * GIB / per_token)
    near, both = (reuse(arrivals, cache_tokens=n) for n in (device_tokens, device_tokens + host_tokens))
    prompts = np.array([float(a.input_tokens) for a in arrivals])
    # A cache that is larger has at least as much of each prompt, but for rounding to blocks of what runs.
    known = np.array(near.hits, dtype=np.float64)
    more = np.maximum(known, np.array(both.hits, dtype=np.float64))
    plan = roles_of(model, precision)

    def prefill_s(cached: Floats) -> Floats:
        one = np.ones_like(prompts)
        return reading_s(model, plan, offer.machine, batch=one, context=prompts, cached_fraction=cached / prompts)

    with_device = prefill_s(known)
    saved = np.maximum(0.0, with_device - prefill_s(more))
    loaded, recompute = float((more - known).mean()), float(saved.mean())
    _, sigma = load_log_errors(model, precision, offer.machine, is_own=offer.is_calibrated)
    spread = exp(Z * sigma)
    recompute_s = Interval(recompute, recompute / spread, recompute * spread)
    work = float(with_device.mean()) + _decode_s(model, spec, offer, arrivals, device_tokens)
    load_s = loaded * per_token / bandwidth
    ends = [max(0.0, r - load_s) / work * spec.n_devices for r in (recompute, recompute / spread, recompute * spread)]
    even = loaded * per_token / recompute if loaded and recompute else None
    return OffloadAnswer(
        about=gettext("{trace}, {n:,} requests, of which each finds what all before left").format(
            trace=spec.trace, n=len(arrivals)
        ),
        n_requests=len(arrivals),
        kv_bytes_per_token=per_token,
        device_cache_tokens=device_tokens,
        host_cache_tokens=host_tokens,
        points=_points(arrivals, device_tokens + host_tokens),
        device_hit_fraction=_share(near, prompts),
        both_hit_fraction=max(_share(near, prompts), _share(both, prompts)),
        loaded_tokens=loaded,
        bandwidth_bytes_per_s=bandwidth,
        bandwidth_is_measured=spec.host_bytes_per_s is None,
        load_s=load_s,
        recompute_s=recompute_s,
        work_s=work,
        break_even_bytes_per_s=Interval(even, even / spread, even * spread) if even else None,
        saved_devices=Interval(*ends),
        is_calibrated=offer.is_calibrated,
    )


def _share(done: Reuse, prompts: Floats) -> float:
    return done.hit_tokens / float(prompts.sum())


def _points(arrivals: Sequence[Arrival], largest: int) -> list[CachePoint]:
    total = sum(a.input_tokens for a in arrivals)
    least = min(largest, max(a.input_tokens + a.output_tokens for a in arrivals))
    sizes = dict.fromkeys(int(n) for n in np.geomspace(least, largest, N_SIZES))
    done = [reuse(arrivals, cache_tokens=n) for n in sizes]
    return [
        CachePoint(cache_tokens=d.cache_tokens, hit_fraction=d.hit_tokens / total, n_too_long=d.n_too_long)
        for d in done
    ]


def _device_tokens(model: ModelSpec, spec: OffloadSpec, offer: Offer, arrivals: Sequence[Arrival]) -> int:
    if spec.cache_gib is not None:
        return int(spec.cache_gib * GIB / kv_bytes_per_token(model, kv_bits=spec.kv_bits))
    memory = context_plan(
        model,
        memory_bytes=offer.memory_bytes,
        weight_bits=weight_bits_of(model, chosen_precision(model, spec.precision)),
        kv_bits=spec.kv_bits,
        context_tokens=round(mean(a.input_tokens + a.output_tokens for a in arrivals)),
    )
    if not memory.room_tokens:
        raise DoesNotFit(
            gettext("{model} needs {needed} for one request; {device} has {usable} usable.").format(
                model=model.name,
                needed=shown_bytes(memory.needed_bytes),
                device=offer.name,
                usable=shown_bytes(memory.usable_bytes),
            ),
            remedy=gettext("Choose a larger device, or fewer bits for the weights."),
        )
    return memory.room_tokens


def _decode_s(
    model: ModelSpec, spec: OffloadSpec, offer: Offer, arrivals: Sequence[Arrival], device_tokens: int
) -> float:
    """Return the device's time for the answer of a request, among as many sequences as its cache holds."""
    context = mean(a.input_tokens + a.output_tokens / 2 for a in arrivals)
    batch = float(max(1, min(MOST_SEQUENCES, int(device_tokens / context))))
    step = decode_step_s(
        model,
        roles_of(model, chosen_precision(model, spec.precision)),
        offer.machine,
        batch=np.array([batch]),
        context=np.array([context]),
        kv_bits=spec.kv_bits,
    )
    return float(step[0]) / batch * mean(a.output_tokens for a in arrivals)


def verdict(answer: OffloadAnswer) -> Verdict:
    """Return whether offload pays, what it stands on, and what speaks against it."""
    saved = answer.saved_s
    source = gettext("measured") if answer.bandwidth_is_measured else gettext("given")
    rate = f"{three_digits(answer.bandwidth_bytes_per_s / 1e9)} GB/s ({source})"
    if not answer.loaded_tokens:
        headline = gettext("Offload does not pay: the cache on the device has all that this trace uses again.")
    elif saved.low > 0:
        headline = gettext("Offload pays: at {rate} a request saves {duration} of prefill on average.").format(
            rate=rate, duration=shown_duration(saved.value)
        )
    elif saved.high <= 0:
        headline = gettext("Offload does not pay: at {rate}, loading takes longer than computing again.").format(
            rate=rate
        )
    else:
        headline = gettext(
            "It is open whether offload pays: at {rate}, loading and computing again take about as long."
        ).format(rate=rate)
    even, devices = answer.break_even_bytes_per_s, answer.saved_devices
    threshold = (
        gettext("break-even at {value} GB/s [{low}, {high}]; ").format(
            value=three_digits(even.value / 1e9), low=three_digits(even.low / 1e9), high=three_digits(even.high / 1e9)
        )
        if even
        else ""
    )
    return Verdict(
        headline=headline,
        evidence=gettext(
            "The device's cache of {device_tokens:,} tokens has {device_hits} of the prompt tokens, and "
            "{both_hits} with {host_tokens:,} tokens more in host memory; {threshold}{value} devices saved "
            "[{low}, {high}]."
        ).format(
            device_tokens=answer.device_cache_tokens,
            device_hits=shown_percent(answer.device_hit_fraction, 1),
            both_hits=shown_percent(answer.both_hit_fraction, 1),
            host_tokens=answer.host_cache_tokens,
            threshold=threshold,
            value=three_digits(devices.value),
            low=three_digits(devices.low),
            high=three_digits(devices.high),
        ),
        objection=gettext(
            "Requests are taken one after the other, and other work of the link is left out; in vLLM, offload has also "
            "made loads slower (vllm-project/vllm#44294), so measure your load with and without it."
        )
        + ("" if answer.is_calibrated else gettext(" Step times are lent by another device.")),
        provenance=answer.provenance,
    )


def offload_rows(answer: OffloadAnswer) -> list[tuple[str, str]]:
    """Return the numbers of an answer with their labels."""
    s, r = answer.saved_s, answer.recompute_s
    return [
        (gettext("KV cache of a token"), shown_bytes(answer.kv_bytes_per_token)),
        (
            gettext("loaded from the host, mean of a request"),
            gettext("{n:,.0f} tokens").format(n=answer.loaded_tokens),
        ),
        (gettext("time to load it"), shown_duration(answer.load_s)),
        (
            gettext("time to compute it again"),
            f"{shown_duration(r.value)} [{shown_duration(r.low)}, {shown_duration(r.high)}]",
        ),
        (
            gettext("saved prefill time"),
            f"{1e3 * s.value:.3g} ms [{1e3 * s.low:.3g}, {1e3 * s.high:.3g}]",
        ),
        (gettext("device time of a request without offload"), shown_duration(answer.work_s)),
    ]


NUMBER_HEAD = (gettext("Mean of a request ◌"), gettext("value"))
POINT_COLUMNS: Columns[CachePoint] = {
    gettext("Cache, tokens"): lambda p: f"{p.cache_tokens:,}",
    gettext("prompt tokens that are known △"): lambda p: shown_percent(p.hit_fraction, 1),
    gettext("requests longer than it"): lambda p: f"{p.n_too_long:,}",
}
"""Of caches of one size, with exact least-recently-used eviction of blocks."""
