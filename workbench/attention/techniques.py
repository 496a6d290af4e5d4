"""Every technique behind one signature."""

from collections.abc import Callable

import torch

from workbench.attention import flex
from workbench.attention.exact import full, key_split, query_chunked
from workbench.attention.installed import fa3_call, flashinfer_call, varlen_call
from workbench.attention.paged import paged_flex, paged_gather, paged_pool
from workbench.attention.partial import BACKENDS, refusal
from workbench.attention.sparse import block_sparse, vertical_slash
from workbench.attention.window import sink_window, sliding_window
from workbench.catalog.attention_techniques import TECHNIQUES, AttentionOptions
from workbench.core.errors import InvalidSpec, NotAvailable

Tensor = torch.Tensor


def attention(
    q: Tensor, k: Tensor, v: Tensor, *, technique: str, options: AttentionOptions, scale: float | None = None
) -> Tensor:
    """Return causal attention, bottom-right: the last query stands at the position of the last key.

    Args:
        q: (batch, heads, queries, head_dim); one query is a decoding step.
        k: (batch, kv_heads, keys, head_dim); ``heads`` is a multiple of ``kv_heads``.
        v: Like ``k``.
        technique: A name in ``TECHNIQUES``.
        options: What it is set to.
        scale: Of the scores; 1/sqrt(head_dim) when None.

    Returns:
        (batch, heads, queries, head_dim); zeros for queries that see no key.

    Raises:
        NotAvailable: the device or this environment lacks the technique.
        InvalidSpec: the technique or the shapes make no sense.
    """
    return attention_call(q, k, v, technique=technique, options=options, scale=scale)()


def attention_call(
    q: Tensor, k: Tensor, v: Tensor, *, technique: str, options: AttentionOptions, scale: float | None = None
) -> Callable[[], Tensor]:
    """Return a call that computes ``attention`` again and again.

    What a server keeps between calls (pages, packed rows, masks of fixed patterns) is prepared once; what depends on
    the content (chosen blocks and lines) is made inside the call.
    """
    if technique not in TECHNIQUES:
        raise InvalidSpec(f"Unknown technique {technique!r}.", remedy=f"Use: {', '.join(TECHNIQUES)}.")
    if q.shape[1] % k.shape[1] or k.shape != v.shape or q.shape[0] != k.shape[0]:
        raise InvalidSpec(
            f"q {tuple(q.shape)}, k {tuple(k.shape)} and v {tuple(v.shape)} do not fit together.",
            remedy="Give (batch, heads, tokens, head_dim) with heads a multiple of the heads of k and v.",
        )
    if technique in BACKENDS:
        if reason := refusal(technique, q.device.type):
            raise NotAvailable(reason, remedy="Choose flash or math.")
        return lambda: full(q, k, v, backend=technique, scale=scale).out
    if technique in _FROM_ELSEWHERE:
        return _FROM_ELSEWHERE[technique](q, k, v, scale)
    if technique.endswith("-flex") and q.shape[2] > k.shape[2]:
        raise NotAvailable(
            "FlexAttention is used with at least as many keys as queries.", remedy="Use the plain technique."
        )
    return _composed_call(q, k, v, technique=technique, o=options, scale=scale)


_FROM_ELSEWHERE: dict[str, Callable[[Tensor, Tensor, Tensor, float | None], Callable[[], Tensor]]] = {
    "varlen": varlen_call,
    "fa3": fa3_call,
    "flashinfer": flashinfer_call,
}


def best_backend(device: torch.device, dtype: torch.dtype) -> str:
    """Return the backend of composed techniques: cuDNN on Hopper and later, else flash; on a GPU both take 16 bits only."""
    if device.type == "cuda" and dtype not in {torch.float16, torch.bfloat16}:
        return "efficient"
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 9:
        return "cudnn"
    return "flash"


def best_technique(device: str, *, half: bool) -> str:
    """Return the name of the fastest full attention of this device."""
    return best_backend(torch.device(device), torch.bfloat16 if half else torch.float32)


def _composed_call(
    q: Tensor, k: Tensor, v: Tensor, *, technique: str, o: AttentionOptions, scale: float | None
) -> Callable[[], Tensor]:
    backend = best_backend(q.device, q.dtype)
    if technique in {"paged-gather", "paged-flex"}:
        pool = paged_pool(k, v, torch.full((k.shape[0],), k.shape[2]), page=o.page)
        if technique == "paged-gather":
            return lambda: paged_gather(q, pool, backend=backend, scale=scale)
        return lambda: paged_flex(q, pool, scale=scale)
    if technique in {"window-flex", "sink-window-flex"}:
        n_sinks = o.n_sinks if technique == "sink-window-flex" else 0
        mask = flex.window_mask(q.shape[2], k.shape[2], window=o.window, n_sinks=n_sinks, device=q.device)
        return lambda: flex.flex_call(q, k, v, block_mask=mask, scale=scale)
    calls: dict[str, Callable[[], Tensor]] = {
        "query-chunked": lambda: query_chunked(q, k, v, chunk=o.chunk, backend=backend, scale=scale),
        "key-split": lambda: key_split(q, k, v, n_splits=o.n_splits, backend=backend, scale=scale).out,
        "window": lambda: sliding_window(q, k, v, window=o.window, backend=backend, scale=scale).out,
        "sink-window": lambda: (
            sink_window(q, k, v, window=o.window, n_sinks=o.n_sinks, backend=backend, scale=scale).out
        ),
        "block-sparse": lambda: block_sparse(q, k, v, block=o.block, top_k=o.top_k, backend=backend, scale=scale).out,
        "block-sparse-flex": lambda: flex.flex_call(
            q, k, v, block_mask=flex.top_k_mask(q, k, top_k=o.top_k), scale=scale
        ),
        "vertical-slash": lambda: (
            vertical_slash(q, k, v, n_vertical=o.n_vertical, n_slash=o.n_slash, backend=backend, scale=scale).out
        ),
        "vertical-slash-flex": lambda: flex.flex_call(
            q, k, v, block_mask=flex.line_block_mask(q, k, n_vertical=o.n_vertical, n_slash=o.n_slash), scale=scale
        ),
    }
    return calls[technique]
