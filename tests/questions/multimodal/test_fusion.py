"""Fusion of an image and its caption: what dropped modalities save, that graphs answer as the network, and what is refused."""

import numpy as np
import pytest

from workbench.core.errors import InvalidSpec
from workbench.measuring.envelope import measured
from workbench.questions.multimodal.fusion import measure
from workbench.questions.multimodal.fusion.rows import DropoutGain, Precision, TwoThreads, routing_of
from workbench.questions.multimodal.fusion.spec import FusionSpec
from workbench.vision.captions import captions
from workbench.vision.digits import digits
from workbench.vision.fused_graphs import Towers, load_network, with_int8
from workbench.vision.fusion import fused_logits

pytestmark = pytest.mark.filterwarnings("ignore")
TEST = digits().test
WORDS = captions(TEST.labels, seed=501).ids


@pytest.fixture(scope="module")
def fused(tmp_path_factory):
    """A run whose working folder stays empty, and the folder of its graphs."""
    working, folder = tmp_path_factory.mktemp("working"), tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(working)
        patch.setattr(measure, "WIDTHS", (64,))
        *_, run = measured(FusionSpec(fusions=("early", "mid"), captions_each=1, rounds=5), folder)
    assert list(working.iterdir()) == []
    return run, folder / "graphs"


@pytest.fixture
def towers(fused):
    return Towers(*(fused[1] / f"{name}.onnx" for name in ("image", "text", "fusion")))


def test_dropped_modalities_halve_the_loss(fused):
    run, _ = fused
    drops = {d.fusion: d for d in run.rows(DropoutGain)}
    for kind in ("early", "mid"):
        assert drops[kind].ratio <= 0.5
        assert drops[kind].ratio_interval[0] < drops[kind].ratio < drops[kind].ratio_interval[1]
    routing = routing_of(run)
    assert routing.held_out.lost_fraction <= routing.threshold.limit_fraction
    assert routing.held_out.exit_fraction > 0.05
    assert set(routing.times) == {1, 64}
    precisions = {p.towers: p for p in run.rows(Precision)}
    assert precisions["both in INT8"].n_bytes < precisions["both float32"].n_bytes
    assert len(run.rows(TwoThreads)) == 2


def test_towers_as_graphs_answer_as_the_network_in_two_threads_too(towers):
    expected = fused_logits(load_network("mid", has_dropout=True), {"image": TEST.images, "text": WORDS})
    assert np.allclose(towers.logits(TEST.images, WORDS), expected, atol=1e-4)
    assert np.allclose(towers.logits_in_two_threads(TEST.images, WORDS), expected, atol=1e-4)
    narrow = with_int8(towers, ("image", "text"), images=digits().train.images, ids=WORDS)
    assert narrow.n_bytes < 0.8 * towers.n_bytes
    assert np.mean(narrow.logits(TEST.images, WORDS).argmax(1) == expected.argmax(1)) > 0.98


def test_routing_skips_where_the_caption_is_sure(towers):
    whole = towers.logits(TEST.images, WORDS)
    logits, skipped = towers.routed(TEST.images, WORDS, confidence=0.95)
    assert 0 < skipped.mean() < 1
    assert np.allclose(logits[~skipped], whole[~skipped], atol=1e-5)
    alone = towers.words(WORDS)[0]
    assert np.array_equal(logits[skipped], alone[skipped])
    assert towers.routed(TEST.images, WORDS, confidence=1.1)[1].sum() == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"fusions": ("sideways",)},
        {"routed": "late", "fusions": ("mid",)},
        {"missing": (0.0, 1.0)},
        {"missing": (0.0, 0.5, 2.0)},
    ],
)
def test_fusions_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InvalidSpec):
        FusionSpec(**wrong)
