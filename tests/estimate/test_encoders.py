"""Encoders: work, memory and price."""

import pytest

from workbench.catalog.encoders import catalog_encoders
from workbench.catalog.models import encoder
from workbench.core.errors import InvalidSpec, NotAModel
from workbench.estimate.encoders import encoder_estimate, flop_per_input
from workbench.estimate.roofline import Ceilings

CEILINGS = Ceilings(bandwidth_bytes_per_s=4e12, flop_per_s={16: 1e15, 8: 2e15})


def test_the_work_of_vit_is_the_published_one():
    # ViT-B/16 at 224 pixels: about 17.6 GMACs (data/models.csv, with patch embedding and head, which are 0.3 of them).
    assert flop_per_input(encoder("google/vit-base-patch16-224"), tokens=None) == pytest.approx(2 * 17.4e9, rel=0.02)


def test_a_convolutional_network_has_the_noted_work():
    assert flop_per_input(encoder("microsoft/resnet-50"), tokens=None) == pytest.approx(2 * 4.1e9)


@pytest.mark.parametrize("name", catalog_encoders())
def test_every_encoder_is_estimated_and_half_the_bits_halve_the_weights(name):
    wide, narrow = (
        encoder_estimate(encoder(name), CEILINGS, batch=32, tokens=128, bits=b, usd_per_hour=2.0) for b in (16, 8)
    )
    assert narrow.weights_bytes == wide.weights_bytes / 2
    assert narrow.batch_s < wide.batch_s
    assert wide.usd_per_million_inputs == pytest.approx(2.0 / 3600 / wide.inputs_per_s * 1e6)


def test_a_longer_text_costs_more_than_in_proportion():
    short, long = (flop_per_input(encoder("BAAI/bge-m3"), tokens=n) for n in (512, 4096))
    assert long > 8 * short


def test_what_does_not_fit_is_said():
    with pytest.raises(InvalidSpec, match="at most 512"):
        encoder_estimate(encoder("BAAI/bge-base-en-v1.5"), CEILINGS, batch=1, tokens=600)
    with pytest.raises(InvalidSpec, match="4 bits"):
        encoder_estimate(encoder("BAAI/bge-base-en-v1.5"), CEILINGS, batch=1, tokens=10, bits=4)
    with pytest.raises(InvalidSpec, match="batch of 0"):
        encoder_estimate(encoder("BAAI/bge-base-en-v1.5"), CEILINGS, batch=0, tokens=10)
    with pytest.raises(NotAModel, match="There is no model"):
        encoder("nothing")
