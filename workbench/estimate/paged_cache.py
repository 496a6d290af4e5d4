"""The KV cache as vLLM pages it: groups of layers that share pages, windows, and states padded to a page.

Read in vLLM 0.32.0 (``v1/core/kv_cache_utils.py``, ``v1/kv_cache_interface.py``): every group takes blocks of one size
from one pool, so the layers of the commonest kind are cut into groups as large as those of the rarest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from workbench.catalog.model_spec import KvLayers, ModelSpec
from workbench.core.errors import NotAvailable
from workbench.core.language import gettext

PAGE_TOKENS = 16
"""Tokens of a block where no state asks for more."""
LIKE_COUNTS = 1.5
"""Kinds of layers whose counts differ by less are padded to the larger count instead of being cut."""
STATE_PAGES = 2
"""Pages of a state that a sequence holds where prefixes are cached (mode ``align``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageGroup:
    """Layers of one kind; they make ``n_groups`` groups, and each takes a block of its own."""

    n_groups: int
    block_tokens: int | None
    """Tokens that a block holds; None for a state, which does not grow."""
    window_tokens: int | None = None

    def blocks(self, context_tokens: int, *, chunk_tokens: int = 0) -> int:
        """Return the blocks of a sequence of so many tokens, of which ``chunk_tokens`` may be in work beyond a window."""
        if self.block_tokens is None:
            return self.n_groups * STATE_PAGES
        if self.window_tokens is None:
            return self.n_groups * ceil(context_tokens / self.block_tokens)
        kept = min(context_tokens, self.window_tokens - 1 + max(1, chunk_tokens))
        # A window need not begin where a block does.
        return self.n_groups * (ceil(kept / self.block_tokens) + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PagedCache:
    """The pages of a model on one tensor-parallel group of devices."""

    groups: tuple[PageGroup, ...]
    block_bytes: float
    """Bytes of one block, on all devices of the tensor-parallel group together."""

    def sequence_bytes(self, context_tokens: int) -> float:
        """Return the bytes that a sequence of so many tokens holds while it decodes, its state included."""
        return self.block_bytes * sum(g.blocks(context_tokens) for g in self.groups)

    def state_bytes(self) -> float:
        """Return the part of it that does not grow with the tokens."""
        return self.block_bytes * sum(g.blocks(0) for g in self.groups if g.block_tokens is None)

    def reading_bytes(self, context_tokens: int, *, chunk_tokens: int) -> float:
        """Return what layers with a window hold beyond it while a prompt of so many tokens is read in chunks."""
        more = [g.blocks(context_tokens, chunk_tokens=chunk_tokens) - g.blocks(context_tokens) for g in self.groups]
        return self.block_bytes * sum(more)

    def room_tokens(self, room_bytes: float, *, context_tokens: int, chunk_tokens: int) -> int:
        """Return the tokens that vLLM says the cache has room for when sequences have at most so many tokens.

        Its log's "GPU KV cache size": the blocks of the pool over those of the longest sequence, times its tokens.
        """
        blocks = max(0, room_bytes) // self.block_bytes
        if len(self.groups) == 1 and self.groups[0].window_tokens is None and self.groups[0].block_tokens:
            return int(blocks) * self.groups[0].block_tokens
        needed = sum(g.blocks(context_tokens, chunk_tokens=chunk_tokens) for g in self.groups)
        return int(blocks / needed * context_tokens)


def paged_cache(model: ModelSpec, *, tensor_parallel: int = 1, kv_bits: float = 16) -> PagedCache:
    """Return the pages of a model's cache; raises ``NotAvailable`` when what its layers keep is not known."""
    if model.kv_layers is None:
        raise NotAvailable(
            gettext("What the layers of {model} keep of a token is not in the catalogue.").format(model=model.name),
            remedy=gettext("Choose another model, or measure it with vLLM, which prints its cache's size."),
        )
    token_bytes = [_token_bytes(model, kind, tensor_parallel) * kv_bits / 8 for kind in model.kv_layers]
    n_state = _n_state_layers(model) if model.state_bytes else 0
    if not model.kv_layers:
        state = PageGroup(n_groups=1, block_tokens=None)
        return PagedCache(groups=(state,), block_bytes=float(model.state_bytes))
    tokens = PAGE_TOKENS
    if n_state:  # the page of a token layer grows until the state of a layer fits into it
        each = model.state_bytes / n_state / tensor_parallel
        tokens = max(PAGE_TOKENS, PAGE_TOKENS * ceil(each / max(token_bytes) / PAGE_TOKENS))
    if not n_state and len({kind.window_tokens for kind in model.kv_layers}) == 1:
        together = sum(kind.n_layers * b for kind, b in zip(model.kv_layers, token_bytes, strict=True))
        group = PageGroup(n_groups=1, block_tokens=tokens, window_tokens=model.kv_layers[0].window_tokens)
        return PagedCache(groups=(group,), block_bytes=tensor_parallel * tokens * together)
    page = tokens * max(token_bytes)
    size = _group_size([kind.n_layers for kind in model.kv_layers] + ([n_state] if n_state else []))
    groups = [
        PageGroup(
            n_groups=ceil(kind.n_layers / size),
            # A kind with smaller tokens puts more of them into a page where they divide it, else the page is padded.
            block_tokens=tokens * (int(max(token_bytes) // b) if max(token_bytes) % b == 0 else 1),
            window_tokens=kind.window_tokens,
        )
        for kind, b in zip(model.kv_layers, token_bytes, strict=True)
    ]
    if n_state:
        groups.append(PageGroup(n_groups=ceil(n_state / size), block_tokens=None))
    return PagedCache(groups=tuple(groups), block_bytes=tensor_parallel * size * page)


def kv_copies(model: ModelSpec, *, tensor_parallel: int) -> float:
    """Return how many times a cache is stored over a tensor-parallel group, as a mean over the numbers of a token."""
    if not model.kv_layers:
        return max(1.0, tensor_parallel / (1 if model.has_latent_cache else model.n_kv_heads))
    kept = [kind.n_layers * kind.elements_per_token for kind in model.kv_layers]
    copies = [copies_of(model, kind, tensor_parallel=tensor_parallel) for kind in model.kv_layers]
    return sum(n * c for n, c in zip(kept, copies, strict=True)) / sum(kept)


def copies_of(model: ModelSpec, kind: KvLayers, *, tensor_parallel: int) -> float:
    """Return how many times the cache of some layers is stored over a tensor-parallel group.

    Heads are divided; where there are fewer than devices each is stored again, and a latent, which belongs to all
    heads, is stored on every device.
    """
    return max(1.0, tensor_parallel / _n_heads(model, kind))


def _n_heads(model: ModelSpec, kind: KvLayers) -> int:
    return kind.n_heads or (1 if model.has_latent_cache else model.n_kv_heads)


def _token_bytes(model: ModelSpec, kind: KvLayers, tensor_parallel: int) -> float:
    """Return the numbers of a token that one device stores in one of these layers."""
    return kind.elements_per_token * copies_of(model, kind, tensor_parallel=tensor_parallel) / tensor_parallel


def _n_state_layers(model: ModelSpec) -> int:
    """Return the layers that keep a state: those that keep no tokens, or all where each layer keeps both."""
    return (model.n_layers - sum(kind.n_layers for kind in model.kv_layers or ())) or model.n_layers


def _group_size(counts: Sequence[int]) -> int:
    least, most = min(counts), max(counts)
    return most if most < LIKE_COUNTS * least else least
