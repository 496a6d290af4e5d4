"""Layers of one kind run once, and those that differ in anything but their place run themselves."""

import pytest

pytest.importorskip("torch")

from support.small_models import small_fields

from workbench.understanding.construct import construct
from workbench.understanding.repeats import each_kind_once


@pytest.mark.parametrize(
    ("model_type", "stands_for"),
    [
        ("llama", {1: 0, 2: 0, 3: 0}),
        ("gemma2", {2: 0, 3: 1}),  # windows and full attention in turn
        ("deepseek_v3", {2: 1, 3: 1}),  # the first layer has no experts
        ("jamba", {2: 0, 3: 1}),
    ],
)
def test_the_first_layer_of_each_kind_stands_for_the_others(model_type, stands_for):
    model = construct(small_fields(model_type) | {"num_hidden_layers": 4}).model
    with each_kind_once(model) as found:
        assert dict(found) == stands_for
    assert not any("forward" in vars(module) for module in model.modules())
