"""What a model will do on some devices: waiting times with intervals, throughput, and memory by part."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from workbench.core.checkpoints import FORMATS
from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.models import ModelSpec
from workbench.core.statistics import Interval
from workbench.estimate.kv_cache import ContextPlan, context_plan
from workbench.estimate.linear_layers import ROLES
from workbench.estimate.machine import Machine
from workbench.estimate.step_time import decode_step_s, prompt_s, reading_s

LEVEL = 0.8  # nominal coverage of the intervals
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)  # standard deviations from the middle to their ends
BORROWED_STEP, BORROWED_PROMPT = 0.2, 0.4
"""Standard deviations of logarithms where constants are another device's, or devices are joined: the uncalibrated errors
of facts/estimation (TPOT median 13 %, TTFT 50 %) as a spread."""
QUEUE_PROMPT = 0.5  # of a first token under steady load, which waits in a queue that is not simulated here
POINTS = 32  # contexts at which the steps of an answer are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A load on a model."""

    precision: str = "bf16"
    """A name in ``FORMATS`` for all linear layers."""
    kv_bits: int = 16
    input_tokens: int = 1024
    output_tokens: int = 128
    concurrency: int = 1
    arrival: Literal["static", "steady"] = "static"
    """All prompts at once and then decoding; or a new prompt whenever an answer ends."""
    cached_fraction: float = 0.0
    """Of each prompt, from its beginning, that a prefix cache holds."""
    draft_tokens: int = 0
    """Guessed ahead in each step and verified together; 0 without speculative decoding."""
    acceptance: float = 0.7
    """Chance that a guessed token is right, given that all before it were."""
    draft_fraction: float = 0.05
    """Time of one guess, as a share of the model's step."""

    def __post_init__(self) -> None:
        require_positive(self, "input_tokens", "output_tokens", "concurrency")
        if not 0 <= self.cached_fraction < 1 or not 0 <= self.acceptance <= 1 or not 0 <= self.draft_fraction <= 1:
            raise InvalidSpec(
                f"Shares of {self.cached_fraction}, {self.acceptance} and {self.draft_fraction}.",
                remedy="Give shares from 0 to 1; the cached one below 1.",
            )
        if self.draft_tokens < 0:
            raise InvalidSpec(f"{self.draft_tokens} draft tokens.", remedy="Give 0 or more.")
        if self.precision not in FORMATS:
            raise InvalidSpec(f"Unknown precision {self.precision!r}.", remedy=f"Use: {', '.join(FORMATS)}.")
        if self.kv_bits not in {8, 16}:
            raise InvalidSpec(f"The cache has 8 or 16 bits, not {self.kv_bits}.", remedy="Give 8 or 16.")
        if self.arrival not in {"static", "steady"}:
            raise InvalidSpec(f"Arrival {self.arrival!r}.", remedy="Use static or steady.")


def tokens_per_step(acceptance: float, draft_tokens: int) -> float:
    """Expected tokens of a verified step: (1 - a^(n+1)) / (1 - a), Leviathan et al. 2023, equation 1."""
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

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: seconds, tokens per second, bytes."""
        values: dict[str, Any] = {}
        for name in ("ttft_s", "prefill_s", "tpot_s", "output_tokens_per_s"):
            found: Interval = getattr(self, name)
            values |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        memory = asdict(self.memory)
        return values | {
            "memory": memory | {"needed_bytes": self.memory.needed_bytes, "does_fit": self.memory.does_fit},
            "is_calibrated": self.is_calibrated,
            "interval_level": LEVEL,
            "provenance": "estimated",
        }


def interval_around(value: float, sigma: float) -> Interval:
    """A value with its nominal interval, for a standard deviation of its logarithm."""
    spread = float(np.exp(Z * sigma))
    return Interval(value, value / spread, value * spread)


def predicted(
    model: ModelSpec,
    machine: Machine,
    question: Question,
    *,
    memory_bytes: float,
    is_own: bool,
    n_replicas: int = 1,
) -> Prediction:
    """Waiting times, throughput and memory of a question.

    Args:
        model: The shape.
        machine: Devices that work as one.
        question: The load.
        memory_bytes: Of one device.
        is_own: Whether the constants were measured on this very device.
        n_replicas: That each get the question; throughput is of all of them, memory of one.
    """
    q = question
    plan: Mapping[str, str] = dict.fromkeys(ROLES, q.precision)
    calibrated = is_own and machine.split.n_devices == 1 and model.experts is None
    step_sigma = machine.known.log_error_unseen_step if calibrated else BORROWED_STEP
    prompt_sigma = machine.known.log_error_unseen_prompt if calibrated else BORROWED_PROMPT
    batch = np.full(POINTS, float(q.concurrency))
    context = np.linspace(q.input_tokens + 1, q.input_tokens + q.output_tokens, POINTS)
    one_step = decode_step_s(
        model, plan, machine, batch=batch, context=context, kv_bits=q.kv_bits, tokens_each=1.0 + q.draft_tokens
    )
    drafted = 1 + q.draft_tokens * q.draft_fraction
    step = float(one_step.mean()) * drafted / tokens_per_step(q.acceptance, q.draft_tokens)

    def sizes(n: int) -> dict[str, Any]:
        return {
            "batch": np.array([float(n)]),
            "context": np.array([float(q.input_tokens)]),
            "cached_fraction": q.cached_fraction,
        }

    if q.arrival == "static":
        prefill = float(prompt_s(model, plan, machine, **sizes(q.concurrency))[0])
        ttft, tpot = interval_around(prefill, prompt_sigma), interval_around(step, step_sigma)
        total = prefill + (q.output_tokens - 1) * step
        rate = q.concurrency * q.output_tokens / total
        share = prefill / total
        rate_sigma = float(np.hypot((1 - share) * step_sigma, share * prompt_sigma))
    else:
        # While one answer is written, the prompts of the others are read in between (baseline of facts/estimation).
        prefill = float(prompt_s(model, plan, machine, **sizes(1))[0])
        between = float(reading_s(model, plan, machine, **sizes(1))[0])
        own = step + (q.concurrency - 1) * between / q.output_tokens
        ttft = interval_around(prefill + 0.5 * own, max(prompt_sigma, QUEUE_PROMPT if q.concurrency > 1 else 0.0))
        rate_sigma = float(np.hypot(step_sigma, prompt_sigma * (1 - step / own)))
        tpot = interval_around(own, rate_sigma)
        rate = q.concurrency * q.output_tokens / (ttft.value + (q.output_tokens - 1) * own)
    form = FORMATS[q.precision]
    memory = context_plan(
        model,
        memory_bytes=memory_bytes,
        n_devices=machine.split.tensor * machine.split.pipeline,
        tensor_parallel=machine.split.tensor,
        expert_groups=machine.split.data,
        weight_bits=form.stored_bits(in_features=model.hidden),
        kv_bits=q.kv_bits,
        context_tokens=q.input_tokens + q.output_tokens,
        batch=q.concurrency,
    )
    return Prediction(
        ttft_s=ttft,
        prefill_s=interval_around(prefill, prompt_sigma),
        tpot_s=tpot,
        output_tokens_per_s=interval_around(n_replicas * rate, rate_sigma),
        memory=memory,
        is_calibrated=calibrated,
    )
