"""Quantized checkpoints that are known of a model."""

import pytest

from workbench.catalog import siblings
from workbench.catalog.hub import HubModel, is_hub_name
from workbench.catalog.siblings import listed_siblings, sibling_for, siblings_of
from workbench.core.errors import NotAvailable


def test_every_shipped_row_has_a_precision_a_source_and_a_day():
    rows = siblings._rows()
    assert len(rows) > 100
    for row in rows:
        assert is_hub_name(row.model)
        assert row.sibling != row.model
        assert row.precision in {"fp8", "w8a8", "w8a16", "w4a16", "w4a16-asym", "nvfp4", "mxfp4", "mxfp8"}
        assert row.source
        assert row.date.startswith("202")
    assert len({(r.model, r.sibling) for r in rows}) == len(rows)


@pytest.mark.parametrize(
    ("model", "precision", "name"),
    [
        ("Qwen/Qwen3-32B", "fp8", "Qwen/Qwen3-32B-FP8"),
        ("Qwen/Qwen3-32B", "fp8+fp8-kv", "Qwen/Qwen3-32B-FP8"),
        ("Qwen/Qwen3-32B", "w4a16", "Qwen/Qwen3-32B-AWQ"),
        ("Qwen/Qwen3-30B-A3B", "w4a16", "Qwen/Qwen3-30B-A3B-GPTQ-Int4"),
        ("google/gemma-3-27b-it (text)", "w4a16", "RedHatAI/gemma-3-27b-it-quantized.w4a16"),
        ("meta-llama/Llama-3.1-70B", "fp8", "neuralmagic/Meta-Llama-3.1-70B-FP8"),
        ("Qwen/Qwen3-32B", "w8a8", None),
        ("no-such/model", "fp8", None),
    ],
)
def test_a_launch_command_finds_the_checkpoint_of_its_precision(model, precision, name):
    assert sibling_for(model, precision) == name


def test_the_publishers_own_checkpoints_come_first():
    owners = [s.sibling.split("/")[0] for s in siblings_of("Qwen/Qwen3-Coder-480B-A35B-Instruct")]
    assert owners == ["Qwen", "nvidia"]


def test_what_the_hub_lists_is_read_from_names_and_tags(monkeypatch):
    names = {
        "RedHatAI/Qwen3-32B-quantized.w4a16": ("w4a16", "compressed-tensors"),
        "x/Qwen3-32B-AWQ": ("w4a16-asym", "awq"),
        "x/Qwen3-32B-GGUF": ("", "gguf"),
        "nvidia/Qwen3-32B-NVFP4": ("nvfp4", "modelopt"),
        "Qwen/Qwen3-32B-FP8": ("fp8", "fp8"),
    }
    tags = {"RedHatAI/Qwen3-32B-quantized.w4a16": ("compressed-tensors",), "nvidia/Qwen3-32B-NVFP4": ("modelopt",)}
    listed = [HubModel(name=n, tags=tags.get(n, ()), n_bytes=7) for n in [*names, "not/a/name"]]
    monkeypatch.setattr(siblings, "hub_quantized", lambda model: listed)
    found, reason = listed_siblings("Qwen/Qwen3-32B")
    assert reason is None
    assert {s.sibling: (s.precision, s.method) for s in found} == names


def test_without_an_answer_the_known_ones_are_listed_with_the_reason(monkeypatch):
    def fails(model):
        raise NotAvailable("the hub did not answer within 2 s", remedy="Check the network.")

    monkeypatch.setattr(siblings, "hub_quantized", fails)
    found, reason = listed_siblings("Qwen/Qwen3-32B")
    assert [s.sibling for s in found] == ["Qwen/Qwen3-32B-FP8", "Qwen/Qwen3-32B-AWQ"]
    assert reason == "the hub did not answer within 2 s"
