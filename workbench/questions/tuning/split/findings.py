"""What a split does for a load: the share of the requests within the SLO, with which ratio, and from which bandwidth on."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp

import numpy as np

from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.models import language_model_from
from workbench.catalog.paths import workbench_home
from workbench.catalog.tables import devices
from workbench.core.columns import Columns
from workbench.core.errors import DoesNotFit, NotAvailable
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.statistics import Interval, resampled_mean_interval
from workbench.core.traffic import Arrival, draw_arrivals
from workbench.core.units import shown_bytes, shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict
from workbench.estimate.context_limit import require_within_context
from workbench.estimate.device_calibration import CALIBRATIONS, offers
from workbench.estimate.kv_cache import kv_bytes_per_token
from workbench.estimate.precision import chosen_precision, weight_bits_of
from workbench.estimate.search import Offer, require_kernel
from workbench.estimate.serving_memory import batched_sequences, batched_tokens, context_plan
from workbench.questions.tuning.split.spec import SplitSpec
from workbench.simulate.costs import front_of, load_log_errors, step_cost
from workbench.simulate.engine import EngineLimits
from workbench.simulate.routing import replicas
from workbench.simulate.split import Transfer, split_replicas
from workbench.simulate.step_cost import StepCost
from workbench.simulate.summary import Service, summary

BANDWIDTH_FACTORS = (1 / 256, 1 / 64, 1 / 16, 1 / 4, 1.0, 4.0)
TOGETHER = gettext("together")
SMALLER_BUDGETS = (2048, 512)
"""Tokens of a step that devices which do both are tried with, beside the default: a smaller budget is the cheaper remedy for slow tokens."""
USEFUL_FRACTION = 0.8
"""Where no way meets the SLO for so many of the requests, the load is too high for these devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """One way to use the devices, over the drawn loads."""

    n_prefill: int
    """Devices that read prompts only; 0: all devices do both."""
    n_decode: int
    attainment_fraction: Interval
    """Share of the requests that meet the SLO, with a 95 % interval over the loads."""
    gain_fraction: Interval
    """Share of the requests that meet the SLO less that of devices that do both, by load, with a 95 % interval."""
    ttft_p50_s: float
    tpot_p50_s: float

    @property
    def label(self) -> str:
        """Return what readers call it."""
        return (
            gettext("{n_prefill} prefill, {n_decode} decode").format(n_prefill=self.n_prefill, n_decode=self.n_decode)
            if self.n_prefill
            else TOGETHER
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AtBandwidth:
    """The chosen ratio with another link."""

    bytes_per_s: float
    gain_fraction: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitAnswer:
    """Ratios of prefill and decode devices beside devices that do both; intervals are over loads and over errors of step times."""

    about: str
    is_recommended: bool
    """Whether the gain of the best ratio, on fresh loads, is above zero over its whole interval, and the devices can serve the load."""
    together_budget_tokens: int
    """Token budget of a step of devices that do both: the best of three."""
    ratios: Sequence[Ratio]
    """Devices that do both first."""
    best: Ratio
    """The ratio with the highest gain."""
    confirmed_gain_fraction: Interval
    """Its gain on loads that did not choose it."""
    link_bytes_per_s: float
    link_is_listed: bool
    """Whether the bandwidth is the device's published one, else it was given."""
    bandwidths: Sequence[AtBandwidth]
    flips_at_bytes_per_s: float | None
    """Least simulated bandwidth from which on the whole interval lies above zero; None where none does."""
    is_calibrated: bool
    provenance: Provenance = Provenance.SIMULATED


class Simulator:
    """A load and the devices; each number stands for one drawn load and one draw of the error of step times."""

    def __init__(self, spec: SplitSpec, model: ModelSpec, offer: Offer) -> None:
        self.spec = spec
        precision = chosen_precision(model, spec.precision)
        self.limits = EngineLimits(
            token_budget=batched_tokens(offer.memory_bytes),
            max_sequences=min(batched_sequences(offer.memory_bytes), batched_tokens(offer.memory_bytes) - 1),
            cache_tokens=_cache_tokens(model, spec, offer, precision),
            front=front_of(offer.machine),
        )
        context = spec.input_tokens + spec.output_tokens // 2
        self.cost = step_cost(
            model,
            precision,
            offer.machine,
            kv_bits=spec.kv_bits,
            context_tokens=context,
            most_tokens=self.limits.token_budget,
        )
        self.sigmas = load_log_errors(model, precision, offer.machine, is_own=offer.is_calibrated)
        self.bytes_per_token = kv_bytes_per_token(model, kv_bits=spec.kv_bits)
        self.most_tokens = min(self.limits.cache_tokens, model.max_context_tokens or self.limits.cache_tokens)

    def arrivals(self, number: int) -> list[Arrival]:
        """Return the requests of a load, cut to what a request may have."""
        s = self.spec
        drawn = draw_arrivals(s.n_requests, rate_per_s=s.requests_per_s, lengths=s.lengths, seed=1000 * s.seed + number)
        cut = [replace(a, input_tokens=min(a.input_tokens, self.most_tokens // 2)) for a in drawn]
        return [replace(a, output_tokens=min(a.output_tokens, self.most_tokens // 2)) for a in cut]

    def together(self, number: int, *, token_budget: int) -> Service:
        """Return how devices that do both answer a load."""
        sent, cost = self._load(number)
        limits = replace(
            self.limits, token_budget=token_budget, max_sequences=min(self.limits.max_sequences, token_budget - 1)
        )
        answers = replicas(self.spec.n_devices, sent, cost, limits, routing="least loaded").answers
        return summary(answers, sent, ttft_s=self.spec.ttft_s, tpot_s=self.spec.tpot_s)

    def apart(self, number: int, *, n_prefill: int, bytes_per_s: float) -> Service:
        """Return how so many prefill devices, and decode devices for the rest, answer a load."""
        (sent, cost), spec = self._load(number), self.spec
        transfer = Transfer(
            bytes_per_token=self.bytes_per_token, bytes_per_s=bytes_per_s, latency_s=spec.link_latency_s
        )
        answers = split_replicas(n_prefill, spec.n_devices - n_prefill, sent, cost, self.limits, transfer=transfer)
        return summary(answers, sent, ttft_s=spec.ttft_s, tpot_s=spec.tpot_s)

    def _load(self, number: int) -> tuple[list[Arrival], StepCost]:
        rng = random.Random(f"{self.spec.seed}-{number}")
        return self.arrivals(number), self.cost.scaled(*(exp(rng.gauss(0, s)) for s in self.sigmas))


def split_answer(spec: SplitSpec) -> SplitAnswer:
    """Return whether a split pays for a load.

    Raises:
        NotAvailable: No bandwidth was given, and the catalogue lists no link of the device.
        DoesNotFit: The model leaves no room for a request.
    """
    model = language_model_from(spec.model)
    (offer,) = offers([spec.device], own=workbench_home() / CALIBRATIONS)
    require_kernel(offer, chosen_precision(model, spec.precision))
    require_within_context(model, spec.input_tokens, spec.output_tokens)
    link = spec.link_bytes_per_s or _listed_bytes_per_s(spec.device)
    simulator = Simulator(spec, model, offer)
    chosen_on, fresh = range(spec.n_seeds), range(spec.n_seeds, 2 * spec.n_seeds)

    def of(n_prefill: int, numbers: Sequence[int], bytes_per_s: float) -> list[Service]:
        return [simulator.apart(n, n_prefill=n_prefill, bytes_per_s=bytes_per_s) for n in numbers]

    default = simulator.limits.token_budget
    budgets = {
        budget: [simulator.together(n, token_budget=budget) for n in chosen_on]
        for budget in (default, *(b for b in SMALLER_BUDGETS if b < default))
    }
    budget = max(budgets, key=lambda b: sum(s.attainment_fraction for s in budgets[b]))
    both, both_fresh = budgets[budget], [simulator.together(n, token_budget=budget) for n in fresh]
    ratios = [_ratio(0, spec.n_devices, both, both)]
    ratios += [_ratio(n, spec.n_devices, of(n, chosen_on, link), both) for n in range(1, spec.n_devices)]
    best = max(ratios[1:], key=lambda r: (r.gain_fraction.value, -r.ttft_p50_s))
    confirmed = _gain(of(best.n_prefill, fresh, link), both_fresh)
    bandwidths = [
        AtBandwidth(
            bytes_per_s=f * link,
            gain_fraction=confirmed if f == 1 else _gain(of(best.n_prefill, fresh, f * link), both_fresh),
        )
        for f in BANDWIDTH_FACTORS
    ]
    is_useful = max(r.attainment_fraction.value for r in ratios) >= USEFUL_FRACTION
    return SplitAnswer(
        about=gettext(
            "{model} on {n_devices} × {device}, {requests_per_s} requests/s of about {input_tokens:,} prompt and "
            "{output_tokens:,} output tokens"
        ).format(
            model=model.name,
            n_devices=spec.n_devices,
            device=offer.name,
            requests_per_s=three_digits(spec.requests_per_s),
            input_tokens=spec.input_tokens,
            output_tokens=spec.output_tokens,
        ),
        is_recommended=confirmed.low > 0 and is_useful,
        together_budget_tokens=budget,
        ratios=ratios,
        best=best,
        confirmed_gain_fraction=confirmed,
        link_bytes_per_s=link,
        link_is_listed=spec.link_bytes_per_s is None,
        bandwidths=bandwidths,
        flips_at_bytes_per_s=flip(bandwidths),
        is_calibrated=offer.is_calibrated,
    )


def flip(bandwidths: Sequence[AtBandwidth]) -> float | None:
    """Return the least bandwidth from which on all intervals lie above zero; None where the largest one's does not."""
    at: float | None = None
    for point in sorted(bandwidths, key=lambda b: -b.bytes_per_s):
        if not point.gain_fraction.low > 0:
            break
        at = point.bytes_per_s
    return at


def _listed_bytes_per_s(device_id: str) -> float:
    device = devices()[device_id]
    if not device.scaleup_bytes_per_s:
        raise NotAvailable(
            gettext("The catalogue lists no link between devices of {device}.").format(device=device.name),
            remedy=gettext(
                "Give its bandwidth with --link-bandwidth, as `workbench calibrate` or a transfer between your servers has it."
            ),
        )
    return device.scaleup_bytes_per_s / 2


def _cache_tokens(model: ModelSpec, spec: SplitSpec, offer: Offer, precision: str) -> int:
    memory = context_plan(
        model,
        memory_bytes=offer.memory_bytes,
        weight_bits=weight_bits_of(model, precision),
        kv_bits=spec.kv_bits,
        context_tokens=spec.input_tokens + spec.output_tokens,
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


def _over_loads(done: Sequence[Service], number: Callable[[Service], float]) -> Interval:
    values = np.array([number(s) for s in done])
    return Interval(float(values.mean()), *resampled_mean_interval(values, seed=0))


def _gain(done: Sequence[Service], both: Sequence[Service]) -> Interval:
    """Return the gain by load: the same requests and the same error of step times on both sides."""
    gains = np.array([a.attainment_fraction - b.attainment_fraction for a, b in zip(done, both, strict=True)])
    low, high = resampled_mean_interval(gains, seed=0)
    return Interval(float(gains.mean()), max(-1.0, low), min(1.0, high))


def _ratio(n_prefill: int, n_devices: int, done: Sequence[Service], both: Sequence[Service]) -> Ratio:
    share = _over_loads(done, lambda s: s.attainment_fraction)
    return Ratio(
        n_prefill=n_prefill,
        n_decode=n_devices - n_prefill,
        attainment_fraction=Interval(share.value, max(0.0, share.low), min(1.0, share.high)),
        gain_fraction=_gain(done, both),
        ttft_p50_s=float(np.median([s.ttft_s.p50 for s in done])),
        tpot_p50_s=float(np.median([s.tpot_s.p50 or 0.0 for s in done])),
    )


def shown_share(value: Interval, *, sign: bool = False) -> str:
    """Return a share with its interval."""
    low, high = (shown_percent(v, 1, sign=sign) for v in (value.low, value.high))
    return f"{shown_percent(value.value, 1, sign=sign)} [{low}, {high}]"


def verdict(answer: SplitAnswer) -> Verdict:
    """Return whether to split, with which ratio and from which bandwidth on, and what speaks against it."""
    gain, best, both = answer.confirmed_gain_fraction, answer.best, answer.ratios[0]
    most = max(r.attainment_fraction.value for r in answer.ratios)
    if most < USEFUL_FRACTION:
        headline = gettext(
            "Neither way serves this load: at most {most} of the requests meet the SLO; use more devices first."
        ).format(most=shown_percent(most))
    elif answer.is_recommended:
        headline = gettext("Split: with {label} devices, {gain} of the requests more meet the SLO.").format(
            label=best.label, gain=shown_share(gain, sign=True)
        )
    elif gain.high < 0:
        headline = gettext("Do not split: even with {label} devices, fewer requests meet the SLO ({gain}).").format(
            label=best.label, gain=shown_share(gain, sign=True)
        )
    else:
        headline = gettext("No gain of a split is shown: with {label} devices it is {gain} of the requests.").format(
            label=best.label, gain=shown_share(gain, sign=True)
        )
    flips = (
        gettext("the gain is above zero from {bandwidth} GB/s on").format(
            bandwidth=three_digits(answer.flips_at_bytes_per_s / 1e9)
        )
        if answer.flips_at_bytes_per_s
        else gettext("no simulated bandwidth makes a gain certain")
    )
    source = gettext("listed") if answer.link_is_listed else gettext("given")
    return Verdict(
        best=best.label if answer.is_recommended else TOGETHER,
        headline=headline,
        evidence=gettext(
            "Devices that do both, with {budget:,} tokens a step, meet the SLO for {attainment} "
            "of the requests; link {bandwidth} GB/s ({source}), and {flips}. The ratio was chosen on some loads "
            "and confirmed on fresh ones."
        ).format(
            budget=answer.together_budget_tokens,
            attainment=shown_share(both.attainment_fraction),
            bandwidth=three_digits(answer.link_bytes_per_s / 1e9),
            source=source,
            flips=flips,
        ),
        objection=gettext(
            "Simulated, without a measurement of two engines: the whole transfer delays the first token, and prefix "
            "caches and the memory of prompts that wait for the link are left out."
        )
        + ("" if answer.is_calibrated else gettext(" Step times are lent by another device.")),
        provenance=answer.provenance,
    )


RATIO_COLUMNS: Columns[Ratio] = {
    gettext("Devices △"): lambda r: r.label,
    gettext("within the SLO"): lambda r: shown_share(r.attainment_fraction),
    gettext("gain"): lambda r: shown_share(r.gain_fraction, sign=True) if r.n_prefill else "–",
    "TTFT p50": lambda r: shown_duration(r.ttft_p50_s),
    "TPOT p50": lambda r: shown_duration(r.tpot_p50_s),
}
BANDWIDTH_COLUMNS: Columns[AtBandwidth] = {
    gettext("Link, GB/s"): lambda b: three_digits(b.bytes_per_s / 1e9),
    gettext("gain △"): lambda b: shown_share(b.gain_fraction, sign=True),
}
"""Of the chosen ratio with another link."""
