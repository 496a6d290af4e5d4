"""Latency and throughput of a steady load: as many users as sequences, who each ask again when they have their answer."""

from dataclasses import replace
from math import hypot

from workbench.catalog.model_spec import ModelSpec
from workbench.estimate.machine import Machine
from workbench.estimate.precision import chosen_precision
from workbench.estimate.prediction import Prediction, Question, Z, interval_around, predicted, tokens_per_step
from workbench.simulate.closed_loop import ClosedLoop, closed_loop
from workbench.simulate.costs import (
    front_of,
    load_log_errors,
    load_sigmas,
    step_cost,
)
from workbench.simulate.engine import EngineLimits
from workbench.simulate.step_cost import StepCost
from workbench.simulate.summary import Service, summary, with_interval

ROUNDS, LEAST_REQUESTS = 8, 24  # requests of each user, and of all


def predicted_under_load(
    model: ModelSpec, machine: Machine, question: Question, *, memory_bytes: float, is_own: bool, n_replicas: int = 1
) -> Prediction:
    """Return the prediction of a question with TTFT, TPOT and throughput of a simulated closed loop of its sequences.

    Arguments are those of ``predicted``; memory is as there, and prefill that of one prompt alone.
    """
    q = question
    static, alone = (
        predicted(model, machine, asked, memory_bytes=memory_bytes, is_own=is_own, n_replicas=n_replicas)
        for asked in (q, replace(q, concurrency=1))
    )
    lengths = [(q.input_tokens, q.output_tokens)] * max(LEAST_REQUESTS, ROUNDS * q.concurrency)
    limits = EngineLimits(
        max_sequences=max(1, q.concurrency),
        cache_tokens=max(static.memory.room_tokens, q.input_tokens + q.output_tokens),
        cached_fraction=q.cached_fraction,
        front=front_of(machine),
    )

    def run_with(cost: StepCost) -> Service:
        done: ClosedLoop = closed_loop(q.concurrency, lengths, cost, limits)
        return summary(done.answers, done.arrivals, ttft_s=1.0, tpot_s=1.0)

    cost = step_cost(
        model,
        chosen_precision(model, q.precision),
        machine,
        kv_bits=q.kv_bits,
        context_tokens=q.input_tokens + q.output_tokens // 2,
        tokens_each=1.0 + q.draft_tokens,
        tokens_made=tokens_per_step(q.acceptance, q.draft_tokens) / (1 + q.draft_tokens * q.draft_fraction),
    )
    step_sigma, prompt_sigma = load_log_errors(model, chosen_precision(model, q.precision), machine, is_own=is_own)
    ttft_sigma, tpot_sigma = load_sigmas(machine)
    spread = with_interval(run_with, cost, log_error_step=Z * step_sigma, log_error_prompt=Z * prompt_sigma)
    rate = n_replicas * spread.simulated.output_tokens_per_s
    return replace(
        static,
        ttft_s=spread.interval(lambda s: s.ttft_s.p50, Z * ttft_sigma),
        prefill_s=alone.prefill_s,
        tpot_s=spread.interval(lambda s: s.tpot_s.p50, Z * tpot_sigma),
        output_tokens_per_s=interval_around(rate, hypot(step_sigma, tpot_sigma)),
    )
