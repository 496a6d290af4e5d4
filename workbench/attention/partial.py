"""Attention over some of the keys, with the log-sum-exp that lets parts be put together again.

Causal masks here are bottom-right: a query sees the keys at its own position and before. ``is_causal=True`` of
``scaled_dot_product_attention`` is top-left and wrong wherever queries and keys differ in number, so it is used for
squares on the diagonal only; everything left of the diagonal needs no mask.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from workbench.attention.reasons import NEEDS_NVIDIA
from workbench.core.errors import NotAvailable

Tensor = torch.Tensor
BACKENDS = ("flash", "efficient", "cudnn", "math")
ATEN = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Partial:
    """Attention of queries over some of the keys."""

    out: Tensor
    """(batch, heads, queries, head_dim), normalised over these keys; zeros where a query saw none."""
    lse: Tensor
    """(batch, heads, queries), natural logarithm of the sum of exponentials, float32; -inf where a query saw none."""


def merge(parts: Sequence[Partial]) -> Partial:
    """Return parts over disjoint keys as one: weights are exp(lse - lse of all). Computed in float32."""
    if len(parts) == 1:
        return parts[0]
    lse = torch.logsumexp(torch.stack([p.lse for p in parts]), dim=0)
    finite = torch.where(lse.isinf(), torch.zeros_like(lse), lse)
    out = torch.zeros_like(parts[0].out, dtype=torch.float32)
    for part in parts:
        out.addcmul_(part.out.float(), torch.exp(part.lse - finite)[..., None])
    return Partial(out.to(parts[0].out.dtype), lse)


def no_keys(q: Tensor) -> Partial:
    """Return what queries get that see no key; q: (batch, heads, queries, head_dim)."""
    return Partial(torch.zeros_like(q), q.new_full(q.shape[:3], float("-inf"), dtype=torch.float32))


def refusal(backend: str, device: str) -> str | None:
    """Return why a backend cannot run on a kind of device; None when it can."""
    if backend not in BACKENDS:
        return f"There is no attention backend {backend!r}."
    if device == "cpu" and backend in {"efficient", "cudnn"}:
        return NEEDS_NVIDIA.format(backend=backend)
    return None


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    backend: str,
    causal: bool = False,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Partial:
    """Return the result of one call of one backend, never of another one in its place.

    Args:
        q: (batch, heads, queries, head_dim).
        k: (batch, kv_heads, keys, head_dim); ``heads`` is a multiple of ``kv_heads``.
        v: Like ``k``.
        backend: A name in ``BACKENDS``: the operators that ``scaled_dot_product_attention`` chooses from.
        causal: As many queries as keys, and each sees those up to its own.
        mask: True where a query sees a key; broadcasts to (batch, heads, queries, keys).
        scale: Of the scores; 1/sqrt(head_dim) when None.

    Raises:
        NotAvailable: the device lacks the backend, or the backend takes no mask there.
    """
    if reason := refusal(backend, q.device.type):
        raise NotAvailable(reason, remedy="Choose flash or math.")
    assert not causal or q.shape[2] == k.shape[2], "a causal mask is used on squares only"
    if q.shape[2] == 0 or k.shape[2] == 0:
        return no_keys(q)
    if q.shape[2] == 1 and mask is None and backend != "cudnn":  # cuDNN has a kernel of its own for decoding
        # The queries of a KV head's heads together, so that the keys are read once.
        folded = q.reshape(q.shape[0], k.shape[1], -1, q.shape[3])
        part = _call(folded, k, v, backend, causal=False, mask=None, scale=scale)
        return Partial(part.out.reshape(q.shape), part.lse.reshape(q.shape[:3]))
    return _call(q, k, v, backend, causal=causal, mask=mask, scale=scale)


def _call(
    q: Tensor, k: Tensor, v: Tensor, backend: str, *, causal: bool, mask: Tensor | None, scale: float | None
) -> Partial:
    if backend == "math":
        part = _math(q, k, v, causal=causal, mask=mask, scale=scale)
    else:
        own = _flash_on_cpu if q.device.type == "cpu" else _ON_CUDA[backend]
        part = own(q, k, v, causal, mask, scale)
    return part if mask is None else _without_blind_rows(part, mask)


def _without_blind_rows(part: Partial, mask: Tensor) -> Partial:
    """Return zeros and -inf for queries that see nothing: backends disagree there (zeros, NaN, log-sum-exp 0)."""
    blind = ~mask.any(-1).expand(part.lse.shape)
    return Partial(part.out.masked_fill(blind[..., None], 0.0), part.lse.masked_fill(blind, float("-inf")))


def _as_many_heads(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    group = q.shape[1] // k.shape[1]
    return (k, v) if group == 1 else (k.repeat_interleave(group, 1), v.repeat_interleave(group, 1))


def _math(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, mask: Tensor | None, scale: float | None) -> Partial:
    """Return attention by the formula written out, with all scores in memory."""
    batch, heads, n_queries, dim = q.shape
    grouped = q.reshape(batch, k.shape[1], -1, n_queries, dim)
    scores = torch.einsum("bhgqd,bhkd->bhgqk", grouped, k).float() * (scale or dim**-0.5)
    scores = scores.reshape(batch, heads, n_queries, -1)
    if causal:
        mask = torch.ones(n_queries, n_queries, dtype=torch.bool, device=q.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    lse = torch.logsumexp(scores, -1)
    weights = torch.exp(scores - torch.where(lse.isinf(), torch.zeros_like(lse), lse)[..., None]).to(v.dtype)
    out = torch.einsum("bhgqk,bhkd->bhgqd", weights.reshape(*grouped.shape[:4], -1), v)
    return Partial(out.reshape(q.shape), lse)


def _bias(mask: Tensor, q: Tensor, k: Tensor) -> Tensor:
    """Return a mask as numbers that are added to scores: (batch, heads, queries, keys) with aligned rows."""
    shape = (q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    added = torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill_(~mask, float("-inf"))
    if q.device.type == "cuda" and shape[3] % 16:
        added = torch.nn.functional.pad(added, (0, -shape[3] % 16))[..., : shape[3]]
    return added.expand(shape)


def _flash_on_cpu(q: Tensor, k: Tensor, v: Tensor, causal: bool, mask: Tensor | None, scale: float | None) -> Partial:
    k, v = _as_many_heads(q, k, v)
    bias = None if mask is None else _bias(mask, q, k)
    out, lse = ATEN._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, attn_mask=bias, scale=scale)
    return Partial(out, lse.float())


def _flash(q: Tensor, k: Tensor, v: Tensor, causal: bool, mask: Tensor | None, scale: float | None) -> Partial:
    if mask is not None:
        return _efficient(q, k, v, causal, mask, scale)
    out, lse, *_ = ATEN._scaled_dot_product_flash_attention(q, k, v, 0.0, causal, False, scale=scale)
    return Partial(out, lse.float())


def _cudnn(q: Tensor, k: Tensor, v: Tensor, causal: bool, mask: Tensor | None, scale: float | None) -> Partial:
    if mask is not None:
        return _efficient(q, k, v, causal, mask, scale)
    out, lse, *_ = ATEN._scaled_dot_product_cudnn_attention(q, k, v, None, True, 0.0, causal, False, scale=scale)
    return Partial(out, lse.float().reshape(q.shape[:3]))


def _efficient(q: Tensor, k: Tensor, v: Tensor, causal: bool, mask: Tensor | None, scale: float | None) -> Partial:
    k, v = _as_many_heads(q, k, v)
    bias = None if mask is None else _bias(mask, q, k)
    out, lse, *_ = ATEN._scaled_dot_product_efficient_attention(q, k, v, bias, True, 0.0, causal, scale=scale)
    return Partial(out, lse.float()[..., : q.shape[2]])  # rows are padded to 32


_ON_CUDA: dict[str, Callable[..., Partial]] = {"flash": _flash, "cudnn": _cudnn, "efficient": _efficient}


def causal_part(
    q: Tensor, k: Tensor, v: Tensor, *, first_query: int, first_key: int, backend: str, scale: float | None = None
) -> Partial:
    """Return the attention of queries over keys at or before their own positions.

    q: (batch, heads, queries, head_dim), at positions ``first_query``, ``first_query + 1``, ..., which may lie before
    ``first_key``: such queries see nothing. k, v: (batch, kv_heads, keys, head_dim), at positions ``first_key``, ...
    """
    n_queries, end_key = q.shape[2], first_key + k.shape[2]
    blind = min(max(first_key - first_query, 0), n_queries)
    behind = min(max(end_key - first_query, 0), n_queries)  # rows from here on see every key
    rows: list[Partial] = []
    if blind:
        rows.append(no_keys(q[:, :, :blind]))
    if behind > blind:
        start, stop = first_query + blind, first_query + behind
        left, right = start - first_key, stop - first_key
        own = q[:, :, blind:behind]
        if behind - blind == 1:  # it sees everything up to itself, which needs no mask
            parts = [attend(own, k[:, :, :right], v[:, :, :right], backend=backend, scale=scale)]
        else:
            parts = [attend(own, k[:, :, left:right], v[:, :, left:right], backend=backend, causal=True, scale=scale)]
            if left:
                parts.append(attend(own, k[:, :, :left], v[:, :, :left], backend=backend, scale=scale))
        rows.append(merge(parts))
    if n_queries > behind:
        rows.append(attend(q[:, :, behind:], k, v, backend=backend, scale=scale))
    return stack(rows)


def stack(rows: Sequence[Partial]) -> Partial:
    """Return the parts of neighbouring queries as one."""
    if len(rows) == 1:
        return rows[0]
    return Partial(torch.cat([r.out for r in rows], dim=2), torch.cat([r.lse for r in rows], dim=2))
