"""Memory of a served model by part, as vLLM divides it: what it may use, weights, workspace, reserve, and the cache's room."""

from bisect import bisect_right
from dataclasses import dataclass
from math import ceil

from workbench.catalog.model_spec import ModelSpec
from workbench.core.units import GIB
from workbench.estimate.linear_layers import routed_weights
from workbench.estimate.paged_cache import PagedCache, paged_cache
from workbench.estimate.weights import weight_bytes

USABLE_FRACTION = 0.9
"""``--gpu-memory-utilization`` of the commands that the workbench prints; vLLM's own default is 0.92 since 0.22."""
ALLOCATED = 1.08
"""Peak of the allocator over the widest place of a layer (vLLM#10517: 2.07 and 2.99 GiB at 20,000 and 29,000 tokens)."""
NON_TORCH_BYTES = {1: 0.54 * GIB, 2: 0.28 * GIB}
"""Loaded kernels, handles and what compiling leaves, on one device and on each of several, where NCCL's buffers are
allocated before vLLM begins to count (0.26.0 on H100 and H200, data/vllm_cache_sizes.csv)."""
GRAPH_BYTES = 0.010 * GIB
"""CUDA graphs, for each layer (the same runs); vLLM counts them before it sizes the cache since 0.21."""
LOGITS_COPIES = 2.0
"""Copies of 32-bit logits that the sampler holds at once since vLLM 0.26."""
LARGE_DEVICE_BYTES, LARGEST_DEVICE_BYTES = 70 * GIB, 160 * GIB


def batched_tokens(memory_bytes: float) -> int:
    """Return vLLM's own ``--max-num-batched-tokens`` of a server on a device (0.32.0; an A100 has 2048 at any size)."""
    return 16384 if memory_bytes >= LARGEST_DEVICE_BYTES else 8192 if memory_bytes >= LARGE_DEVICE_BYTES else 2048


def batched_sequences(memory_bytes: float) -> int:
    """Return vLLM's own ``--max-num-seqs`` of a server on a device (0.32.0)."""
    return 1024 if memory_bytes >= LARGE_DEVICE_BYTES else 256


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySettings:
    """Settings of vLLM that memory depends on."""

    usable_fraction: float = USABLE_FRACTION
    """Share of a device's memory that it may use: ``--gpu-memory-utilization``."""
    chunk_tokens: int | None = None
    """Most tokens of a step, ``--max-num-batched-tokens``; None: vLLM's own for the device."""
    max_sequences: int | None = None
    """Most sequences of a step, ``--max-num-seqs``; None: vLLM's own for the device."""
    has_graphs: bool = True
    """Whether CUDA graphs are counted before the cache is sized; not with ``--enforce-eager`` or before vLLM 0.21."""
    logits_copies: float = LOGITS_COPIES
    """Copies of the logits that the sampler holds at once: 10 up to vLLM 0.10, 5 in 0.11, 3 in 0.19, 2 since 0.26."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextPlan:
    """Memory of a model with some sequences on some devices; all figures are of the devices of one replica together."""

    usable_bytes: float
    """Memory that vLLM may use: its share of what the devices report."""
    weight_bytes: float
    workspace_bytes: float
    """Largest of what a step of the most tokens holds beside weights and cache, the sampler's logits included."""
    reserve_bytes: float
    """Memory outside PyTorch's tensors: loaded kernels, communication, CUDA graphs."""
    cache_bytes: float
    """Keys and values of the sequences, in whole pages."""
    state_bytes: float
    """Constant states of the sequences, padded to pages; 0 for a model without recurrent layers."""
    sequences: int
    longest_tokens: int
    """Longest context of so many sequences; 0 when the weights leave no room."""
    room_tokens: int
    """Tokens that the KV cache has room for, as vLLM's log says at its start, for sequences of the context asked for."""

    @property
    def fixed_bytes(self) -> float:
        """Memory that does not depend on the number of sequences."""
        return self.weight_bytes + self.workspace_bytes + self.reserve_bytes

    @property
    def sequence_bytes(self) -> float:
        """Memory of one further sequence, its state included."""
        return (self.cache_bytes + self.state_bytes) / self.sequences

    @property
    def needed_bytes(self) -> float:
        """Memory of all parts together."""
        return self.fixed_bytes + self.cache_bytes + self.state_bytes

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
    weight_bits: float = 16,
    kv_bits: float = 16,
    context_tokens: int,
    batch: int = 1,
    settings: MemorySettings | None = None,
) -> ContextPlan:
    """Return the memory by part, and the longest context that is left room for.

    One copy of the weights is cut over ``n_devices`` with ``memory_bytes`` each: ``tensor_parallel`` of them (all
    when left out) cut every layer, the others are stages. ``expert_groups`` groups each hold all but the experts,
    which are spread over all groups. Raises ``NotAvailable`` when what the layers keep is not known.
    """
    cut, set_to = tensor_parallel or n_devices, settings or MemorySettings()
    total_devices = n_devices * expert_groups
    chunk = set_to.chunk_tokens or batched_tokens(memory_bytes)
    usable = memory_bytes * set_to.usable_fraction * total_devices
    weights = weight_bytes(model, weight_bits=weight_bits)
    if expert_groups > 1:
        weights += (expert_groups - 1) * (weights - routed_weights(model) * weight_bits / 8)
    pages = paged_cache(model, tensor_parallel=cut, kv_bits=kv_bits)
    workspace = total_devices * step_workspace_bytes(
        model,
        chunk_tokens=chunk,
        tensor_parallel=cut,
        max_sequences=set_to.max_sequences or batched_sequences(memory_bytes),
        logits_copies=set_to.logits_copies,
    )
    reserve = total_devices * reserved_bytes(
        model, n_devices=total_devices, n_stages=n_devices // cut, has_graphs=set_to.has_graphs
    )
    room = usable - weights - workspace - reserve
    states = batch * pages.state_bytes()
    return ContextPlan(
        usable_bytes=usable,
        weight_bytes=weights,
        workspace_bytes=workspace + pages.reading_bytes(context_tokens, chunk_tokens=chunk),
        reserve_bytes=reserve,
        cache_bytes=batch * pages.sequence_bytes(context_tokens) - states,
        state_bytes=states,
        sequences=batch,
        longest_tokens=_longest_tokens(
            pages, room / expert_groups, batch=ceil(batch / expert_groups), chunk_tokens=chunk
        ),
        room_tokens=pages.room_tokens(room, context_tokens=context_tokens, chunk_tokens=chunk),
    )


def step_workspace_bytes(
    model: ModelSpec, *, chunk_tokens: int, tensor_parallel: int, max_sequences: int, logits_copies: float
) -> float:
    """Return the activations of the widest place of a step on one device, or the sampler's logits where they are larger.

    A dense layer holds the residual stream and its norm (2 x hidden) with gate, up and their product (3 x its width);
    routed experts hold the inputs of both their products for each expert of a token, in two shared buffers.
    """
    widths: float = 2 * model.hidden + 3 * model.intermediate / tensor_parallel
    if model.experts is not None:
        each, k = model.experts.intermediate / tensor_parallel, model.experts.n_per_token
        routed = 2 * model.hidden + k * (max(2 * each, model.hidden) + max(each, model.hidden))
        shared = 2 * model.hidden + 3 * model.experts.n_shared * each
        widths = max(routed, shared)
    tokens = min(max_sequences, chunk_tokens)
    return max(ALLOCATED * chunk_tokens * widths * 2, logits_copies * tokens * model.vocab_size * 4)


def reserved_bytes(model: ModelSpec, *, n_devices: int, n_stages: int = 1, has_graphs: bool = True) -> float:
    """Return the memory of one device that is neither weights, cache nor activations."""
    graphs = GRAPH_BYTES * model.n_layers / n_stages if has_graphs else 0.0
    return NON_TORCH_BYTES[min(2, n_devices)] + graphs


def _longest_tokens(pages: PagedCache, room: float, *, batch: int, chunk_tokens: int) -> int:
    """Return the longest context of so many sequences, in whole blocks; 0 where not one block of each fits."""
    step = max((g.block_tokens or 0 for g in pages.groups), default=0)
    if not step:  # a model without tokens to keep
        return 2**40 if batch * pages.state_bytes() <= room else 0

    def needed(n: int) -> float:
        reading = pages.reading_bytes(n * step, chunk_tokens=chunk_tokens)
        return batch * pages.sequence_bytes(n * step) + reading

    return bisect_right(range(1, 2**40 // step), room, key=needed) * step
