"""What a model will do on some devices: waiting times with intervals, throughput, and memory by part."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from workbench.catalog.model_spec import ModelSpec
from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.core.statistics import Interval
from workbench.estimate.calibration import Floats
from workbench.estimate.context_limit import require_within_context
from workbench.estimate.knobs import (
    AcceptanceRate,
    CachedFraction,
    DraftTokens,
    KvBits,
    OutputTokens,
    Precision,
    PromptTokens,
)
from workbench.estimate.machine import Machine
from workbench.estimate.precision import STORED, chosen_precision, require_precision, roles_of, weight_bits_of
from workbench.estimate.serving_memory import ContextPlan, context_plan
from workbench.estimate.step_time import decode_step_s, prompt_s

LEVEL = 0.8  # nominal coverage of the intervals
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)  # standard deviations from the middle to their ends
BORROWED_STEP, BORROWED_PROMPT = 0.2, 0.4
"""Standard deviations of logarithms where constants are another device's, or devices are joined: the uncalibrated errors
of facts/estimation (TPOT median 13 %, TTFT 50 %) as a spread."""
POINTS = 32  # contexts at which the steps of an answer are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A load on a model."""

    precision: Precision = STORED
    kv_bits: KvBits = 16
    input_tokens: PromptTokens = 1024
    output_tokens: OutputTokens = 128
    concurrency: int = knob(1, "Concurrency", "Sequences at once, over all replicas where there are several.", low=1)
    arrival: Literal["static", "steady"] = knob(
        "static",
        "Arrival",
        "Static: all prompts at once and then decoding; steady: a new prompt whenever an answer ends.",
    )
    cached_fraction: CachedFraction = 0.0
    draft_tokens: DraftTokens = 0
    acceptance: AcceptanceRate = 0.7
    draft_fraction: float = knob(
        0.05,
        "Draft time",
        "Time of one draft token, as a fraction of the model's step.",
        low=0,
        high=1,
        is_advanced=True,
    )

    def __post_init__(self) -> None:
        require_positive(self, "input_tokens", "output_tokens", "concurrency")
        if not 0 <= self.cached_fraction < 1 or not 0 <= self.acceptance <= 1 or not 0 <= self.draft_fraction <= 1:
            raise InvalidSpec(
                gettext("Shares of {first}, {second} and {third}.").format(
                    first=self.cached_fraction, second=self.acceptance, third=self.draft_fraction
                ),
                remedy=gettext("Give shares from 0 to 1; the cached one below 1."),
            )
        if self.draft_tokens < 0:
            raise InvalidSpec(
                gettext("{n} draft tokens.").format(n=self.draft_tokens),
                remedy=gettext("Give 0 or more."),
            )
        require_precision(self.precision)
        if self.kv_bits not in {8, 16}:
            raise InvalidSpec(
                gettext("The cache has 8 or 16 bits, not {bits}.").format(bits=self.kv_bits),
                remedy=gettext("Give 8 or 16."),
            )
        if self.arrival not in {"static", "steady"}:
            raise InvalidSpec(
                gettext("Arrival {arrival}.").format(arrival=repr(self.arrival)),
                remedy=gettext("Use static or steady."),
            )


def tokens_per_step(acceptance: float, draft_tokens: int) -> float:
    """Return the expected tokens of a verified step: (1 - a^(n+1)) / (1 - a), Leviathan et al. 2023, equation 1."""
    return sum(acceptance**i for i in range(draft_tokens + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The answer; intervals are nominal 80 %."""

    ttft_s: Interval
    prefill_s: Interval
    tpot_s: Interval
    output_tokens_per_s: Interval
    memory: ContextPlan
    is_calibrated: bool
    """Whether the constants are this device's own, for a dense model on one device."""
    step_sigma: float
    """Standard deviation of the logarithm of measured over predicted decode steps."""
    prompt_sigma: float
    """Standard deviation of the logarithm of measured over predicted prefill times."""


def interval_around(value: float, sigma: float) -> Interval:
    """Return a value with its nominal interval, for a standard deviation of its logarithm."""
    spread = float(np.exp(Z * sigma))
    return Interval(value, value / spread, value * spread)


def predicted(
    model: ModelSpec, machine: Machine, question: Question, *, memory_bytes: float, is_own: bool, n_replicas: int = 1
) -> Prediction:
    """Return latency, throughput and memory of a question whose prompts come all at once; ``simulate.under_load`` has the others.

    ``memory_bytes`` are of one device, and ``is_own`` says whether the constants were measured on this very device.
    Each of ``n_replicas`` gets the question; throughput is of all of them, memory of one. Raises ``InvalidSpec`` for
    a request beyond the model's own length.
    """
    q, precision = question, chosen_precision(model, question.precision)
    require_within_context(model, q.input_tokens, q.output_tokens)
    plan: Mapping[str, str] = roles_of(model, precision)
    is_measured = is_own and machine.kernel(precision) not in machine.lent
    calibrated = is_measured and machine.split.n_devices == 1 and model.experts is None
    step_sigma = machine.known.log_error_unseen_step if calibrated else BORROWED_STEP
    prompt_sigma = machine.known.log_error_unseen_prompt if calibrated else BORROWED_PROMPT
    batch = np.full(POINTS, float(q.concurrency))
    context = np.linspace(q.input_tokens + 1, q.input_tokens + q.output_tokens, POINTS)
    one_step = decode_step_s(
        model, plan, machine, batch=batch, context=context, kv_bits=q.kv_bits, tokens_each=1.0 + q.draft_tokens
    )
    drafted = 1 + q.draft_tokens * q.draft_fraction
    step = float(one_step.mean()) * drafted / tokens_per_step(q.acceptance, q.draft_tokens)

    def of(seconds: Callable[..., Floats], n: int) -> float:
        batch, prompt = np.array([float(n)]), np.array([float(q.input_tokens)])
        return float(seconds(model, plan, machine, batch=batch, context=prompt, cached_fraction=q.cached_fraction)[0])

    prefill = of(prompt_s, q.concurrency)
    total = prefill + (q.output_tokens - 1) * step
    rate, share = q.concurrency * q.output_tokens / total, prefill / total
    memory = context_plan(
        model,
        memory_bytes=memory_bytes,
        n_devices=machine.split.tensor * machine.split.pipeline,
        tensor_parallel=machine.split.tensor,
        expert_groups=machine.split.data,
        weight_bits=weight_bits_of(model, precision),
        kv_bits=q.kv_bits,
        context_tokens=q.input_tokens + q.output_tokens,
        batch=q.concurrency,
    )
    rate_sigma = float(np.hypot((1 - share) * step_sigma, share * prompt_sigma))
    return Prediction(
        ttft_s=interval_around(prefill, prompt_sigma),
        prefill_s=interval_around(prefill, prompt_sigma),
        tpot_s=interval_around(step, step_sigma),
        output_tokens_per_s=interval_around(n_replicas * rate, rate_sigma),
        memory=memory,
        is_calibrated=calibrated,
        step_sigma=step_sigma,
        prompt_sigma=prompt_sigma,
    )
