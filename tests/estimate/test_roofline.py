import pytest

from workbench.catalog.models import model_spec_from
from workbench.estimate.linear_layers import decoder_groups, products
from workbench.estimate.roofline import Ceilings, linear_floor_s, prefill_floor_s, step_floor_s

MODEL = model_spec_from("data/models/llama-3.1-8b-shape")
H200 = Ceilings(bandwidth_bytes_per_s=4.8e12, flop_per_s={16: 989.4e12, 8: 1978.9e12})
BF16 = dict.fromkeys(products(MODEL), "bf16")
W4 = dict.fromkeys(products(MODEL), "w4a16")
FP8 = dict.fromkeys(products(MODEL), "fp8")


def test_products_hold_all_weights_but_embeddings_and_norms():
    linear = MODEL.n_layers * sum(p.n_weights for p in products(MODEL).values())
    heads = 2 * MODEL.vocab_size * MODEL.hidden
    norms = (2 * MODEL.n_layers + 1) * MODEL.hidden
    assert linear + heads + norms == MODEL.n_params
    assert len(decoder_groups(MODEL)) == 4 * MODEL.n_layers


def test_one_sequence_reads_every_weight_once():
    # 6.98e9 weights of layers and 0.525e9 of the head in two bytes each: 15.0 GB at 4.8 TB/s.
    floor = step_floor_s(MODEL, BF16, batch=1, context_tokens=0, kv_bits=16, ceilings=H200)
    assert floor == pytest.approx(15.01e9 / 4.8e12, rel=0.001)


def test_four_bits_pay_while_reading_bounds_and_not_when_multiplying_does():
    few = [linear_floor_s(MODEL, plan, tokens=1, ceilings=H200) for plan in (BF16, FP8, W4)]
    many = [linear_floor_s(MODEL, plan, tokens=4096, ceilings=H200) for plan in (BF16, FP8, W4)]
    assert few[0] / few[2] == pytest.approx(16 / 4.125, rel=0.001)
    assert many[2] == many[0]
    assert many[0] / many[1] == pytest.approx(2, rel=0.001)


def test_a_cache_of_half_the_bits_takes_half_the_time_to_read():
    def cache_s(kv_bits):
        with_cache, without = (
            step_floor_s(MODEL, BF16, batch=32, context_tokens=n, kv_bits=kv_bits, ceilings=H200) for n in (8192, 0)
        )
        return with_cache - without

    assert cache_s(16) == pytest.approx(32 * 8192 * 131072 / 4.8e12, rel=1e-6)
    assert cache_s(8) == pytest.approx(cache_s(16) / 2)


def test_prefill_grows_faster_than_the_prompt():
    short, long = (prefill_floor_s(MODEL, BF16, batch=1, context_tokens=n, ceilings=H200) for n in (8192, 65536))
    assert long > 8 * short * 1.5
