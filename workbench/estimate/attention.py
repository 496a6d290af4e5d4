"""Work of attention patterns: how many pairs of query and key are looked at, and the least time they take."""

from workbench.catalog.attention_techniques import TECHNIQUES, AttentionOptions


def pairs_seen(technique: str, options: AttentionOptions, *, n_queries: int, n_keys: int) -> float | None:
    """Return the pairs of the last queries and all keys under the causal mask, bottom-right; None where the content decides."""
    first = n_keys - n_queries + 1  # keys that the first query may see
    full = n_queries * (first + n_keys) / 2
    pattern = TECHNIQUES[technique].pattern
    if pattern == "full":
        return full
    if pattern in {"window", "sink-window"}:
        return _within(options.window, first, n_keys) + (
            _beyond(options, first, n_keys) if pattern == "sink-window" else 0.0
        )
    if pattern == "block-sparse":
        return min(full, n_queries * min(n_keys, options.top_k * options.block) * 1.0)
    return None


def _within(window: int, first: int, last: int) -> float:
    """Return the sum of min(n, window) for n from first to last."""
    below = max(0, min(last, window) - first + 1)
    rising = below * (first + min(last, window)) / 2 if below else 0.0
    return rising + (last - first + 1 - below) * window


def _beyond(options: AttentionOptions, first: int, last: int) -> float:
    """Return the sinks that lie outside the window, over all queries: sum of min(sinks, n - window) where n > window."""
    counts = _within(options.n_sinks, max(1, first - options.window), max(0, last - options.window))
    return counts if last > options.window else 0.0


def attention_flop(pairs: float, *, n_heads: int, head_dim: int) -> float:
    """Return 2 x 2 x head_dim operations for each pair and head; the softmax is left out, as is usual."""
    return 4.0 * pairs * n_heads * head_dim


def kv_read_bytes(pairs: float, *, n_kv_heads: int, head_dim: int, bits: float = 16) -> float:
    """Return the bytes of keys and values that one query reads; heads that share them read them once."""
    return 2.0 * pairs * n_kv_heads * head_dim * bits / 8
