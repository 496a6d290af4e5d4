"""Images with captions: what is refused, what missing modalities do, and which captions are drawn."""

from pathlib import Path

import numpy as np
import pytest

from workbench.core.errors import InvalidSpec, NotAModel
from workbench.vision.captions import CERTAIN, NAMES, VOCABULARY, captions, word_ids
from workbench.vision.digits import digits
from workbench.vision.fused_graphs import load_network
from workbench.vision.fusion import FusedNet, fused_logits

pytestmark = pytest.mark.filterwarnings("ignore")
TEST = digits().test
WORDS = captions(TEST.labels, seed=501).ids


@pytest.mark.parametrize("kind", ["early", "mid", "late"])
def test_what_ships_is_right_with_both_modalities(kind):
    for has_dropout in (False, True):
        logits = fused_logits(load_network(kind, has_dropout=has_dropout), {"image": TEST.images, "text": WORDS})
        assert np.mean(logits.argmax(1) == TEST.labels) > 0.98


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"audio": TEST.images}, "no modality 'audio'"),
        ({"image": TEST.images, "sound": WORDS}, "image .*text"),
        ({}, "neither"),
        ({"image": None, "text": None}, "neither"),
        ({"image": TEST.images[0]}, "shape"),
        ({"text": WORDS[:, :2]}, "shape"),
        ({"image": TEST.images[:3], "text": WORDS[:2]}, "3 images and 2 captions"),
        ({"image": [1, 2, 3]}, "shape None"),
    ],
)
def test_unknown_and_mismatched_modalities_are_refused_with_the_known_names(inputs, said):
    with pytest.raises(InvalidSpec, match=said):
        fused_logits(load_network("mid", has_dropout=True), inputs)


def test_a_missing_modality_is_missing_and_not_a_black_image():
    net = load_network("mid", has_dropout=True)
    missing = fused_logits(net, {"text": WORDS})
    black = fused_logits(net, {"image": np.zeros_like(TEST.images), "text": WORDS})
    assert not np.allclose(missing, black)


def test_captions_are_from_a_seed_and_the_certain_ones_are_right():
    again, other = captions(TEST.labels, seed=501), captions(TEST.labels, seed=502)
    assert np.array_equal(again.ids, WORDS)
    assert not np.array_equal(other.ids, WORDS)
    for ids, label in zip(again.ids[again.is_certain], TEST.labels[again.is_certain], strict=True):
        assert [VOCABULARY[i] for i in ids[:2]] == [CERTAIN, NAMES[label]]
    assert 0.05 < again.is_certain.mean() < 0.15
    assert np.array_equal(word_ids("typed seven"), [[VOCABULARY.index("typed"), VOCABULARY.index("seven"), 0]])


def test_a_fusion_that_does_not_exist_and_a_network_that_is_not_there():
    with pytest.raises(InvalidSpec, match="early, mid, late"):
        FusedNet("sideways")
    with pytest.raises(NotAModel, match="training"):
        load_network("mid", has_dropout=True, folder=Path("/nowhere"))
