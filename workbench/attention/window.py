"""Sliding windows, with and without sinks, computed block by block: no mask grows with the square of the length."""

import torch

from workbench.attention.partial import Partial, attend, causal_part, merge, no_keys

Tensor = torch.Tensor
GROUP_QUERIES = 8192  # worked on together; bounds the workspace
EDGE_QUERIES = 512  # of a masked call


def in_window(queries: Tensor, keys: Tensor, *, window: int) -> Tensor:
    """Return whether a key lies among the last ``window`` positions up to the query's own: (queries, keys)."""
    distance = queries[:, None] - keys[None, :]
    return (distance >= 0) & (distance < window)


def sliding_window(
    q: Tensor, k: Tensor, v: Tensor, *, window: int, backend: str, scale: float | None = None
) -> Partial:
    """Return the attention of each of the last ``queries`` positions over the last ``window`` positions up to its own.

    A block of ``window`` queries sees two triangles: the causal one of its own keys, and the opposite one of the keys
    before. Turned upside down, the second is causal too, so both run in the backends' fastest form, without a mask.
    Blocks at the edges use a small mask.
    q: (batch, heads, queries, head_dim); k, v: (batch, kv_heads, keys, head_dim); ``window`` includes the own position.
    """
    n_queries, offset = q.shape[2], k.shape[2] - q.shape[2]
    if window >= k.shape[2]:
        return causal_part(q, k, v, first_query=offset, first_key=0, backend=backend, scale=scale)
    if n_queries == 1:
        return attend(q, k[:, :, -window:], v[:, :, -window:], backend=backend, scale=scale)
    out, lse = torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32)
    per_group = max(1, GROUP_QUERIES // window)
    at = 0
    while at < n_queries:
        n_blocks = min(per_group, (n_queries - at) // window)
        if offset + at >= window and n_blocks:
            stop = at + n_blocks * window
            part = _blocks(q[:, :, at:stop], k, v, start=offset + at, window=window, backend=backend, scale=scale)
        elif offset == 0 and at == 0 and n_queries >= window:
            stop = window
            part = attend(q[:, :, :stop], k[:, :, :stop], v[:, :, :stop], backend=backend, causal=True, scale=scale)
        else:
            stop = min(at + EDGE_QUERIES, n_queries)
            if offset + at < window:  # up to where blocks with a full past begin
                stop = min(stop, max(at + 1, window - offset))
            part = _edge(q[:, :, at:stop], k, v, start=offset + at, window=window, backend=backend, scale=scale)
        out[:, :, at:stop], lse[:, :, at:stop] = part.out, part.lse
        at = stop
    return Partial(out, lse)


def _blocks(q: Tensor, k: Tensor, v: Tensor, *, start: int, window: int, backend: str, scale: float | None) -> Partial:
    """Return the attention of whole blocks of ``window`` queries from ``start`` on, with as many keys before them."""
    batch, heads, n_queries, dim = q.shape
    n_kv_heads, n_blocks = k.shape[1], n_queries // window

    def cut(x: Tensor, first: int, n_heads: int) -> Tensor:
        piece = x[:, :, first : first + n_queries].reshape(batch, n_heads, n_blocks, window, dim)
        return piece.transpose(1, 2).reshape(batch * n_blocks, n_heads, window, dim)

    rows = cut(q, 0, heads)
    own = attend(rows, cut(k, start, n_kv_heads), cut(v, start, n_kv_heads), backend=backend, causal=True, scale=scale)
    if window > 1:
        turned_k, turned_v = (cut(x, start - window, n_kv_heads).flip(2)[:, :, :-1] for x in (k, v))
        turned = attend(rows.flip(2)[:, :, 1:], turned_k, turned_v, backend=backend, causal=True, scale=scale)
        blind = no_keys(rows[:, :, :1])
        before = Partial(
            torch.cat([turned.out.flip(2), blind.out], dim=2), torch.cat([turned.lse.flip(2), blind.lse], dim=2)
        )
        own = merge([own, before])
    out = own.out.reshape(batch, n_blocks, heads, window, dim).transpose(1, 2).reshape(q.shape)
    lse = own.lse.reshape(batch, n_blocks, heads, window).transpose(1, 2).reshape(q.shape[:3])
    return Partial(out, lse)


def _edge(q: Tensor, k: Tensor, v: Tensor, *, start: int, window: int, backend: str, scale: float | None) -> Partial:
    """Return the attention of queries from ``start`` on, with a mask of at most queries x (queries + window)."""
    first, stop = max(0, start - window + 1), max(0, start + q.shape[2])
    queries = torch.arange(start, start + q.shape[2], device=q.device)
    mask = in_window(queries, torch.arange(first, stop, device=q.device), window=window)
    return attend(q, k[:, :, first:stop], v[:, :, first:stop], backend=backend, mask=mask, scale=scale)


def sink_window(
    q: Tensor, k: Tensor, v: Tensor, *, window: int, n_sinks: int, backend: str, scale: float | None = None
) -> Partial:
    """Return the attention in a sliding window and to the first ``n_sinks`` positions (StreamingLLM; arXiv 2309.17453)."""
    n_queries, offset = q.shape[2], k.shape[2] - q.shape[2]
    near = sliding_window(q, k, v, window=window, backend=backend, scale=scale)
    n_sinks = min(n_sinks, k.shape[2])
    if not n_sinks:
        return near
    sink_k, sink_v = k[:, :, :n_sinks], v[:, :, :n_sinks]
    clear = min(
        max(n_sinks + window - 1 - offset, 0), n_queries
    )  # rows from here on have every sink outside the window
    out, lse = near.out, near.lse
    for at, stop in _spans(clear, n_queries):
        rows, far_mask = q[:, :, at:stop], None
        if at < clear:
            queries = torch.arange(offset + at, offset + stop, device=q.device)
            sinks = torch.arange(n_sinks, device=q.device)
            far_mask = (queries[:, None] >= sinks) & ~in_window(queries, sinks, window=window)
        far = attend(rows, sink_k, sink_v, backend=backend, mask=far_mask, scale=scale)
        both = merge([Partial(out[:, :, at:stop], lse[:, :, at:stop]), far])
        out[:, :, at:stop], lse[:, :, at:stop] = both.out, both.lse
    return Partial(out, lse)


def _spans(clear: int, n_queries: int) -> list[tuple[int, int]]:
    masked = [(a, min(a + GROUP_QUERIES, clear)) for a in range(0, clear, GROUP_QUERIES)]
    return masked + [(a, min(a + GROUP_QUERIES, n_queries)) for a in range(clear, n_queries, GROUP_QUERIES)]
