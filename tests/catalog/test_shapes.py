"""Shapes that ship are those of their rows."""

import pytest

from workbench.catalog.kv_layers import kv_layers_of_row
from workbench.catalog.model_rows import model_rows
from workbench.catalog.models import catalog_models
from workbench.catalog.shapes import SHIPPED, is_of, read_shapes, row_of

SHAPES, ROWS = read_shapes(SHIPPED), {row.model: row for row in model_rows()}


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_shape_has_the_numbers_of_its_row(name):
    shape, row = SHAPES[name], ROWS[name]
    assert is_of(shape, row)
    assert shape.n_active_params == row.params_active
    assert (row.kv_bytes_per_token_bf16 or None) == (shape.kv_elements_per_token and 2 * shape.kv_elements_per_token)
    assert catalog_models()[name].products == shape.products is not None
    assert shape.n_vision_params + shape.n_end_params < shape.n_params
    if shape.kv_layers is not None:
        assert sum(g.n_layers * g.elements_per_token for g in shape.kv_layers) == shape.kv_elements_per_token
        assert sum(g.n_layers for g in shape.kv_layers) <= shape.n_layers


@pytest.mark.parametrize(
    "name", [n for n, s in sorted(SHAPES.items()) if len({g.elements_per_token for g in s.kv_layers or ()}) == 1]
)
def test_the_windows_of_a_row_are_those_of_its_shape(name):
    shape, row = SHAPES[name], ROWS[name]
    if sum(g.n_layers for g in shape.kv_layers) < shape.n_layers:
        return  # a row of numbers cannot say which layers keep a constant state
    in_words = kv_layers_of_row(
        row.layers, row_of(shape, provenance="x", source="x")["sliding_window"], elements=shape.kv_elements_per_token
    )
    assert {(g.n_layers, g.window_tokens) for g in in_words} == {(g.n_layers, g.window_tokens) for g in shape.kv_layers}


def test_a_hybrid_keeps_tokens_in_its_attention_layers_only():
    """Qwen3.5-27B: 16 of 64 layers keep 2 x 4 heads x 256; the others 151 MB a sequence (facts of the understanding)."""
    model = catalog_models()["Qwen/Qwen3.5-27B"]
    assert [(g.n_layers, g.elements_per_token) for g in model.kv_layers] == [(16, 2 * 4 * 256)]
    assert 150e6 < model.state_bytes < 160e6
    assert not model.has_latent_cache


def test_a_model_with_a_vision_tower_counts_it():
    """Gemma 3: 27,432,406,640 parameters in the published checkpoint, of which text passes 27,009,346,304."""
    model = catalog_models()["google/gemma-3-27b-it"]
    assert (model.n_params, model.n_active_params) == (27_432_406_640, 27_009_346_304)
    assert model.kind == "vision-language"
