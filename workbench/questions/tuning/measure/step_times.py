"""Step times of the server at hand: predicted where the device's constants are known, else of four terms; fitted to short loads on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log
from typing import Protocol

import numpy as np

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import workbench_home
from workbench.core.devices import Device
from workbench.core.errors import DoesNotFit
from workbench.core.language import gettext
from workbench.core.statistics import Floats
from workbench.core.units import GIB
from workbench.engines.vllm import CPU_KV_CACHE_GIB
from workbench.engines.vllm_settings import VllmSetting
from workbench.estimate.device_calibration import CALIBRATIONS, offers
from workbench.estimate.kv_cache import kv_bytes_per_token
from workbench.estimate.machine import Split
from workbench.estimate.precision import official_precision, weight_bits_of
from workbench.estimate.serving_memory import MemorySettings, context_plan
from workbench.questions.tuning.measure.simulation import SimulatedLoad, limits_of, simulated
from workbench.questions.tuning.rows import FittedLoad, RequestTimes
from workbench.questions.tuning.spec import CACHE_BYTES, USABLE, TuneSpec, memory_bytes
from workbench.simulate.costs import FRONT, TabulatedCost, step_cost
from workbench.simulate.step_cost import Front, LinearCost, StepCost

EVALUATIONS = 50
"""Simulations of the loads for each constant that is fitted."""
TOWARDS_START = 0.03
"""Of an error in the logarithm of a time, for the same change of a constant."""
FITTED_STEP, FITTED_PROMPT = 0.05, 0.10
"""Standard deviations of the logarithms of step times that were fitted to loads on the same server."""
DRAWS = ((0, 0), (-1, -1), (1, 1), (-1, 1), (1, -1))
"""Steps and prompts of each simulation, in ends of their nominal 80 % interval; the first is the middle."""
CPU_START = (0.01, 0.008, 3e-4, 3e-5, 1e-8)
"""Way to the scheduler, step, sequence, prompt token and cached token from which a fit on a processor begins, in seconds."""
VLLM_USABLE = 0.92  # --gpu-memory-utilization (vllm/config/cache.py, 0.26 and 0.32)
Times = tuple[StepCost, Front, int]


class Shape(Protocol):
    """A form of step times with constants, as logarithms."""

    start: Floats

    def made(self, theta: Floats, setting: VllmSetting) -> Times:
        """Return step times, way to the scheduler and cache tokens of a setting; raises ``DoesNotFit`` where there is no room."""


class PredictedShape:
    """Times that the estimator predicts for a device of the catalogue, with a factor for steps and one for prompts."""

    def __init__(self, spec: TuneSpec, device_id: str, *, most_tokens: int) -> None:
        (self.offer,) = offers([device_id], own=workbench_home() / CALIBRATIONS)
        self.spec, self.most_tokens = spec, most_tokens
        self.start = np.array([log(FRONT.base_s), 0.0, 0.0])
        self._costs: dict[tuple[str | None, str, int], TabulatedCost] = {}
        self._room: dict[VllmSetting, int] = {}

    def made(self, theta: Floats, setting: VllmSetting) -> Times:
        """Return step times, way to the scheduler and cache tokens of a setting."""
        front_s, step, prompt = np.exp(theta)
        cost = self._cost(setting).scaled(float(step), float(prompt))
        return cost, replace(FRONT, base_s=float(front_s)), self._cache_tokens(setting)

    def _cost(self, setting: VllmSetting) -> TabulatedCost:
        key = (setting.checkpoint, setting.kv_cache_dtype, setting.tensor_parallel_size)
        if key not in self._costs:
            model = model_spec_from(setting.checkpoint or self.spec.model)
            self._costs[key] = step_cost(
                model,
                official_precision(model),
                replace(self.offer.machine, split=Split(tensor=setting.tensor_parallel_size), load=None),
                kv_bits=8 if setting.kv_cache_dtype == "fp8" else 16,
                context_tokens=self.spec.input_tokens + self.spec.output_tokens // 2,
                most_tokens=self.most_tokens,
            )
        return self._costs[key]

    def _cache_tokens(self, setting: VllmSetting) -> int:
        if setting not in self._room:
            self._room[setting] = self._room_tokens(setting)
        if self._room[setting] < self.spec.input_tokens + self.spec.output_tokens:
            raise DoesNotFit(
                gettext("{model} leaves {n} tokens of cache on {device}, fewer than one request has.").format(
                    model=self.spec.model, n=f"{self._room[setting]:,}", device=self.offer.name
                ),
                remedy=gettext("Use more devices, fewer weight bits or shorter requests."),
            )
        return self._room[setting]

    def _room_tokens(self, setting: VllmSetting) -> int:
        model = model_spec_from(setting.checkpoint or self.spec.model)
        kv_bits = 8 if setting.kv_cache_dtype == "fp8" else 16
        if given := self.spec.launched_with(CACHE_BYTES):  # of each device; the share of its memory then says nothing
            room = setting.tensor_parallel_size * memory_bytes(given)
            return int(room / kv_bytes_per_token(model, kv_bits=kv_bits))
        return context_plan(
            model,
            memory_bytes=self.offer.memory_bytes,
            n_devices=setting.tensor_parallel_size,
            weight_bits=weight_bits_of(model, official_precision(model)),
            kv_bits=kv_bits,
            context_tokens=self.spec.input_tokens + self.spec.output_tokens,
            settings=MemorySettings(
                usable_fraction=float(self.spec.launched_with(USABLE) or VLLM_USABLE),
                chunk_tokens=setting.max_num_batched_tokens,
                max_sequences=setting.max_num_seqs,
            ),
        ).room_tokens


class LinearShape:
    """Times of four terms, for a device without constants: a step, and each sequence, prompt token and cached token."""

    def __init__(self, spec: TuneSpec) -> None:
        self.start = np.log(np.array(CPU_START))
        self._cache_tokens = int(CPU_KV_CACHE_GIB * GIB / kv_bytes_per_token(model_spec_from(spec.model), kv_bits=32))

    def made(self, theta: Floats, setting: VllmSetting) -> Times:  # noqa: ARG002 - limits do not change a step's own time
        """Return step times, way to the scheduler and cache tokens of a setting."""
        front_s, fixed, sequence, prompt, cached = (float(v) for v in np.exp(theta))
        cost = LinearCost(fixed_s=fixed, sequence_s=sequence, prompt_token_s=prompt, cached_token_s=cached)
        return cost, Front(base_s=front_s), self._cache_tokens


def shape_of(spec: TuneSpec, device: Device, *, most_tokens: int) -> Shape:
    """Return the form of step times for a device of this machine."""
    if device.kind == "cpu" or device.catalog_id is None:
        return LinearShape(spec)
    return PredictedShape(spec, device.catalog_id, most_tokens=most_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeLoad:
    """A short load on the default setting with its requests."""

    load: SimulatedLoad
    times: RequestTimes
    input_tokens: int
    output_tokens: int


def medians(times: RequestTimes) -> tuple[float, float]:
    """Return the medians of TTFT and TPOT of answered requests."""
    ttft = [t for t in times.ttft_s if t is not None]
    tpot = [t for t in times.tpot_s if t is not None]
    return float(np.median(ttft)) if ttft else np.nan, float(np.median(tpot)) if tpot else np.nan


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Fitted step times of all settings."""

    shape: Shape
    theta: Floats

    def draws(self, setting: VllmSetting) -> list[Times]:
        """Return the times with steps and prompts at the ends of their interval, the middle first."""
        cost, front, room = self.shape.made(self.theta, setting)
        z = 1.28
        return [
            (cost.scaled(exp(z * FITTED_STEP * step), exp(z * FITTED_PROMPT * prompt)), front, room)
            for step, prompt in DRAWS
        ]


def fitted(shape: Shape, setting: VllmSetting, probes: Sequence[ProbeLoad]) -> tuple[StepTimes, list[FittedLoad]]:
    """Return the constants with which simulated loads on the default setting come nearest to the measured medians."""
    from scipy.optimize import minimize

    measured = np.log(np.array([medians(p.times) for p in probes]))

    def off(theta: Floats) -> Floats:
        cost, front, room = shape.made(theta, setting)
        limits = limits_of(setting, cache_tokens=room, front=front)
        pairs = [medians(simulated(p.load, cost, limits)) for p in probes]
        errors: Floats = np.nan_to_num(np.log(np.maximum(np.array(pairs), 1e-6)) - measured)
        return errors

    def loss(theta: Floats) -> float:
        return float(np.sum(off(theta) ** 2) + TOWARDS_START**2 * np.sum((theta - shape.start) ** 2))

    simplex = np.vstack([shape.start, shape.start + np.diag(np.full(shape.start.size, 0.5))])
    options = {"initial_simplex": simplex, "maxfev": EVALUATIONS * shape.start.size, "xatol": 0.005, "fatol": 1e-5}
    theta: Floats = minimize(loss, shape.start, method="Nelder-Mead", options=options).x
    rows = []
    for probe, error in zip(probes, off(theta), strict=True):
        ttft, tpot = medians(probe.times)
        rows.append(
            FittedLoad(
                users=probe.load.users or 0,
                input_tokens=probe.input_tokens,
                output_tokens=probe.output_tokens,
                ttft_p50_s=ttft,
                tpot_p50_s=tpot,
                simulated_ttft_p50_s=ttft * exp(float(error[0])),
                simulated_tpot_p50_s=tpot * exp(float(error[1])),
            )
        )
    return StepTimes(shape, theta), rows
