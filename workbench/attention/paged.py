"""A paged KV cache: keys and values in a pool of pages, found through a table for each sequence."""

from dataclasses import dataclass

import torch

from workbench.attention.exact import full
from workbench.attention.flex import flex_call, paged_mask

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Pool:
    """Pages of all sequences and who owns them."""

    keys: Tensor
    """Keys of all pages: (pages, page, kv_heads, head_dim)."""
    values: Tensor
    """Values of all pages, in the shape of ``keys``."""
    tables: Tensor
    """(batch, pages of a sequence): pages in the order of the text, -1 beyond its end."""
    lengths: Tensor
    """(batch,) tokens of each sequence."""

    @property
    def page(self) -> int:
        """Number of tokens of a page."""
        return self.keys.shape[1]


def paged_pool(k: Tensor, v: Tensor, lengths: Tensor, *, page: int, seed: int = 0) -> Pool:
    """Return a pool of sequences laid out in pages that lie anywhere in the pool, as they do after a while of serving.

    k, v: (batch, kv_heads, keys, head_dim); only the first ``lengths[b]`` tokens of a sequence are kept.
    """
    batch, n_kv_heads, _, dim = k.shape
    per_sequence = [-(-int(n) // page) for n in lengths]
    n_pages, widest = sum(per_sequence), max(per_sequence)
    order = torch.randperm(n_pages, generator=torch.Generator().manual_seed(seed)).to(k.device)
    tables = torch.full((batch, widest), -1, dtype=torch.int64, device=k.device)
    keys, values = (torch.zeros(n_pages, page, n_kv_heads, dim, dtype=k.dtype, device=k.device) for _ in range(2))
    taken = 0
    for b, n in enumerate(per_sequence):
        own = order[taken : taken + n]
        taken += n
        tables[b, :n] = own
        for pages, x in ((keys, k), (values, v)):
            rows = torch.nn.functional.pad(x[b, :, : int(lengths[b])], (0, 0, 0, n * page - int(lengths[b])))
            pages[own] = rows.transpose(0, 1).reshape(n, page, n_kv_heads, dim)
    return Pool(keys, values, tables, lengths.to(k.device))


def paged_gather(q: Tensor, pool: Pool, *, backend: str, scale: float | None = None) -> Tensor:
    """Return full attention over the pages of each sequence, copied together; q: (batch, heads, queries, head_dim)."""
    outs = []
    for b, length in enumerate(pool.lengths.tolist()):
        own = pool.tables[b, : -(-length // pool.page)]
        k, v = (x[own].flatten(0, 1)[:length].transpose(0, 1)[None] for x in (pool.keys, pool.values))
        outs.append(full(q[b : b + 1], k, v, backend=backend, scale=scale).out)
    return torch.cat(outs)


def paged_flex(q: Tensor, pool: Pool, *, scale: float | None = None) -> Tensor:
    """Return the result of FlexAttention on the pool: its mask turns places into positions of each sequence."""
    n_pages = pool.keys.shape[0]
    mask = paged_mask(pool.tables, q.shape[2], pool.lengths, page=pool.page, n_pages=n_pages)
    k, v = (x.flatten(0, 1).transpose(0, 1)[None].expand(q.shape[0], -1, -1, -1) for x in (pool.keys, pool.values))
    return flex_call(q, k, v, block_mask=mask, scale=scale)
