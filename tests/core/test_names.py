"""Names that were nearly right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.names import did_you_mean, nearest

MODELS = ["meta-llama/Meta-Llama-3.1-8B", "meta-llama/Meta-Llama-3.1-70B", "Qwen/Qwen3-8B", "BAAI/bge-m3"]
DEVICES = ["h100-sxm", "h100-pcie", "h200-sxm", "a100-sxm-80", "rtx4090"]


@pytest.mark.parametrize(
    ("name", "known", "first"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", MODELS, "meta-llama/Meta-Llama-3.1-8B"),
        ("llama3-8b", MODELS, "meta-llama/Meta-Llama-3.1-8B"),
        ("qwen/qwen3-8b", MODELS, "Qwen/Qwen3-8B"),
        ("bge-m3", MODELS, "BAAI/bge-m3"),
        ("H200", DEVICES, "h200-sxm"),
        ("a100-80gb", DEVICES, "a100-sxm-80"),
        ("rtx 4090", DEVICES, "rtx4090"),
    ],
)
def test_the_nearest_name_comes_first(name, known, first):
    assert nearest(name, known)[0] == first
    assert first in did_you_mean(name, known)


def test_nothing_is_suggested_for_what_is_like_nothing():
    assert did_you_mean("nonsense", MODELS) == ""
    assert did_you_mean("x", DEVICES) == ""


def test_of_another_size_only_what_is_near_is_suggested():
    assert nearest("Meta-Llama-3.1-70B-hf", MODELS) == ["meta-llama/Meta-Llama-3.1-70B"]


@given(st.text(max_size=300), st.lists(st.text(max_size=40), max_size=8))
def test_any_text_is_compared(name, known):
    assert set(nearest(name, known)) <= set(known)
