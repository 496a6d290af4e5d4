"""Memory of the key-value cache, and the longest context that it leaves room for."""

from dataclasses import dataclass
from math import ceil

from workbench.core.errors import DoesNotFit, NotAvailable
from workbench.core.models import ModelSpec
from workbench.core.units import GIB
from workbench.estimate.linear_layers import routed_weights
from workbench.estimate.weights import weight_bytes


def kv_bytes_per_token(model: ModelSpec, *, kv_bits: float = 16) -> float:
    """Cache of one token over all layers; sliding windows are counted as if they were full."""
    if model.kv_elements_per_token is None:
        raise NotAvailable(
            f"The layers of {model.name} differ in kind; its cache is not one number per token.",
            remedy="Measure it with the long-context notebook.",
        )
    return model.kv_elements_per_token * kv_bits / 8


def kv_cache_bytes(
    model: ModelSpec, *, context_tokens: int, batch: int = 1, kv_bits: float = 16, page_tokens: int = 1
) -> float:
    """Cache of some sequences of one length; layers with a window keep no more than that.

    Args:
        model: The shape. MHA and GQA store 2 x KV heads x head_dim numbers per token and layer, MLA its latent.
        context_tokens: Of each sequence.
        batch: Sequences.
        kv_bits: Width of a stored number.
        page_tokens: A sequence takes whole pages of so many tokens.

    Raises:
        NotAvailable: what a layer keeps is not known for this model.
    """
    if model.kv_layers is None:
        raise NotAvailable(
            f"What the layers of {model.name} keep of a token is not in the catalogue.",
            remedy="Choose another model, or measure it with vLLM, which prints its cache's size.",
        )
    total = 0.0
    for group in model.kv_layers:
        kept = context_tokens if group.window_tokens is None else min(context_tokens, group.window_tokens)
        pages = ceil(kept / page_tokens)
        total += group.n_layers * group.elements_per_token * pages * page_tokens * kv_bits / 8
    return batch * total


def prefill_workspace_bytes(model: ModelSpec, *, chunk_tokens: int, bits: float = 16) -> float:
    """Activations that live at once while a chunk of a prompt is read.

    The widest place of a decoder layer: residual stream and normalised input (2 x hidden), gate, up and their product
    (3 x intermediate). Attention's own queries and outputs are smaller and come before.
    """
    return chunk_tokens * (2 * model.hidden + 3 * model.intermediate) * bits / 8


def longest_context_tokens(
    model: ModelSpec, *, free_bytes: float, batch: int = 1, kv_bits: float = 16, page_tokens: int = 1
) -> int:
    """The longest context of ``batch`` sequences whose cache fits, whatever the model was trained for.

    Raises ``DoesNotFit`` when not even one page of each sequence fits.
    """

    def needed(tokens: int) -> float:
        return kv_cache_bytes(model, context_tokens=tokens, batch=batch, kv_bits=kv_bits, page_tokens=page_tokens)

    if needed(page_tokens) > free_bytes:
        raise DoesNotFit(
            f"After the weights {free_bytes / GIB:.1f} GiB are left, which holds no cache of {model.name}.",
            remedy="Use fewer bits for the weights, a larger device, or more devices.",
        )
    low, high = page_tokens, 2 * page_tokens
    while needed(high) <= free_bytes and high < 2**40:
        low, high = high, 2 * high
    while high - low > page_tokens:
        middle = (low + high) // 2 // page_tokens * page_tokens
        low, high = (middle, high) if needed(middle) <= free_bytes else (low, middle)
    return low


def kv_copies(model: ModelSpec, *, tensor_parallel: int) -> float:
    """How many times a cache is stored over the devices of a tensor-parallel group.

    Heads are divided; where there are fewer KV heads than devices each is stored again, and the latent of MLA, which
    belongs to all heads, is stored on every device (facts of vLLM: ``tp / H_kv`` copies without ``-dcp``).
    """
    per_token = 2 * model.n_layers * model.n_kv_heads * model.head_dim
    if model.kv_elements_per_token is not None and model.kv_elements_per_token < per_token / 2:
        return float(tensor_parallel)
    return max(1.0, tensor_parallel / model.n_kv_heads)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextPlan:
    """Memory of a model with some long sequences on some devices; all figures are of the devices together."""

    usable_bytes: float
    weight_bytes: float
    workspace_bytes: float
    cache_bytes: float
    longest_tokens: int
    """The longest context of so many sequences; 0 when nothing is left beside the weights."""

    @property
    def needed_bytes(self) -> float:
        """All of it."""
        return self.weight_bytes + self.workspace_bytes + self.cache_bytes

    @property
    def does_fit(self) -> bool:
        """Whether all of it fits."""
        return self.needed_bytes <= self.usable_bytes


def context_plan(
    model: ModelSpec,
    *,
    memory_bytes: float,
    n_devices: int = 1,
    tensor_parallel: int | None = None,
    expert_groups: int = 1,
    usable_fraction: float = 0.9,
    weight_bits: float = 16,
    kv_bits: float = 16,
    context_tokens: int,
    batch: int = 1,
    chunk_tokens: int = 8192,
) -> ContextPlan:
    """Memory by part, and the longest context that is left room for.

    Args:
        model: The shape.
        memory_bytes: Of one device.
        n_devices: That one copy of the weights is cut over.
        tensor_parallel: Of these, those that cut every layer; all when left out. The others are stages.
        expert_groups: Groups of ``n_devices`` that each hold all but the experts, which are spread over all groups.
        usable_fraction: Of the memory, as ``--gpu-memory-utilization``.
        weight_bits: Bits of each linear weight.
        kv_bits: Bits of each stored number of the cache.
        context_tokens: Of each sequence.
        batch: Sequences.
        chunk_tokens: Tokens that are read together.
    """
    copies = kv_copies(model, tensor_parallel=tensor_parallel or n_devices)
    usable = memory_bytes * usable_fraction * n_devices * expert_groups
    weights = weight_bytes(model, weight_bits=weight_bits)
    if expert_groups > 1:
        weights += (expert_groups - 1) * (weights - routed_weights(model) * weight_bits / 8)
    workspace = prefill_workspace_bytes(model, chunk_tokens=chunk_tokens) * n_devices * expert_groups
    cache = copies * kv_cache_bytes(model, context_tokens=context_tokens, batch=batch, kv_bits=kv_bits, page_tokens=16)
    try:
        longest = longest_context_tokens(
            model, free_bytes=(usable - weights - workspace) / copies, batch=batch, kv_bits=kv_bits, page_tokens=16
        )
    except DoesNotFit:
        longest = 0
    return ContextPlan(
        usable_bytes=usable,
        weight_bytes=weights,
        workspace_bytes=workspace,
        cache_bytes=cache,
        longest_tokens=longest,
    )
