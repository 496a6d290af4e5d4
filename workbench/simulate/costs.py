"""Step costs of a simulated engine from the estimator."""

import numpy as np

from workbench.core.models import ModelSpec
from workbench.estimate.linear_layers import ROLES
from workbench.estimate.machine import Machine
from workbench.estimate.step_time import STEP_TOKENS, decode_step_s, reading_s
from workbench.simulate.engine import StepCost


def step_cost(
    model: ModelSpec, precision: str, machine: Machine, *, kv_bits: int = 16, batch: int = 64, input_tokens: int = 1024
) -> StepCost:
    """A straight line through predicted steps: around a batch, a context and a length of prompts.

    Args:
        model: The shape.
        precision: Of all linear layers.
        machine: Devices.
        kv_bits: Of the cache.
        batch: Sequences around which the line is laid.
        input_tokens: Prompts of about this length.
    """
    plan = dict.fromkeys(ROLES, precision)
    batches = np.array([1.0, float(max(2, batch))])
    context = np.array([1.0, 1.0])
    low, high = decode_step_s(model, plan, machine, batch=batches, context=context, kv_bits=kv_bits)
    longer = decode_step_s(model, plan, machine, batch=batches, context=context + 1000.0, kv_bits=kv_bits)
    sequence = max(0.0, (high - low) / (batches[1] - 1))
    cached = float(longer[1] - high) / (1000.0 * batches[1])
    n_prompts = max(1, STEP_TOKENS // input_tokens)
    n, length = np.array([float(n_prompts)]), np.array([float(input_tokens)])
    reading = float(reading_s(model, plan, machine, batch=n, context=length)[0])
    return StepCost(
        fixed_s=float(low - sequence),
        sequence_s=float(sequence),
        prompt_token_s=max(0.0, reading / (n_prompts * input_tokens)),
        cached_token_s=cached,
    )
