"""Step costs of a simulated engine from the estimator."""

from dataclasses import dataclass, replace

import numpy as np

from workbench.catalog.model_spec import ModelSpec
from workbench.estimate.linear_layers import n_expert_layers
from workbench.estimate.machine import Machine
from workbench.estimate.precision import roles_of
from workbench.estimate.prediction import BORROWED_PROMPT, BORROWED_STEP
from workbench.estimate.step_time import decode_step_s, decoding_s, prompt_attention_s, prompt_products_s
from workbench.simulate.step_cost import Front

POINTS = 64  # numbers of tokens at which steps are predicted; between them lie straight lines

FRONT = Front(base_s=4e-3, request_s=3e-4, stream_s=1e-4)
"""Way of a request to vLLM's scheduler."""
MIXED_STEP_S = 0.5e-3
"""Host time that a step with prompts adds. All three are from loads on vLLM 0.26.0: an 8B model under Azure's traffic, and closed
loops of a 24B and a 32B model (data/measured/load_*)."""
PROMPT_LAYER_S = 0.42e-3
"""Time in which the host launches a layer of a step with prompts, whose attention is not replayed from a graph: short prompts alone
took 0.33 to 0.47 ms for each layer of four models."""
EXPERT_LAYER_S, GRAPH_TOKENS = 1.3e-3, 512
"""The same of a layer of experts in a step of more tokens than the largest graph has (prompts of 1024 tokens alone)."""
TTFT_SIGMA, TPOT_SIGMA = 0.07, 0.03
"""Standard deviations of the logarithm of measured over simulated medians of these loads where step times are right."""
LOAD_SHARE = 0.5
"""Error of a load's steps over that of single cells, of which some are predicted too short and others too long. All three are set on
the measured loads, of whose medians 80 % lie in nominal 80 % intervals (docs/measured.md)."""


def load_log_errors(model: ModelSpec, precision: str, machine: Machine, *, is_own: bool) -> tuple[float, float]:
    """Return the standard deviations of the logarithm of measured over predicted steps and prompts of a load.

    ``is_own`` says whether the constants were measured on this very device.
    """
    is_checked = machine.split.is_among(machine.measured_tensor) and model.experts is None
    if not is_own or not is_checked or machine.kernel(precision) in machine.lent:
        return BORROWED_STEP, BORROWED_PROMPT
    return LOAD_SHARE * machine.known.log_error_unseen_step, LOAD_SHARE * machine.known.log_error_unseen_prompt


def load_sigmas(machine: Machine) -> tuple[float, float]:
    """Return the standard deviations of the logarithm of measured over simulated TTFT and TPOT where step times are right.

    Where the reader's own loads were further off after the fit to them, their errors.
    """
    load = machine.load
    return (
        (TTFT_SIGMA, TPOT_SIGMA)
        if load is None
        else (max(TTFT_SIGMA, load.ttft_log_error), max(TPOT_SIGMA, load.tpot_log_error))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TabulatedCost:
    """Times of steps as the estimator predicts them, by the number of tokens that pass the weights."""

    decoding_s: tuple[float, ...]
    """Time of a step of so many tokens, all of them of sequences that decode; without their attention."""
    launched_s: tuple[float, ...]
    """Least time of a step of so many tokens of prompts: one of as many decoding sequences launches the same kernels."""
    products_s: tuple[float, ...]
    """Time of the products of so many tokens of prompts."""
    sequence_s: float
    """Host time of each sequence in a step."""
    pair_s: float
    """Attention of prompts, for each pair of a token and one that it attends to."""
    cached_token_s: float
    """Attention of sequences that decode, for each token in the cache."""
    launching_s: float
    """Least time of a step that also reads prompts, in which the host launches its layers."""
    long_launching_s: float
    """The same of a step of more than ``GRAPH_TOKENS`` tokens."""
    mixed_step_s: float = MIXED_STEP_S
    """Host time that a step with prompts adds."""
    decoding_factor: float = 1.0
    launched_factor: float = 1.0
    products_factor: float = 1.0
    first_product_factor: float = 1.0
    """Factors of the three tables, and of what the products of a single token take."""

    def decode_s(self, sequences: int, cached: int) -> float:
        """Return the time of a step in which every sequence gets a token."""
        return (
            self.decoding_factor * self.decoding_s[sequences]
            + self.sequence_s * sequences
            + self.cached_token_s * cached
        )

    def mixed_s(self, sequences: int, read: int, pairs: float, cached: int) -> float:
        """Return the time of a step that also reads prompts: all tokens pass the weights together."""
        tokens = min(sequences + read, len(self.products_s) - 1)
        share = read / tokens
        first, every = self.products_s[1], self.products_s[tokens]
        passing = self.first_product_factor * first + self.products_factor * (every - first)
        reading = max(self.launched_factor * self.launched_s[tokens], passing)
        products = share * reading + (1 - share) * self.decoding_factor * self.decoding_s[tokens]
        least = self.launching_s if tokens <= GRAPH_TOKENS else self.long_launching_s
        attention = self.pair_s * pairs + self.cached_token_s * cached
        return self.mixed_step_s + max(products + attention, least) + self.sequence_s * sequences

    def scaled(self, steps: float, prompts: float) -> "TabulatedCost":
        """Return the cost with decode and prefill taking so many times as long."""
        return replace(
            self,
            decoding_factor=steps * self.decoding_factor,
            launched_factor=prompts * self.launched_factor,
            products_factor=prompts * self.products_factor,
            first_product_factor=prompts * self.first_product_factor,
            sequence_s=steps * self.sequence_s,
            pair_s=prompts * self.pair_s,
            launching_s=prompts * self.launching_s,
            long_launching_s=prompts * self.long_launching_s,
            mixed_step_s=prompts * self.mixed_step_s,
            cached_token_s=steps * self.cached_token_s,
        )

    def fitted(self, steps: float, prompts: float, sequences: float) -> "TabulatedCost":
        """Return the cost with factors that loads on a server showed: of decode, of prompts without their host time, of each sequence's host time."""
        return replace(
            self.scaled(steps, prompts),
            launched_factor=steps * self.launched_factor,
            first_product_factor=steps * self.first_product_factor,
            launching_s=self.launching_s,
            long_launching_s=self.long_launching_s,
            mixed_step_s=self.mixed_step_s,
            sequence_s=sequences * self.sequence_s,
        )


def step_cost(
    model: ModelSpec,
    precision: str,
    machine: Machine,
    *,
    kv_bits: int = 16,
    context_tokens: int = 1024,
    most_tokens: int = 8192,
    tokens_each: float = 1.0,
    tokens_made: float = 1.0,
) -> TabulatedCost:
    """Return the predicted times of steps.

    Args:
        model: What is served.
        precision: Number format of its linear layers.
        machine: One replica's devices.
        kv_bits: Bits of a number in the cache.
        context_tokens: Length of a sequence around which attention is taken for linear; layers with windows see less of a longer one.
        most_tokens: Most tokens of a step.
        tokens_each: Tokens of each sequence in a decode step: 1, and its draft tokens where speculation verifies them.
        tokens_made: Tokens that each sequence gains in such a step, on average.
    """
    plan = roles_of(model, precision)
    tokens = np.unique(np.round(np.geomspace(1, most_tokens, POINTS)))
    launched = decoding_s(model, plan, machine, batch=tokens)
    decoding = decoding_s(model, plan, machine, batch=tokens, tokens_each=tokens_each) / tokens_made
    products = prompt_products_s(model, plan, machine, tokens=tokens / machine.split.data)
    n_routed = n_expert_layers(model)
    launching = PROMPT_LAYER_S * model.n_layers
    every = np.arange(most_tokens + 1, dtype=np.float64)
    one, context = np.ones(1), np.array([float(context_tokens)])
    at_end = decode_step_s(model, plan, machine, batch=one, context=context, kv_bits=kv_bits)
    at_begin = decode_step_s(model, plan, machine, batch=one, context=0 * one, kv_bits=kv_bits)
    cost = TabulatedCost(
        decoding_s=tuple(np.interp(every, tokens, decoding).tolist()),
        launched_s=tuple(np.interp(every, tokens, launched).tolist()),
        products_s=tuple(np.interp(every, tokens, products).tolist()),
        sequence_s=machine.known.sequence_s / tokens_made,
        pair_s=float(prompt_attention_s(model, machine, context=context)[0]) / (context_tokens**2 / 2),
        launching_s=launching,
        long_launching_s=launching + (EXPERT_LAYER_S - PROMPT_LAYER_S) * n_routed,
        cached_token_s=float((at_end - at_begin)[0]) / context_tokens / tokens_made,
    )
    load = machine.load
    return cost if load is None else cost.fitted(load.step_ratio, load.prompt_ratio, load.sequence_ratio)


def front_of(machine: Machine) -> Front:
    """Return the way of a request to the scheduler: of the reader's own server where loads on it were measured."""
    return FRONT if machine.load is None else replace(FRONT, base_s=machine.load.front_s)
