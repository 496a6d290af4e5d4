"""Limits in front of an engine, found by simulating a surge: how many requests may wait so that those that are let in meet the SLO."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from workbench.core.checks import require_positive
from workbench.core.traffic import Arrival, Lengths, draw_arrivals
from workbench.simulate.engine import Answer, Engine, EngineLimits
from workbench.simulate.step_cost import Front, LinearCost, StepCost

MEET_SLO = 0.99
"""Share of the requests that are let in which has to meet the SLO of TTFT."""
REQUESTS, QUEUES = 400, 4
"""Requests of a simulated surge, at least, and times that the longest queue is filled in it."""
MOST_PROMPTS_SHARE = 0.95
"""Of a full engine's time, at most, that is taken for prompts where a noisy measurement says more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullEngine:
    """What was measured of an engine with requests of one length: full and not more, and with one request at a time."""

    requests_per_s: float
    prompt_tokens_per_s: float
    ttft_alone_s: float
    tpot_alone_s: float
    input_tokens: int
    output_tokens: int
    max_sequences: int

    def __post_init__(self) -> None:
        require_positive(self, "requests_per_s", "prompt_tokens_per_s", "ttft_alone_s", "tpot_alone_s")
        require_positive(self, "input_tokens", "output_tokens", "max_sequences")

    @property
    def cost(self) -> LinearCost:
        """Return the step times with which a simulated engine does what was measured.

        A full engine spends 1 / requests_per_s on each request: its prompt, and its share of as many decode steps as it has tokens.
        """
        each_s = 1 / self.requests_per_s
        prompt_token_s = min(1 / self.prompt_tokens_per_s, MOST_PROMPTS_SHARE * each_s / self.input_tokens)
        full_s = self.max_sequences * (each_s - prompt_token_s * self.input_tokens) / self.output_tokens
        alone_s = min(self.tpot_alone_s, full_s)
        sequence_s = (full_s - alone_s) / (self.max_sequences - 1) if self.max_sequences > 1 else 0.0
        return LinearCost(
            fixed_s=max(alone_s - sequence_s, 1e-9),
            sequence_s=sequence_s,
            prompt_token_s=prompt_token_s,
            cached_token_s=0.0,
        )

    @property
    def limits(self) -> EngineLimits:
        """Return the limits of the simulated engine; the way to its scheduler takes what a first token alone does besides its step."""
        cost, length = self.cost, self.input_tokens + self.output_tokens
        step_s = cost.mixed_s(1, self.input_tokens, 0.0, 0)
        return EngineLimits(
            token_budget=max(8192, self.max_sequences + self.input_tokens),
            max_sequences=self.max_sequences,
            cache_tokens=(self.max_sequences + 1) * length,
            front=Front(base_s=max(0.0, self.ttft_alone_s - step_s)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """How many requests may wait in front of a full engine, and how long."""

    waiting: int
    """Longest queue; 0 also where the SLO is missed by those that need not wait."""
    wait_s: float
    """Time that the SLO leaves for a queue: what an engine that is kept full takes for a first token is left out."""
    ttft_p99_s: float
    """Of requests that are let in with the longest queue."""


def longest_queue(engine: FullEngine, *, ttft_s: float, overload: float) -> Admission:
    """Return the longest queue with which 99 % of the requests that are let in have their first token within the SLO.

    Args:
        engine: What was measured.
        ttft_s: SLO of TTFT.
        overload: Request rate over what the engine answers; Poisson arrivals.
    """
    rate = max(1.0, overload) * engine.requests_per_s
    most = ceil(ttft_s * engine.requests_per_s) + 1
    n = max(REQUESTS, ceil(max(1.0, overload) * QUEUES * (most + engine.max_sequences)))
    lengths = Lengths(
        input_tokens=engine.input_tokens, output_tokens=engine.output_tokens, input_sigma=0.0, output_sigma=0.0
    )
    arrivals = draw_arrivals(n, rate_per_s=rate, lengths=lengths, seed=0)

    def ttft_p99(waiting: int) -> float:
        answers = let_in(arrivals, engine.cost, engine.limits, waiting=waiting)
        return float(np.quantile([a.ttft_s for a in answers], MEET_SLO))

    waiting = max(0, bisect_left(range(most + 1), True, key=lambda w: ttft_p99(w) > ttft_s) - 1)
    return Admission(waiting=waiting, wait_s=round(max(0.0, ttft_s - ttft_p99(0)), 4), ttft_p99_s=ttft_p99(waiting))


def let_in(arrivals: Sequence[Arrival], cost: StepCost, limits: EngineLimits, *, waiting: int) -> list[Answer]:
    """Return the answers to requests, of which one is refused that finds the batch full and so many waiting."""
    engine = Engine(cost, limits)
    n_added = 0
    for arrival in arrivals:
        engine.advance(arrival.at_s)
        if n_added - len(engine.answers) < limits.max_sequences + waiting:
            engine.add(n_added, arrival)
            n_added += 1
    engine.advance()
    return [engine.answers[i] for i in range(n_added)]
