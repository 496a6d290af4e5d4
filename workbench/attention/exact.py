"""Full causal attention, in one call or cut along queries or keys."""

import torch

from workbench.attention.partial import Partial, attend, causal_part, merge

Tensor = torch.Tensor


def full(q: Tensor, k: Tensor, v: Tensor, *, backend: str, scale: float | None = None) -> Partial:
    """Return the attention of the last positions over all keys up to their own; q: (batch, heads, queries, head_dim)."""
    offset = k.shape[2] - q.shape[2]
    return causal_part(q, k, v, first_query=offset, first_key=0, backend=backend, scale=scale)


def query_chunked(q: Tensor, k: Tensor, v: Tensor, *, chunk: int, backend: str, scale: float | None = None) -> Tensor:
    """Return full attention, ``chunk`` queries at a time, as chunked prefill does it: (batch, heads, queries, head_dim)."""
    offset, out = k.shape[2] - q.shape[2], torch.empty_like(q)
    for at in range(0, q.shape[2], chunk):
        part = q[:, :, at : at + chunk]
        seen = max(offset + at + part.shape[2], 0)
        out[:, :, at : at + chunk] = causal_part(
            part, k[:, :, :seen], v[:, :, :seen], first_query=offset + at, first_key=0, backend=backend, scale=scale
        ).out
    return out


def key_split(q: Tensor, k: Tensor, v: Tensor, *, n_splits: int, backend: str, scale: float | None = None) -> Partial:
    """Return full attention over slices of the keys, merged by their log-sum-exp.

    For a single query the slices are one more batch dimension, so that a GPU works on all of them at once
    (flash decoding).
    """
    batch, n_kv_heads, n_keys, dim = k.shape
    size = max(1, n_keys // n_splits)
    if q.shape[2] == 1 and n_splits > 1 and n_keys >= n_splits:
        even = size * n_splits
        group = q.reshape(batch * n_kv_heads, 1, -1, dim).expand(-1, n_splits, -1, -1)
        split_k, split_v = (x[:, :, :even].reshape(batch * n_kv_heads, n_splits, size, dim) for x in (k, v))
        part = attend(group, split_k, split_v, backend=backend, scale=scale)
        parts = [Partial(part.out[:, i].reshape(q.shape), part.lse[:, i].reshape(q.shape[:3])) for i in range(n_splits)]
        if even < n_keys:
            parts.append(attend(q, k[:, :, even:], v[:, :, even:], backend=backend, scale=scale))
        return merge(parts)
    parts = []
    for at in range(0, n_keys, size):
        own = k[:, :, at : at + size], v[:, :, at : at + size]
        parts.append(causal_part(q, *own, first_query=n_keys - q.shape[2], first_key=at, backend=backend, scale=scale))
    return merge(parts)
