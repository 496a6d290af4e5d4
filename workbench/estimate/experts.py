"""Time of a layer's routed experts: how many are read, how much each multiplies, and who waits for whom."""

import numpy as np

from workbench.catalog.formats import FORMATS
from workbench.catalog.model_spec import Experts, ModelSpec
from workbench.estimate.calibration import SHARPNESS, Floats
from workbench.estimate.linear_layers import n_expert_layers, routed_weights
from workbench.estimate.machine import Machine

TILE = 16  # tokens that a matrix unit works on together: an expert with one token multiplies as much as with sixteen
LAUNCHES = 5  # router, sorting of tokens, two grouped products, weighted sum (vLLM's fused_moe)


def popularity(experts: Experts, skew: float) -> Floats:
    """Return the probability that a token goes to each expert, most popular first; they add up to ``n_per_token``."""
    weights = np.arange(1, experts.n_experts + 1, dtype=np.float64) ** -skew
    chances: Floats = np.minimum(1.0, experts.n_per_token * weights / weights.sum())
    return chances


def touched_experts(experts: Experts, tokens: Floats, *, skew: float) -> Floats:
    """Return the expected number of experts that at least one of so many tokens goes to; ``skew`` 0 is E (1 - (1 - k/E)^n)."""
    chances = popularity(experts, skew)
    touched: Floats = (1 - (1 - chances[None, :]) ** tokens[:, None]).sum(axis=1)
    return touched


def hottest_share(experts: Experts, n_devices: int, *, skew: float) -> float:
    """Return the tokens of the busiest device over the mean, with experts dealt out in order of popularity."""
    chances = popularity(experts, skew)
    return float(max(chances[i::n_devices].sum() for i in range(n_devices)) * n_devices / chances.sum())


def experts_s(model: ModelSpec, form: str, machine: Machine, tokens: Floats) -> Floats:
    """Return the time of the routed experts of all layers for so many tokens in a step; zeros for a dense model.

    Sliced experts are read and multiplied in parts on each device of a group; whole experts make all wait for the busiest
    device and for two exchanges of tokens.
    """
    if model.experts is None:
        return np.zeros_like(tokens)
    form = machine.kernel(form)
    f, split = FORMATS[form], machine.split
    curve, n_layers = machine.known.curves[form], n_expert_layers(model)
    over = split.tensor * split.data
    whole = split.is_expert_parallel and over > 1
    wait = hottest_share(model.experts, over, skew=machine.skew) if whole else 1.0
    one = routed_weights(model) / n_layers / model.experts.n_experts
    touched = touched_experts(model.experts, tokens, skew=machine.skew)
    read = touched * one * f.stored_bits(in_features=model.hidden) / 8 / over * wait
    worked = np.maximum(tokens * model.experts.n_per_token, touched * TILE)
    reading = read / (curve.bandwidth_fraction * machine.ceilings.bandwidth_bytes_per_s)
    multiplying = 2 * one * worked / over * wait / (curve.flop_fraction * machine.ceilings.flop_per_s[f.product_bits])
    layer = LAUNCHES * curve.launch_s + (reading**SHARPNESS + multiplying**SHARPNESS) ** (1 / SHARPNESS)
    if whole:
        sent = 2.0 * tokens / over * model.experts.n_per_token * model.hidden
        layer = layer + 2 * machine.link.all_to_all_s(sent, n_devices=over)
    total: Floats = n_layers * layer
    return total
