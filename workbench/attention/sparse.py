"""Attention over chosen keys: blocks that score high, or vertical and slanted lines.

Choosing costs time and is part of the technique, so it happens inside. What is left out changes the answer: these are
approximations, and their quality is measured, not assumed.
"""

from math import ceil

import torch
from torch.nn.functional import pad

from workbench.attention.partial import Partial, attend, stack

Tensor = torch.Tensor
GROUP_BYTES = 2**28  # of keys that are gathered at once
LAST_QUERIES = 64  # whose scores stand for all (MInference, arXiv 2407.02490)
EDGE_QUERIES = 512


def block_bounds(k: Tensor, *, block: int) -> tuple[Tensor, Tensor]:
    """Return the least and greatest key of each block, by dimension: (batch, kv_heads, blocks, head_dim) each."""
    n_keys = k.shape[2]
    missing = -n_keys % block
    low, high = (pad(k, (0, 0, 0, missing), value=v) for v in (float("inf"), float("-inf")))
    shape = (*k.shape[:2], -1, block, k.shape[3])
    return low.reshape(shape).amin(3), high.reshape(shape).amax(3)


def block_scores(q: Tensor, k: Tensor, *, block: int) -> Tensor:
    """Return how much each block of keys may matter to each block of queries: (batch, kv_heads, query blocks, key blocks).

    The upper bound of Quest (arXiv 2406.10774), sum over dimensions of max(q min, q max), for the mean query of each
    block and of the heads that share keys. Query blocks begin at the first query.
    """
    batch, _, n_queries, dim = q.shape
    n_kv_heads = k.shape[1]
    n_blocks = ceil(n_queries / block)
    grouped = q.reshape(batch, n_kv_heads, -1, n_queries, dim).mean(2)
    filled = pad(grouped, (0, 0, 0, n_blocks * block - n_queries)).reshape(batch, n_kv_heads, n_blocks, block, dim)
    counts = torch.full((n_blocks,), block, device=q.device)
    counts[-1] = n_queries - (n_blocks - 1) * block
    mean = filled.sum(3) / counts[:, None].to(q.dtype)
    low, high = block_bounds(k, block=block)
    positive, negative = mean.clamp_min(0), mean.clamp_max(0)
    return (positive @ high.transpose(2, 3) + negative @ low.transpose(2, 3)).float()


def select_blocks(q: Tensor, k: Tensor, *, block: int, top_k: int) -> Tensor:
    """Return the key blocks of each query block, (batch, kv_heads, query blocks, top_k), -1 where there are fewer.

    The first block and those of the query block's own positions are always among them.
    """
    scores = block_scores(q, k, block=block)
    n_query_blocks, n_key_blocks = scores.shape[2:]
    offset = k.shape[2] - q.shape[2]
    at = offset + block * torch.arange(n_query_blocks, device=q.device)
    last = torch.clamp(at + block - 1, max=k.shape[2] - 1) // block
    first_own = torch.clamp(at, min=0) // block
    keys = torch.arange(n_key_blocks, device=q.device)
    reachable = keys <= last[:, None]
    always = (keys == 0) | ((keys >= first_own[:, None]) & reachable)
    scores = scores.masked_fill(always & reachable, float("inf")).masked_fill(~reachable, float("-inf"))
    best = scores.topk(min(top_k, n_key_blocks), dim=-1)
    return best.indices.masked_fill(best.values == float("-inf"), -1)


def block_sparse(
    q: Tensor, k: Tensor, v: Tensor, *, block: int, top_k: int, backend: str, scale: float | None = None
) -> Partial:
    """Return the attention of each block of queries over its ``top_k`` blocks of keys; heads that share keys share them."""
    batch, heads, n_queries, dim = q.shape
    n_kv_heads, n_keys = k.shape[1], k.shape[2]
    chosen = select_blocks(q, k, block=block, top_k=top_k)
    n_query_blocks, width = chosen.shape[2], chosen.shape[3]
    missing = -n_keys % block
    pages_k, pages_v = (pad(x, (0, 0, 0, missing)).reshape(batch, n_kv_heads, -1, block, dim) for x in (k, v))
    at_once = max(1, GROUP_BYTES // (batch * n_kv_heads * width * block * dim * k.element_size()))
    size = min(block, n_queries)
    rows: list[Partial] = []
    for first in range(0, n_query_blocks, at_once):
        part = chosen[:, :, first : first + at_once]
        n_here = part.shape[2]
        queries = q[:, :, first * size : (first + n_here) * size]
        short = n_here * size - queries.shape[2]
        grouped = pad(queries, (0, 0, 0, short)).reshape(batch, n_kv_heads, heads // n_kv_heads, n_here, size, dim)
        grouped = grouped.permute(0, 1, 3, 2, 4, 5).reshape(batch * n_kv_heads * n_here, -1, size, dim)
        block_k, block_v = (_gather(x, part) for x in (pages_k, pages_v))
        positions = (n_keys - n_queries) + first * size + torch.arange(n_here * size, device=q.device)
        mask = _visible(part, positions.reshape(n_here, size), block=block, n_keys=n_keys)
        part_out = attend(grouped, block_k, block_v, backend=backend, mask=mask, scale=scale)
        shape = (batch, n_kv_heads, n_here, heads // n_kv_heads, size)
        out = part_out.out.reshape(*shape, dim).permute(0, 1, 3, 2, 4, 5).reshape(batch, heads, -1, dim)
        lse = part_out.lse.reshape(shape).permute(0, 1, 3, 2, 4).reshape(batch, heads, -1)
        rows.append(Partial(out[:, :, : queries.shape[2]], lse[:, :, : queries.shape[2]]))
    return stack(rows)


def _gather(pages: Tensor, chosen: Tensor) -> Tensor:
    """Return pages, (batch, kv_heads, pages, block, head_dim), as chosen: (all query blocks, 1, keys, head_dim)."""
    batch, n_kv_heads, n_pages, block, dim = pages.shape
    rows = torch.arange(batch * n_kv_heads, device=pages.device).reshape(batch, n_kv_heads, 1, 1) * n_pages
    flat = pages.reshape(-1, block, dim)[(rows + chosen.clamp_min(0)).reshape(-1)]
    return flat.reshape(batch * n_kv_heads * chosen.shape[2], 1, -1, dim)


def _visible(chosen: Tensor, positions: Tensor, *, block: int, n_keys: int) -> Tensor:
    """Return which gathered keys each query may see: (all query blocks, 1, queries, keys)."""
    keys = chosen[..., None] * block + torch.arange(block, device=chosen.device)
    keys = keys.masked_fill((chosen[..., None] < 0) | (keys >= n_keys), torch.iinfo(torch.int64).max)
    keys = keys.reshape(*chosen.shape[:3], 1, -1)
    seen = keys <= positions[:, :, None]
    return seen.reshape(-1, 1, positions.shape[1], keys.shape[-1])


def select_lines(q: Tensor, k: Tensor, *, n_vertical: int, n_slash: int) -> tuple[Tensor, Tensor]:
    """Return the keys that all queries see, and distances at which every query sees a key, by head.

    Taken from the weights of the last ``LAST_QUERIES`` queries, as MInference does; the nearest distance is always
    among them.

    Returns:
        (batch, heads, keys) and (batch, heads, distances), True where chosen; distances count from 0 up to keys - 1.
    """
    n_keys = k.shape[2]
    last = q[:, :, -LAST_QUERIES:]
    positions = torch.arange(n_keys - last.shape[2], n_keys, device=q.device)
    distance = positions[:, None] - torch.arange(n_keys, device=q.device)
    keys = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    scores = (last @ keys.transpose(2, 3)).float() * q.shape[3] ** -0.5
    weights = torch.softmax(scores.masked_fill(distance < 0, float("-inf")), -1).nan_to_num(0.0)
    vertical = weights.sum(2)
    slash = torch.zeros_like(vertical)
    slash.scatter_add_(2, distance.clamp_min(0).reshape(1, 1, -1).expand(*slash.shape[:2], -1), weights.flatten(2))
    slash[:, :, 0] = float("inf")
    return tuple(  # type: ignore[return-value]
        torch.zeros(x.shape, dtype=torch.bool, device=q.device).scatter_(2, x.topk(min(n, n_keys), -1).indices, True)
        for x, n in ((vertical, n_vertical), (slash, n_slash))
    )


def line_mask(vertical: Tensor, slash: Tensor, queries: Tensor) -> Tensor:
    """Return which keys the queries at some positions see: (batch, heads, queries, keys)."""
    keys = torch.arange(vertical.shape[2], device=vertical.device)
    distance = queries[:, None] - keys
    slanted = slash[:, :, distance.clamp(0, slash.shape[2] - 1).reshape(-1)].reshape(*slash.shape[:2], *distance.shape)
    return (distance >= 0) & (vertical[:, :, None] | slanted)


def vertical_slash(
    q: Tensor, k: Tensor, v: Tensor, *, n_vertical: int, n_slash: int, backend: str, scale: float | None = None
) -> Partial:
    """Return the attention of each query over chosen keys and distances.

    All scores are computed and masked: shows quality, not speed.
    """
    vertical, slash = select_lines(q, k, n_vertical=n_vertical, n_slash=n_slash)
    offset = k.shape[2] - q.shape[2]
    rows = []
    for at in range(0, q.shape[2], EDGE_QUERIES):
        part = q[:, :, at : at + EDGE_QUERIES]
        positions = torch.arange(offset + at, offset + at + part.shape[2], device=q.device)
        rows.append(attend(part, k, v, backend=backend, mask=line_mask(vertical, slash, positions), scale=scale))
    return stack(rows)
