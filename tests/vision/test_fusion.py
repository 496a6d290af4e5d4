"""Pictures with captions: what is refused, what missing modalities do, and that graphs answer as the network."""

from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.core.errors import InvalidSpec, NotAModel
from workbench.vision.captions import CERTAIN, NAMES, VOCABULARY, captions, read
from workbench.vision.digits import digits
from workbench.vision.early_exit import Cascade
from workbench.vision.fused_graphs import exported, kept, with_int8
from workbench.vision.fusion import FusedNet, answered
from workbench.vision.graphs import export
from workbench.vision.networks import DigitNet, Student
from workbench.vision.sessions import Graph

pytestmark = pytest.mark.filterwarnings("ignore")
TEST = digits()["test"]
WORDS = captions(TEST.labels, seed=501).ids


@pytest.mark.parametrize("kind", ["early", "mid", "late"])
def test_what_ships_is_right_with_both_modalities(kind):
    for has_dropout in (False, True):
        logits = answered(kept(kind, has_dropout=has_dropout), {"image": TEST.pictures, "text": WORDS})
        assert np.mean(logits.argmax(1) == TEST.labels) > 0.98


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"audio": TEST.pictures}, "no modality 'audio'"),
        ({"image": TEST.pictures, "sound": WORDS}, "image .*text"),
        ({}, "neither"),
        ({"image": None, "text": None}, "neither"),
        ({"image": TEST.pictures[0]}, "shape"),
        ({"text": WORDS[:, :2]}, "shape"),
        ({"image": TEST.pictures[:3], "text": WORDS[:2]}, "3 pictures and 2 captions"),
        ({"image": [1, 2, 3]}, "shape None"),
    ],
)
def test_unknown_and_mismatched_modalities_are_refused_with_the_known_names(inputs, said):
    with pytest.raises(InvalidSpec, match=said):
        answered(kept("mid", has_dropout=True), inputs)


def test_a_missing_modality_is_missing_and_not_a_black_picture():
    net = kept("mid", has_dropout=True)
    missing = answered(net, {"text": WORDS})
    black = answered(net, {"image": np.zeros_like(TEST.pictures), "text": WORDS})
    assert not np.allclose(missing, black)


def test_captions_are_from_a_seed_and_the_certain_ones_are_right():
    again, other = captions(TEST.labels, seed=501), captions(TEST.labels, seed=502)
    assert np.array_equal(again.ids, WORDS)
    assert not np.array_equal(other.ids, WORDS)
    for ids, label in zip(again.ids[again.is_certain], TEST.labels[again.is_certain], strict=True):
        assert [VOCABULARY[i] for i in ids[:2]] == [CERTAIN, NAMES[label]]
    assert 0.05 < again.is_certain.mean() < 0.15
    assert np.array_equal(read("typed seven"), [[VOCABULARY.index("typed"), VOCABULARY.index("seven"), 0]])


def test_towers_as_graphs_answer_as_the_network_beside_each_other_too(tmp_path):
    net = kept("mid", has_dropout=True)
    towers = exported(net, tmp_path, pictures=TEST.pictures, ids=WORDS)
    expected = answered(net, {"image": TEST.pictures, "text": WORDS})
    assert np.allclose(towers.logits(TEST.pictures, WORDS), expected, atol=1e-4)
    assert np.allclose(towers.logits_beside(TEST.pictures, WORDS), expected, atol=1e-4)
    narrow = with_int8(towers, ("image", "text"), pictures=digits()["train"].pictures, ids=WORDS)
    assert narrow.n_bytes < 0.8 * towers.n_bytes
    assert np.mean(narrow.logits(TEST.pictures, WORDS).argmax(1) == expected.argmax(1)) > 0.98


def test_routing_skips_where_the_caption_is_sure(tmp_path):
    towers = exported(kept("mid", has_dropout=True), tmp_path, pictures=TEST.pictures, ids=WORDS)
    whole = towers.logits(TEST.pictures, WORDS)
    logits, skipped = towers.routed(TEST.pictures, WORDS, confidence=0.95)
    assert 0 < skipped.mean() < 1
    assert np.allclose(logits[~skipped], whole[~skipped], atol=1e-5)
    alone = towers.words(WORDS)[0]
    assert np.array_equal(logits[skipped], alone[skipped])
    assert towers.routed(TEST.pictures, WORDS, confidence=1.1)[1].sum() == 0


def test_a_cascade_takes_the_students_answer_only_where_it_is_sure(tmp_path):
    first, second = (
        Graph(export(net, torch.zeros(2, 1, 8, 8), tmp_path / f"{name}.onnx"), threads=1)
        for name, net in (("s", Student()), ("l", DigitNet()))
    )
    x = TEST.pictures[:20]
    assert np.array_equal(Cascade(first, second, confidence=0.0, shares_maps=False).logits(x), first.logits(x))
    late = Cascade(first, second, confidence=1.1, shares_maps=False).answers(x)
    assert np.array_equal(late.logits, second.logits(x))
    assert not late.is_early.any()


def test_a_fusion_that_does_not_exist_and_a_network_that_is_not_there():
    with pytest.raises(InvalidSpec, match="early, mid, late"):
        FusedNet("sideways")
    with pytest.raises(NotAModel, match="training"):
        kept("mid", has_dropout=True, folder=Path("/nowhere"))
