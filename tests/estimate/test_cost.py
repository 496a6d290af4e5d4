import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.models import catalog_models, model_spec_from
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.estimate.cost import decode_s_at, usd_per_million_output_tokens
from workbench.estimate.kv_cache import kv_bytes_per_token
from workbench.estimate.weights import decode_floor_s, weight_bytes

positive = st.floats(1e-3, 1e3)


def test_a_worked_example():
    # 3.60 USD an hour is 0.001 USD a second; 5 ms a step at batch 1 makes 200 tokens a second: 5 USD a million.
    assert usd_per_million_output_tokens(3.6, decode_s=0.005, batch=1, utilization_fraction=1) == pytest.approx(5.0)


@given(positive, positive, st.integers(1, 256), st.floats(0.01, 1))
def test_cost_doubles_with_price_and_with_idleness(usd, step, batch, used):
    once = usd_per_million_output_tokens(usd, decode_s=step, batch=batch, utilization_fraction=used)
    assert usd_per_million_output_tokens(
        2 * usd, decode_s=step, batch=batch, utilization_fraction=used
    ) == pytest.approx(2 * once)
    assert usd_per_million_output_tokens(
        usd, decode_s=step, batch=batch, utilization_fraction=used / 2
    ) == pytest.approx(2 * once)


@given(st.dictionaries(st.integers(1, 128), positive, min_size=1, max_size=5), st.floats(1, 200))
def test_interpolated_steps_stay_between_measured_ones(measured, batch):
    assert min(measured.values()) - 1e-12 <= decode_s_at(batch, measured) <= max(measured.values()) + 1e-12


def test_measured_batches_are_reproduced():
    assert [decode_s_at(b, {1: 0.004, 8: 0.006}) for b in (1, 4.5, 8, 99)] == [0.004, 0.005, 0.006, 0.006]


def test_llama_8b_weights_and_cache():
    model = model_spec_from(str(REFERENCE_MODEL.parent / "llama-3.1-8b-shape"))
    assert model.n_params == 8_030_261_248  # Llama-3.1-8B's published count
    assert weight_bytes(model, weight_bits=16) == 2 * model.n_params
    assert kv_bytes_per_token(model) == 131_072
    # FP8 halves the linear layers only: 2 x 0.525 G embedding weights stay in 16 bits.
    assert weight_bytes(model, weight_bits=8) == pytest.approx(
        2 * 2 * 128_256 * 4096 + (model.n_params - 2 * 128_256 * 4096)
    )


@given(st.sampled_from(sorted(catalog_models())), st.floats(2, 32))
def test_fewer_bits_never_need_more_memory(name, bits):
    model = catalog_models()[name]
    assert weight_bytes(model, weight_bits=bits / 2) <= weight_bytes(model, weight_bits=bits)
    assert decode_floor_s(1e9, bandwidth_bytes_per_s=1e12) == pytest.approx(1e-3)
