"""What a model keeps of its tokens, read off the cache that its own class fills on the meta device."""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from transformers.cache_utils import Cache

from workbench.catalog.model_spec import KvLayers
from workbench.understanding.construct import Constructed
from workbench.understanding.repeats import each_kind_once

SHORT, LONG = (16, 48), (512, 1536)
"""Lengths that are read: what grows between them is kept for each token; the longer ones where layers compress their cache."""
PLAIN = re.compile("Dynamic(SlidingWindow|Indexed)?Layer|LinearAttention")
REST = "LinearAttention"
"""Name for what belongs to no layer of a cache."""
KEYS = re.compile("^(keys|values)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the layers of a model keep of its tokens."""

    layers: tuple[KvLayers, ...]
    state_bytes: int
    is_latent: bool


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    n_bytes: int

    @property
    def n(self) -> int:
        """Return the number of its elements."""
        return int(torch.Size(self.shape).numel())


Cached = Sequence[tuple[str, object]]
"""The layers of a cache, each with the name of its class; what belongs to no layer comes last."""


def kept_by(made: Constructed, *, device: str = "meta") -> Kept | None:
    """Return what a model keeps for each token and for each sequence; None where its class returns no cache."""
    _skip_experts(made.model)
    shorter, longer = (_layers_filled_by(made, n, device) for n in SHORT)
    lengths = SHORT
    if shorter is not None and not all(PLAIN.match(kind) for kind, _ in shorter):
        shorter, longer = (_layers_filled_by(made, n, device) for n in LONG)
        lengths = LONG
    return None if shorter is None or longer is None else _compared(made, shorter, longer, lengths)


def _layers_filled_by(made: Constructed, n_tokens: int, device: str) -> Cached | None:
    """Return the layers of the cache after so many tokens; a layer like an earlier one runs only where that one cannot stand for it."""
    if device == "meta" and made.kind != "encoder-decoder":
        with contextlib.suppress(Exception), each_kind_once(made.model) as stands_for:
            cached = _layers_after(made, n_tokens, device) if stands_for else None
            if cached is not None and (whole := _with_repeats(cached, stands_for)) is not None:
                return whole
    return _layers_after(made, n_tokens, device)


def _with_repeats(cached: Cached, stands_for: Mapping[int, int]) -> Cached | None:
    """Return the layers of a cache, those that did not run as the ones that stand for them; None where it is not known which do."""
    (*layers, rest) = cached
    if rest[0] != REST or any(True for _ in _tensors(rest[1])):
        return None
    n = max(len(layers), *(place + 1 for place in stands_for))
    whole = [*layers, *[(REST, {})] * (n - len(layers))]
    for place, first in stands_for.items():
        ran, waiting = layers[first], whole[place]
        is_alike = waiting[0] in {ran[0], REST} and _window(waiting[1]) in {_window(ran[1]), None}
        if not is_alike or any(True for _ in _tensors(waiting[1])):
            return None
        whole[place] = ran
    return [*whole, rest]


def _window(layer: object) -> object:
    return getattr(layer, "sliding_window", None)


def _layers_after(made: Constructed, n_tokens: int, device: str) -> Cached | None:
    """Return the layers of the cache after so many tokens, each with the name of its class."""
    ids = torch.zeros((1, n_tokens), dtype=torch.long, device=device)
    arguments = {"decoder_input_ids": ids} if made.kind == "encoder-decoder" else {}
    with torch.no_grad(), _lengths_without_attention():
        model = getattr(made.model, "thinker", made.model)  # the part of an omni model that reads and writes text
        return _layers_of(model(input_ids=ids, use_cache=True, **arguments))


@contextlib.contextmanager
def _lengths_without_attention() -> Iterator[None]:
    """Let a cache that has no attention layer say that it holds nothing, where transformers raises ``ValueError``."""
    own_length, own_mask = Cache.get_seq_length, Cache.get_mask_sizes

    def length(cache: Cache, layer_idx: int = 0) -> int:
        try:
            return int(own_length(cache, layer_idx))
        except ValueError:
            return 0

    def mask_sizes(cache: Cache, query_length: int, layer_idx: int) -> tuple[int, int]:
        try:
            length, offset = own_mask(cache, query_length, layer_idx)
            return int(length), int(offset)
        except ValueError:
            return query_length, 0

    Cache.get_seq_length, Cache.get_mask_sizes = length, mask_sizes
    try:
        yield
    finally:
        Cache.get_seq_length, Cache.get_mask_sizes = own_length, own_mask


def _skip_experts(model: torch.nn.Module) -> None:
    """Let routed experts give zeros: which of them a token goes to depends on values, and none keeps anything."""
    for module in model.modules():
        if type(module).__name__.endswith("ParallelExperts"):
            width = int(module.get_parameter("weight").shape[1])
            module.forward = lambda inputs, *_, width=width: inputs.new_zeros((*inputs.shape[:-1], width))
        elif type(module).__name__.endswith("TopKGating"):
            module.forward = partial(_first_expert, module)
        elif type(module).__name__.endswith("Experts"):
            module.forward = lambda hidden, *_, **__: torch.zeros_like(hidden)


def _first_expert(gating: torch.nn.Module, hidden: torch.Tensor) -> tuple[object, ...]:
    """Return what JetMoE's router gives, each token sent to the first expert: order, tokens, gates, sizes and logits."""
    top_k, n_experts = int(vars(gating)["top_k"]), int(vars(gating)["num_experts"])
    n_rows = hidden.shape[0] * top_k
    order = torch.arange(n_rows, device=hidden.device)
    sizes = [n_rows] + [0] * (n_experts - 1)
    logits = hidden.new_zeros(hidden.shape[0], n_experts)
    return order, order.div(top_k, rounding_mode="trunc"), hidden.new_zeros(n_rows), sizes, logits


def _layers_of(answer: object) -> Cached | None:
    cache = getattr(answer, "past_key_values", None)
    cache = getattr(answer, "cache_params", None) if cache is None else cache
    cache = getattr(answer, "state", None) if cache is None else cache
    cache = getattr(cache, "self_attention_cache", cache)
    if cache is None:
        return None
    layers = getattr(cache, "layers", None)
    if layers is None:
        return [("whole", cache)]
    rest = {k: v for k, v in vars(cache).items() if k != "layers"}
    return [*((type(layer).__name__, layer) for layer in layers), (REST, rest)]


def _tensors(thing: object, name: str = "") -> Iterator[_Tensor]:
    """Yield the tensors of a layer; two names of one tensor are one."""
    if isinstance(thing, torch.Tensor):
        if thing.dim() > 1:
            yield _Tensor(name, tuple(thing.shape), thing.element_size() * thing.numel())
    elif isinstance(thing, dict):
        for key, value in thing.items():
            yield from _tensors(value, name or str(key))
    elif isinstance(thing, list | tuple):
        for value in thing:
            yield from _tensors(value, name)
    elif hasattr(thing, "__dict__") and not name:
        for key, value in {id(v): (k, v) for k, v in reversed(vars(thing).items())}.values():
            yield from _tensors(value, key)


def _compared(made: Constructed, shorter: Cached, longer: Cached, lengths: tuple[int, int]) -> Kept:
    """Return what grows between two caches as layers, and what does not as the state of a sequence."""
    repeated = _heads_are_repeated(made.text, shorter)
    latent = getattr(made.text, "kv_lora_rank", None)
    width = latent + getattr(made.text, "qk_rope_head_dim", 0) if latent else None
    groups: Counter[tuple[int, int | None, int]] = Counter()
    state = 0
    for (_, short), (_, long) in zip(shorter, longer, strict=True):
        window = getattr(short, "sliding_window", None)
        attended, heads, indexed, grown = 0, 0, 0.0, 0.0
        for before, after in zip(_tensors(short), _tensors(long), strict=True):
            if KEYS.match(before.name) and len(before.shape) == 4:
                n_heads = repeated or before.shape[1]
                attended, heads = attended + n_heads * before.shape[3], max(heads, n_heads)
            elif after.n > before.n:
                each = (after.n - before.n) / (lengths[1] - lengths[0])
                indexed, grown = (indexed + each, grown) if "index" in before.name else (indexed, grown + each)
            else:
                state += before.n_bytes
        if attended and width:
            attended, heads = width, 1  # a latent that all heads share, whatever the class keeps of it
        if attended and window is None:
            groups[round(attended + indexed + grown), None, heads] += 1
        else:
            if attended:
                groups[attended, int(window or 0), heads] += 1
            if indexed + grown:  # entries for blocks of tokens, kept beside a window
                groups[round(indexed + grown), None, 1] += 1
    layers = tuple(
        KvLayers(n_layers=n, elements_per_token=elements, window_tokens=window, n_heads=n_heads)
        for (elements, window, n_heads), n in groups.items()
    )
    return Kept(layers=layers, state_bytes=state, is_latent=width is not None)


def _heads_are_repeated(text: object, cached: Cached) -> int | None:
    """Return the KV heads that a server keeps, where a class of transformers repeats them for each query head before it keeps them."""
    heads = _kv_heads(text)
    counts = {t.shape[1] for _, layer in cached for t in _tensors(layer) if KEYS.match(t.name) and len(t.shape) == 4}
    return heads if heads and counts == {getattr(text, "num_attention_heads", 0)} and heads not in counts else None


def _kv_heads(text: object) -> int | None:
    """Return the KV heads that a configuration names; None where it names none or one for each layer."""
    if getattr(text, "multi_query", False) and not getattr(text, "new_decoder_architecture", False):
        return 1
    for name in ("num_key_value_heads", "num_kv_heads", "multi_query_group_num"):
        value = getattr(text, name, None)
        if isinstance(value, int):
            return value
    return None
