"""Prompt and output tokens that a replica passes in a second where it never waits for requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np

from workbench.catalog.model_spec import ModelSpec
from workbench.core.errors import DoesNotFit
from workbench.core.language import gettext
from workbench.core.traffic import SPREAD, Arrival, Lengths, draw_arrivals
from workbench.estimate.precision import STORED, chosen_precision, weight_bits_of
from workbench.estimate.search import Offer
from workbench.estimate.serving_memory import context_plan
from workbench.simulate.costs import TabulatedCost, front_of, step_cost
from workbench.simulate.engine import Engine, EngineLimits

REQUESTS = 1500
AT_ONCE_PER_S = 1e6
BEGIN, END = 0.2, 0.8
"""Shares of the requests between whose ends the rate is taken: before, the batch fills; after, it runs empty."""
MOST_PROMPTS_SHARE = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSpeed:
    """Throughput of a full replica: each request takes its prompt over the one and its answer over the other."""

    prompt_tokens_per_s: float
    answer_tokens_per_s: float


def replica_speed(model: ModelSpec, offer: Offer, *, input_tokens: float, output_tokens: float) -> ReplicaSpeed:
    """Return the simulated throughput of one device with requests of these mean lengths, log-normal; prompts alone tell how the two share it.

    Raises ``DoesNotFit`` for a model that has no room on the device.
    """
    precision = chosen_precision(model, STORED)
    memory = context_plan(
        model,
        memory_bytes=offer.memory_bytes,
        n_devices=1,
        tensor_parallel=1,
        weight_bits=weight_bits_of(model, precision),
        context_tokens=round(input_tokens + output_tokens),
    )
    if not memory.room_tokens:
        raise DoesNotFit(
            gettext("{model} in {precision} does not fit {device}.").format(
                model=model.name, precision=precision, device=offer.name
            ),
            remedy=gettext("Name a larger device."),
        )
    cost = step_cost(model, precision, offer.machine, context_tokens=max(1, round(input_tokens + output_tokens / 2)))
    to_median = exp(-(SPREAD**2) / 2)
    lengths = Lengths(
        input_tokens=max(1.0, input_tokens * to_median), output_tokens=max(1.0, output_tokens * to_median)
    )
    both = draw_arrivals(REQUESTS, rate_per_s=AT_ONCE_PER_S, lengths=lengths, seed=0)
    limits = EngineLimits(
        cache_tokens=max(memory.room_tokens, *(a.input_tokens + a.output_tokens for a in both)),
        front=front_of(offer.machine),
    )
    n_in, n_out = (float(np.mean([getattr(a, name) for a in both])) for name in ("input_tokens", "output_tokens"))
    prompts = [Arrival(a.at_s, a.input_tokens, 1) for a in both]
    request_s, prompt_s = (1 / _answered_per_s(arrivals, cost, limits) for arrivals in (both, prompts))
    prompt_s = min(prompt_s, MOST_PROMPTS_SHARE * request_s)
    return ReplicaSpeed(prompt_tokens_per_s=n_in / prompt_s, answer_tokens_per_s=n_out / (request_s - prompt_s))


def _answered_per_s(arrivals: Sequence[Arrival], cost: TabulatedCost, limits: EngineLimits) -> float:
    ends = [a.at_s + b.e2e_s for a, b in zip(arrivals, Engine(cost, limits).run(arrivals), strict=True)]
    low, high = np.quantile(ends, [BEGIN, END])
    return float(sum(low < e <= high for e in ends) / (high - low))
