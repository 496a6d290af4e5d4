"""FlexAttention with block masks that are written down block by block.

``create_block_mask`` evaluates a mask at every pair of positions (16 GiB at 131072 tokens); here only pairs of blocks are
looked at. On a GPU the kernel is compiled; on a CPU it runs uncompiled, with all scores in memory: a check of
correctness, never to be timed.
"""

from collections.abc import Callable
from functools import cache
from math import ceil

import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from workbench.attention.sparse import select_blocks, select_lines

Tensor = torch.Tensor
MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
BLOCK = 128


@cache
def _compiled() -> Callable[..., object]:
    return torch.compile(flex_attention, dynamic=False)


def flex_call(q: Tensor, k: Tensor, v: Tensor, *, block_mask: BlockMask, scale: float | None) -> Tensor:
    """Return the result of FlexAttention under a block mask: (batch, heads, queries, head_dim)."""
    is_grouped = q.shape[1] != k.shape[1]
    out: object
    if q.device.type == "cuda":
        out = _compiled()(q, k, v, block_mask=block_mask, scale=scale, enable_gqa=is_grouped)
    else:
        out = flex_attention(q, k, v, block_mask=block_mask, scale=scale, enable_gqa=is_grouped)
    assert isinstance(out, Tensor)
    return out


def _ranges(n_queries: int, n_keys: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the first and last position of each block of queries, (blocks, 1), and of keys, (blocks,)."""
    offset = n_keys - n_queries
    query = torch.arange(ceil(n_queries / BLOCK), device=device)[:, None] * BLOCK
    key = torch.arange(ceil(n_keys / BLOCK), device=device) * BLOCK
    last_query = torch.clamp(query + BLOCK, max=n_queries) - 1
    return query + offset, last_query + offset, key, torch.clamp(key + BLOCK, max=n_keys) - 1


def _block_mask(some: Tensor, whole: Tensor, mod: MaskMod, *, lengths: tuple[int, int]) -> BlockMask:
    """Return the mask of what is partly and what is wholly seen: (batch or 1, heads or 1, query blocks, key blocks)."""

    def block_lists(grid: Tensor) -> tuple[Tensor, Tensor]:
        order = torch.argsort(grid.to(torch.int8), dim=-1, descending=True, stable=True)
        return grid.sum(-1).to(torch.int32), order.to(torch.int32)

    part_counts, part_blocks = block_lists(some & ~whole)
    whole_counts, whole_blocks = block_lists(whole)
    return BlockMask.from_kv_blocks(
        part_counts, part_blocks, whole_counts, whole_blocks, BLOCK_SIZE=BLOCK, mask_mod=mod, seq_lengths=lengths
    )


def window_mask(n_queries: int, n_keys: int, *, window: int, n_sinks: int, device: torch.device) -> BlockMask:
    """Return the mask of a sliding window with sinks, bottom-right."""
    first, last, key, last_key = _ranges(n_queries, n_keys, device)
    offset = n_keys - n_queries
    near = (key <= last) & (first - last_key < window)
    inside = (last_key <= first) & (last - key < window)
    some = near | ((key < n_sinks) & (key <= last))
    whole = inside | ((last_key < n_sinks) & (last_key <= first))

    def mod(_b: Tensor, _h: Tensor, row: Tensor, column: Tensor) -> Tensor:
        distance = row + offset - column
        return (distance >= 0) & ((distance < window) | (column < n_sinks))

    return _block_mask(some[None, None], whole[None, None], mod, lengths=(n_queries, n_keys))


def top_k_mask(q: Tensor, k: Tensor, *, top_k: int) -> BlockMask:
    """Return the blocks that ``sparse.select_blocks`` chooses, in blocks of 128."""
    n_queries, n_keys = q.shape[2], k.shape[2]
    first, last, key, last_key = _ranges(n_queries, n_keys, q.device)
    offset = n_keys - n_queries
    chosen = select_blocks(q, k, block=BLOCK, top_k=top_k)
    grid = torch.zeros((*chosen.shape[:3], key.shape[0] + 1), dtype=torch.bool, device=q.device)
    grid.scatter_(3, torch.where(chosen < 0, key.shape[0], chosen), True)
    some = grid[..., :-1].repeat_interleave(q.shape[1] // k.shape[1], 1) & (key <= last)
    whole = some & (last_key <= first)

    def mod(_b: Tensor, _h: Tensor, row: Tensor, column: Tensor) -> Tensor:
        return column <= row + offset

    return _block_mask(some, whole, mod, lengths=(n_queries, n_keys))


def line_block_mask(q: Tensor, k: Tensor, *, n_vertical: int, n_slash: int) -> BlockMask:
    """Return the keys and distances that ``sparse.select_lines`` chooses."""
    n_queries, n_keys = q.shape[2], k.shape[2]
    first, last, key, last_key = _ranges(n_queries, n_keys, q.device)
    offset = n_keys - n_queries
    vertical, slash = select_lines(q, k, n_vertical=n_vertical, n_slash=n_slash)
    below = torch.nn.functional.pad(slash.long().cumsum(2), (1, 0))  # chosen distances less than i
    low, high = (first - last_key).clamp_min(0), (last - key + 1).clamp(0, n_keys)
    slanted = below[:, :, high.clamp_min(0)] - below[:, :, torch.minimum(low, high)] > 0
    columns = torch.nn.functional.pad(vertical, (0, -n_keys % BLOCK)).reshape(*vertical.shape[:2], -1, BLOCK).any(3)
    some = (slanted | columns[:, :, None]) & (key <= last)

    def mod(b: Tensor, h: Tensor, row: Tensor, column: Tensor) -> Tensor:
        distance = row + offset - column
        at = torch.clamp(distance, 0, n_keys - 1)
        return (distance >= 0) & (vertical[b, h, column] | slash[b, h, at])

    return _block_mask(some, torch.zeros_like(some), mod, lengths=(n_queries, n_keys))


def paged_mask(tables: Tensor, n_queries: int, lengths: Tensor, *, page: int, n_pages: int) -> BlockMask:
    """Return the mask of a pool's pages as each sequence sees them, for the last ``n_queries`` positions of each.

    tables: (batch, pages of a sequence), -1 beyond its end; lengths: (batch,). The tokens of a ``page`` need be no
    multiple or divisor of 128.
    """
    batch, device = tables.shape[0], tables.device
    owner = torch.full((batch, n_pages + 1), -1, dtype=torch.int64, device=device)
    order = torch.arange(tables.shape[1], device=device).expand(batch, -1)
    owner.scatter_(1, torch.where(tables < 0, n_pages, tables), order)
    owner = owner[:, :n_pages]
    owned = (owner >= 0).repeat_interleave(page, 1)
    owned = torch.nn.functional.pad(owned, (0, -owned.shape[1] % BLOCK)).reshape(batch, 1, 1, -1, BLOCK).any(4)
    some = owned.expand(-1, -1, ceil(n_queries / BLOCK), -1)

    def mod(b: Tensor, _h: Tensor, row: Tensor, column: Tensor) -> Tensor:
        place = owner[b, column // page]
        position = place * page + column % page
        return (place >= 0) & (position <= row + lengths[b] - n_queries) & (position < lengths[b])

    return _block_mask(some, torch.zeros_like(some), mod, lengths=(n_queries, n_pages * page))
