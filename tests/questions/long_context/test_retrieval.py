"""Hidden facts and their questions, and the interval of a share."""

import random

import pytest

from workbench.core.errors import InvalidSpec
from workbench.core.statistics import share_interval
from workbench.interface.knobs import command_line
from workbench.questions.long_context.quality.retrieval import TASKS, question_of
from workbench.questions.long_context.quality.spec import ContextQualitySpec, Variant


@pytest.mark.parametrize("task", TASKS)
def test_what_is_asked_for_is_hidden_where_it_should_be(task):
    question = question_of(task, depth=0.25, rng=random.Random(1))
    assert question.hidden[0].depth == 0.25
    text = "".join(h.statement for h in question.hidden)
    assert all(answer in text for answer in question.answers)
    assert all(0 <= h.depth <= 1 for h in question.hidden)
    assert question.recall("nothing") == 0
    assert question.recall(question.expected) == 1
    assert question_of(task, depth=0.25, rng=random.Random(1)) == question


def test_variables_are_handed_on_in_the_order_of_the_text():
    for seed in range(20):
        hidden = question_of("variable-tracking", depth=0.5, rng=random.Random(seed)).hidden
        assert [h.depth for h in hidden] == sorted(h.depth for h in hidden)


def test_half_of_the_values_is_half_of_the_recall():
    question = question_of("multi-value", depth=0, rng=random.Random(0))
    assert question.recall(" ".join(question.answers[:1])) == pytest.approx(1 / 3)


def test_wilsons_interval_is_his():
    """Ten of ten: 0.7225 to 1; none of ten: 0 to 0.2775 (Brown, Cai and DasGupta 2001, Wilson)."""
    assert share_interval(10, 10).low == pytest.approx(0.7225, abs=1e-4)
    assert share_interval(0, 10).high == pytest.approx(0.2775, abs=1e-4)
    assert share_interval(5, 10).low < 0.5 < share_interval(5, 10).high


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("full", "full attention"),
        ("window:256", "window 256"),
        ("sink-window:256", "4 sinks + window 256"),
        ("block-sparse:8", "top 8 blocks of 64"),
        ("vertical-slash:32", "32 columns + 32 diagonals"),
        ("kv:int4-head", "INT4 cache, scale per head"),
    ],
)
def test_a_variant_is_read_and_named(text, label):
    assert Variant.read(text).label == label


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"variants": ("full", "window:0")}, "window is 0"),
        ({"variants": ("full", "magic:3")}, "Unknown variant"),
        ({"variants": ("full", "kv:int3-token")}, "Unknown cache format"),
        ({"variants": ("window:10",)}, "compared with full"),
        ({"tasks": ("riddle",)}, "Unknown tasks: riddle"),
        ({"lengths": (10,)}, "from 128 on"),
        ({"n_windows": -1}, "n_windows is -1"),
    ],
)
def test_nonsense_is_refused_with_a_reason(changes, says):
    with pytest.raises(InvalidSpec, match=says):
        ContextQualitySpec(model="m", **changes)


def test_a_spec_survives_json_and_becomes_code():
    spec = ContextQualitySpec(model="m", lengths=(256,))
    assert ContextQualitySpec.from_dict(spec.to_dict()) == spec
    assert "from workbench.questions.long_context.quality.spec import ContextQualitySpec" in spec.as_code()
    assert command_line(spec.command, spec) == "workbench context-quality m --lengths 256"
