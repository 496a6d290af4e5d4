"""Costs of pictures are learnt back from cells that were made with known ones, and caches break even where they should."""

import numpy as np
import pytest

from workbench.catalog.models import model_spec_from
from workbench.catalog.vision import vision_model
from workbench.estimate.device_calibration import machine_of
from workbench.estimate.image_cost import image_request
from workbench.estimate.image_time import (
    Asked,
    DeviceCost,
    ImageCosts,
    break_even_hit_rate,
    computed_parts,
    encoder_work,
    learnt,
    predicted_parts,
    request_tokens,
)
from workbench.estimate.image_tokens import image_tokens

V = vision_model("Qwen/Qwen3-VL-8B-Instruct")
COSTS = ImageCosts(
    accept_s=(3e-4, 1.5e-3, 2.2e-8, 2.8e-8),
    knee_pixels=1.3e6,
    encoder=DeviceCost(floor_s=0.0145, each_s=(2.1e-15, 2.4e-15)),
    projector=DeviceCost(floor_s=5e-4, each_s=(2e-15,)),
    prompt=DeviceCost(floor_s=0.02, each_s=(2.2e-5, 5e-10)),
)
LEARNT = [(side, side, n) for side in (224, 448, 896, 1344) for n in (1, 4)]
HELD = [(336, 336, 2), (768, 1024, 3), (1600, 1600, 1), (1024, 1792, 2)]


def asked(height, width, n):
    return Asked(height_px=height, width_px=width, n_images=n, text_tokens=64)


def test_costs_are_learnt_back_from_noisy_cells():
    rng = np.random.default_rng(3)
    cells = []
    for size in LEARNT:
        p = predicted_parts(V, COSTS, asked(*size))
        worn = type(p)(
            *(),
            **{k: getattr(p, k) * rng.normal(1, 0.02) for k in ("accept_s", "encoder_s", "projector_s", "prompt_s")},
        )
        cells.append((asked(*size), worn, request_tokens(V, asked(*size))))
    found = learnt(V, cells)
    for size in HELD:
        true = predicted_parts(V, COSTS, asked(*size)).ttft_s
        assert predicted_parts(V, found, asked(*size)).ttft_s == pytest.approx(true, rel=0.08)


def test_a_part_takes_the_longer_of_launching_and_work():
    cost = DeviceCost(floor_s=0.01, each_s=(1e-3,))
    assert cost.seconds([0.01]) == pytest.approx(0.01, rel=1e-3)
    assert cost.seconds([1000.0]) == pytest.approx(1.0, rel=1e-3)
    assert cost.seconds([0.0]) == 0.0


def test_work_of_a_window_is_less_and_of_two_pictures_twice():
    whole, window = vision_model("Qwen/Qwen2-VL-7B-Instruct"), vision_model("Qwen/Qwen2.5-VL-7B-Instruct")
    t = image_tokens(window, height_px=896, width_px=896)
    assert encoder_work(window, t).attention_flop < encoder_work(whole, t).attention_flop / 3
    assert request_tokens(V, asked(896, 896, 2)) - 64 == 2 * (request_tokens(V, asked(896, 896, 1)) - 64)


def test_a_worked_example_of_the_encoder():
    # Qwen3-VL-8B: 896 x 896 is 56 x 56 patches; 27 layers of 4 x 1152^2 + 2 x 1152 x 4304 weights, two operations each.
    w = encoder_work(V, image_tokens(V, height_px=896, width_px=896))
    assert w.linear_flop == pytest.approx(2 * 3136 * (27 * (4 * 1152**2 + 2 * 1152 * 4304) + 2 * 3 * 16**2 * 1152))
    assert w.attention_flop == pytest.approx(4 * 1152 * 27 * 3136**2)


def test_a_calibration_alone_predicts_the_devices_parts():
    machine = machine_of("h200-sxm")[0]
    model = model_spec_from("data/models/qwen3-vl-8b-shape")
    small, large = (computed_parts(V, model, machine, asked(s, s, 1), accept_s=0.0) for s in (448, 1344))
    assert small.encoder_s < large.encoder_s
    assert 0.02 < large.prompt_s < 0.1


def test_break_even():
    assert break_even_hit_rate(missed_s=1.1, hit_s=0.6, without_s=1.0) == pytest.approx(0.2)
    assert break_even_hit_rate(missed_s=0.9, hit_s=0.5, without_s=1.0) == 0.0
    assert break_even_hit_rate(missed_s=1.5, hit_s=1.2, without_s=1.0) is None


def test_a_request_with_pictures_is_priced_by_its_device_time():
    machine = machine_of("h200-sxm")[0]
    model = model_spec_from("Qwen/Qwen3-VL-8B-Instruct")
    one, two = (image_request(V, asked(896, 896, n), model=model, machine=machine, usd_per_hour=3.6) for n in (1, 2))
    assert one.usd_per_thousand_requests == pytest.approx(
        one.parts.ttft_s
    )  # 3.6 USD/h is a thousandth of a dollar a second
    assert two.picture_kv_bytes == 2 * one.picture_kv_bytes
    # 36 layers of 8 KV heads of 128, keys and values, two bytes each.
    assert one.kv_bytes == one.prompt_tokens * 36 * 2 * 8 * 128 * 2
    assert one.encoder_bytes == two.encoder_bytes


def test_without_a_language_model_only_tokens_and_the_encoder_are_known():
    found = image_request(vision_model("llava-hf/llava-v1.6-mistral-7b-hf"), asked(336, 336, 1))
    assert found.prompt_tokens > 576
    assert found.kv_bytes is found.parts is found.usd_per_thousand_requests is None
