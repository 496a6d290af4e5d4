"""Caches of transformers for long contexts: one whose memory is taken once, and the others to compare it with."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from transformers import Cache, DynamicCache, PretrainedConfig, StaticCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from workbench.core.errors import NotAvailable


class _PreallocatedLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values in memory taken at the first token for ``room`` tokens; what is filled is given out as a view."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.filled = room, 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Take the memory; states are (batch, kv_heads, tokens, head_dim)."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = (
            x.new_zeros((*x.shape[:2], self.room, x.shape[3])) for x in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_rest: object, **_named: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new states behind the others; a view of all that are there comes back."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        stop = self.filled + key_states.shape[2]
        self.keys[:, :, self.filled : stop] = key_states
        self.values[:, :, self.filled : stop] = value_states
        self.filled = stop
        return self.keys[:, :, :stop], self.values[:, :, :stop]

    def get_seq_length(self) -> int:
        """Return the tokens that are filled."""
        return self.filled


def preallocated_cache(config: PretrainedConfig, *, room: int) -> Cache:
    """Return a cache for ``room`` tokens, without DynamicCache's copies and StaticCache's empty places.

    Layers that keep a window or a state keep it as in DynamicCache.
    """
    layers = DynamicCache(config=config).layers
    return Cache(layers=[_PreallocatedLayer(room) if type(layer) is DynamicLayer else layer for layer in layers])


def mark_filled(cache: Cache, *, tokens: int, like: Cache) -> None:
    """Take a preallocated cache's memory and count ``tokens`` zeros as read; ``like`` holds one token of the same model."""
    for layer, short in zip(cache.layers, like.layers, strict=True):
        if isinstance(layer, _PreallocatedLayer):
            layer.lazy_initialization(short.keys, short.values)
            layer.filled = tokens


def held_bytes(memory: object) -> int:
    """Return the bytes of the tensors that a model keeps of a text, wherever they lie."""
    return sum(tensor.nbytes for tensor in {id(t): t for t in _tensors(memory)}.values() if tensor.dim() > 1)


def _tensors(kept: object) -> Iterator[torch.Tensor]:
    if isinstance(kept, torch.Tensor):
        yield kept
        return
    if isinstance(kept, Mapping):
        parts: Iterable[object] = kept.values()
    elif isinstance(kept, list | tuple):
        parts = kept
    else:
        module = type(kept).__module__.partition(".")[0]
        parts = vars(kept).values() if module in {"transformers", "workbench"} and hasattr(kept, "__dict__") else ()
    for part in parts:
        yield from _tensors(part)


def cache_makers(config: PretrainedConfig, *, room: int, window: int, device: str) -> dict[str, Callable[[], Cache]]:
    """Return a maker for each cache of transformers by name; one that this machine lacks raises ``NotAvailable``."""

    def offloaded() -> Cache:
        if device != "cuda":
            raise NotAvailable("Offloading moves the cache from a GPU to the processor.", remedy="Needs a GPU.")
        return DynamicCache(config=config, offloading=True)

    def quantized() -> Cache:
        try:
            import optimum.quanto  # type: ignore[import-not-found]  # noqa: F401
        except ImportError as error:
            raise NotAvailable(
                "optimum-quanto is not installed; its first use compiles C++ for about five minutes.",
                remedy="pip install optimum-quanto",
            ) from error
        from transformers import QuantizedCache

        return QuantizedCache(backend="quanto", config=config, nbits=4)

    def sliding() -> Cache:
        return Cache(layers=[DynamicSlidingWindowLayer(sliding_window=window) for _ in range(config.num_hidden_layers)])

    return {
        "sliding": sliding,
        "preallocated": lambda: preallocated_cache(config, room=room),
        "dynamic": lambda: DynamicCache(config=config),
        "static": lambda: StaticCache(config=config, max_cache_len=room),
        "offloaded": offloaded,
        "quantized": quantized,
    }
