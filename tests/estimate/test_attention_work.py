"""Work of attention patterns against counting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.attention_techniques import AttentionOptions
from workbench.estimate.attention import attention_flop, kv_read_bytes, pairs_seen


def counted(n_queries, n_keys, seen):
    return sum(seen(q, k) for q in range(n_keys - n_queries, n_keys) for k in range(q + 1))


@given(st.integers(1, 30), st.integers(0, 30), st.integers(1, 40), st.integers(0, 9))
def test_pairs_are_those_that_a_mask_has(n_queries, before, window, n_sinks):
    n_keys, o = n_queries + before, AttentionOptions(window=window, n_sinks=n_sinks)
    full = counted(n_queries, n_keys, lambda q, k: True)
    near = counted(n_queries, n_keys, lambda q, k: q - k < window)
    sinks = counted(n_queries, n_keys, lambda q, k: q - k < window or k < n_sinks)
    size = {"n_queries": n_queries, "n_keys": n_keys}
    assert pairs_seen("flash", o, **size) == full
    assert pairs_seen("window", o, **size) == pytest.approx(near)
    assert pairs_seen("sink-window", o, **size) == pytest.approx(sinks)
    assert pairs_seen("block-sparse", o, **size) <= full
    assert pairs_seen("vertical-slash", o, **size) is None


def test_a_layer_of_llama_at_64k_takes_35_tflop():
    """4 x 32 heads x 128 x 65536 squared / 2 = 35.2e12 (FlashAttention papers count so)."""
    pairs = pairs_seen("flash", AttentionOptions(), n_queries=65536, n_keys=65536)
    assert attention_flop(pairs, n_heads=32, head_dim=128) == pytest.approx(35.18e12, rel=1e-3)
    assert kv_read_bytes(131072, n_kv_heads=8, head_dim=128) == 2 * 8 * 128 * 131072 * 2
