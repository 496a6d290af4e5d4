"""Every technique against a float64 dense reference, on random shapes."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.attention.sparse import line_mask, select_blocks, select_lines
from workbench.attention.techniques import attention, attention_call
from workbench.catalog.attention_techniques import TECHNIQUES, AttentionOptions
from workbench.core.errors import InvalidSpec, NotAvailable

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
FULL = ("flash", "math", "query-chunked", "key-split", "paged-gather")
WINDOWS = ("window", "sink-window")
FLEX = ("paged-flex", "window-flex", "sink-window-flex", "block-sparse-flex", "vertical-slash-flex")
shapes = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 2),
        "kv_heads": st.integers(1, 3),
        "group": st.sampled_from([1, 2, 4]),
        "queries": st.one_of(st.just(1), st.integers(1, 70)),
        "keys": st.integers(1, 150),
        "dim": st.sampled_from([8, 16]),
        "seed": st.integers(0, 10_000),
    }
)
options = st.builds(
    AttentionOptions,
    window=st.one_of(st.integers(1, 40), st.just(400)),
    n_sinks=st.integers(0, 9),
    block=st.sampled_from([4, 8, 16]),
    top_k=st.integers(3, 8),
    n_vertical=st.integers(1, 20),
    n_slash=st.integers(1, 20),
    chunk=st.one_of(st.just(1), st.integers(1, 90)),
    n_splits=st.integers(1, 7),
    page=st.sampled_from([1, 5, 16]),
)
many = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
few = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def dense(q, k, v, seen, *, scale=None):
    """seen: True where a query sees a key; broadcasts to (batch, heads, queries, keys)."""
    group = q.shape[1] // k.shape[1]
    k, v = (x.double().repeat_interleave(group, 1) for x in (k, v))
    scores = q.double() @ k.transpose(2, 3) * (scale or q.shape[3] ** -0.5)
    weights = torch.softmax(scores.masked_fill(~seen, float("-inf")), -1)
    return weights.nan_to_num(0.0) @ v


def distances(n_queries, n_keys):
    """How far before the query a key lies, bottom-right: (queries, keys); negative is the future."""
    return torch.arange(n_keys - n_queries, n_keys)[:, None] - torch.arange(n_keys)


def seen_by(pattern, n_queries, n_keys, *, window=None, n_sinks=0):
    d = distances(n_queries, n_keys)
    if pattern == "full":
        return d >= 0
    first = torch.arange(n_keys) < n_sinks
    return (d >= 0) & ((d < window) | first)


def tensors(shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(shape["seed"])
    heads = shape["kv_heads"] * shape["group"]
    sizes = [(heads, shape["queries"]), (shape["kv_heads"], shape["keys"]), (shape["kv_heads"], shape["keys"])]
    return [torch.randn(shape["batch"], h, n, shape["dim"], generator=generator).to(dtype) for h, n in sizes]


def pattern_of(technique, q, k, o):
    """What the technique promises that a query sees."""
    pattern, n_queries, n_keys = TECHNIQUES[technique].pattern, q.shape[2], k.shape[2]
    if pattern == "full":
        return seen_by("full", n_queries, n_keys)
    if pattern in {"window", "sink-window"}:
        return seen_by(pattern, n_queries, n_keys, window=o.window, n_sinks=o.n_sinks if "sink" in pattern else 0)
    if pattern == "vertical-slash":
        lines = select_lines(q, k, n_vertical=o.n_vertical, n_slash=o.n_slash)
        return line_mask(*lines, torch.arange(n_keys - n_queries, n_keys))
    block = 128 if technique.endswith("flex") else o.block
    chosen = select_blocks(q, k, block=block, top_k=o.top_k)
    by_block = (chosen[..., None] == torch.arange(-(-n_keys // block))).any(3)
    by_key = by_block.repeat_interleave(block, 3)[..., :n_keys].repeat_interleave(block, 2)[:, :, :n_queries]
    return by_key.repeat_interleave(q.shape[1] // k.shape[1], 1) & (distances(n_queries, n_keys) >= 0)


def check(technique, q, k, v, o, *, run=None):
    out = run(q, k, v) if run else attention(q, k, v, technique=technique, options=o)
    expected = dense(q, k, v, pattern_of(technique, q, k, o))
    assert out.shape == q.shape
    assert out.dtype == q.dtype
    assert not out.isnan().any()
    assert (out.double() - expected).abs().max() <= TOLERANCE[q.dtype]


@pytest.mark.parametrize("technique", [*FULL, *WINDOWS, "block-sparse", "vertical-slash"])
@given(shape=shapes, o=options)
@many
def test_it_is_the_dense_reference_in_float32(technique, shape, o):
    check(technique, *tensors(shape), o)


@pytest.mark.parametrize("technique", [*FULL, *WINDOWS])
@given(shape=shapes, o=options)
@settings(many, max_examples=15)
def test_it_is_the_dense_reference_in_bfloat16(technique, shape, o):
    check(technique, *tensors(shape, torch.bfloat16), o)


@pytest.mark.parametrize("technique", FLEX)
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@given(shape=shapes, o=options)
@few
def test_flex_attention_is_the_dense_reference(technique, shape, o):
    q, k, v = tensors(shape)
    if q.shape[2] > k.shape[2]:
        with pytest.raises(NotAvailable, match="as many keys"):
            attention_call(q, k, v, technique=technique, options=o)
        return
    check(technique, q, k, v, o)


def chunked_with_top_left_mask(q, k, v, *, chunk):
    """The FAQ's snippet: ``is_causal=True`` for every chunk of queries."""
    sdpa = torch.nn.functional.scaled_dot_product_attention
    parts = [sdpa(q[:, :, a : a + chunk], k, v, is_causal=True, enable_gqa=True) for a in range(0, q.shape[2], chunk)]
    return torch.cat(parts, dim=2)


def window_with_inverted_mask(q, k, v, *, window):
    """The FAQ's snippet: the mask is True where a query must not see."""
    n = q.shape[2]
    mask = torch.triu(torch.ones(n, n), diagonal=1) + torch.triu(torch.ones(n, n), diagonal=-window)
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask.bool(), enable_gqa=True)


def test_a_causal_mask_per_chunk_is_caught():
    q, k, v = tensors({"batch": 1, "kv_heads": 2, "group": 2, "queries": 64, "keys": 64, "dim": 16, "seed": 0})
    check("query-chunked", q, k, v, AttentionOptions(chunk=16))
    with pytest.raises(AssertionError):
        check(
            "query-chunked",
            q,
            k,
            v,
            AttentionOptions(chunk=16),
            run=lambda *x: chunked_with_top_left_mask(*x, chunk=16),
        )
    first = chunked_with_top_left_mask(q, k, v, chunk=16)[:, :, :16]
    assert (
        first.double() - dense(q, k, v, seen_by("full", 64, 64))[:, :, :16]
    ).abs().max() < 1e-5  # only this is right


def test_an_inverted_window_mask_is_caught():
    q, k, v = tensors({"batch": 1, "kv_heads": 2, "group": 2, "queries": 64, "keys": 64, "dim": 16, "seed": 0})
    o = AttentionOptions(window=16)
    check("window", q, k, v, o)
    with pytest.raises(AssertionError):
        check("window", q, k, v, o, run=lambda *x: window_with_inverted_mask(*x, window=16))


@pytest.mark.parametrize("technique", FULL)
def test_a_decoding_step_is_the_last_row_of_the_whole(technique):
    q, k, v = tensors({"batch": 2, "kv_heads": 2, "group": 3, "queries": 50, "keys": 50, "dim": 16, "seed": 2})
    o = AttentionOptions(n_splits=4)
    whole = attention(q, k, v, technique=technique, options=o)
    step = attention(q[:, :, -1:], k, v, technique=technique, options=o)
    assert (whole[:, :, -1:] - step).abs().max() < 1e-5


def test_no_tensor_of_a_window_grows_with_the_square_of_the_length():
    """Largest tensor that is made at 16 times the length: at most 16 times as large."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for x in out if isinstance(out, tuple | list) else [out]:
                if isinstance(x, torch.Tensor):
                    self.numel = max(self.numel, x.numel())
            return out

    largest = {}
    for n in (512, 8192):
        q, k, v = tensors({"batch": 1, "kv_heads": 1, "group": 2, "queries": n, "keys": n, "dim": 8, "seed": 3})
        with Largest() as watch:
            attention(q, k, v, technique="window", options=AttentionOptions(window=128))
        largest[n] = watch.numel
    assert largest[8192] <= 16 * largest[512]
    assert largest[8192] < 8192 * 8192 / 100


@pytest.mark.parametrize(
    ("technique", "says"),
    [
        ("cudnn", "NVIDIA GPUs only"),
        ("efficient", "NVIDIA GPUs only"),
        ("fa3", "NVIDIA GPUs only"),
        ("varlen", "NVIDIA"),
    ],
)
def test_what_this_device_lacks_says_so(technique, says):
    q, k, v = tensors({"batch": 1, "kv_heads": 1, "group": 1, "queries": 4, "keys": 4, "dim": 8, "seed": 0})
    with pytest.raises(NotAvailable, match=says):
        attention(q, k, v, technique=technique, options=AttentionOptions())


def test_shapes_and_settings_that_make_no_sense_are_refused():
    q, k, v = tensors({"batch": 1, "kv_heads": 2, "group": 1, "queries": 4, "keys": 4, "dim": 8, "seed": 0})
    with pytest.raises(InvalidSpec, match="do not fit together"):
        attention(q[:, :1].expand(-1, 3, -1, -1), k, v, technique="flash", options=AttentionOptions())
    with pytest.raises(InvalidSpec, match="Unknown technique"):
        attention(q, k, v, technique="magic", options=AttentionOptions())
    with pytest.raises(InvalidSpec, match="window is 0"):
        AttentionOptions(window=0)
    with pytest.raises(InvalidSpec, match="top_k is 2"):
        AttentionOptions(top_k=2)
