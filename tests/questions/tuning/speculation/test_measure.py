"""What a run of speculation holds: acceptance by text, prediction beside measurement, and a refusal of what cannot be asked."""

import pytest

from workbench.core.errors import InvalidSpec, NotAModel
from workbench.measuring.envelope import run
from workbench.questions.tuning.speculation.findings import break_even, verdict
from workbench.questions.tuning.speculation.measure import n_timed, predicted_speedup
from workbench.questions.tuning.speculation.rows import Acceptance, SpeedUp, StepTime
from workbench.questions.tuning.speculation.spec import SpeculationSpec, check_models


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    text = tmp_path_factory.mktemp("text") / "own.txt"
    text.write_text("x = x + 1\n" * 200)
    spec = SpeculationSpec(
        methods=("ngram",),
        text=str(text),
        classes=("chat", "random"),
        draft_tokens=(2,),
        batches=(1, 2),
        n_texts=8,
        prompt_tokens=16,
        steps=4,
        rounds=3,
    )
    return run(spec)


def test_a_run_has_acceptance_on_each_text_and_a_prediction_beside_each_speedup(small):
    assert [r.text_class for r in small.rows(Acceptance)] == ["own", "chat", "random"]
    speedups = small.rows(SpeedUp)
    assert [(r.draft_tokens, r.batch) for r in speedups] == [(2, 1), (2, 2)]
    assert all(r.n_equal == r.n_texts for r in speedups)
    assert {(r.what, r.draft_tokens) for r in small.rows(StepTime)} == {("verify", 0), ("verify", 2), ("ngram", 2)}
    for r in small.rows(Acceptance):
        assert r.tokens_per_step.low <= r.tokens_per_step.value <= r.tokens_per_step.high <= 3
        assert r.by_position[0] >= r.by_position[1]
    assert "batch size 1" in verdict(small, 1).headline


def test_text_that_repeats_itself_accepts_more_than_random_tokens(small):
    own, _, random = (r.tokens_per_step.value for r in small.rows(Acceptance))
    assert own > random


def test_prediction_follows_the_formula():
    """Leviathan et al. 2023: E / (k c + 1) where verification takes as long as a plain step."""
    alpha, k, c = 0.8, 4, 0.05
    expected = (1 - alpha ** (k + 1)) / (1 - alpha)
    found = predicted_speedup(expected, plain_s=1.0, verify_s=1.0, draft_s=k * c)
    assert found == pytest.approx(expected / (k * c + 1))
    assert predicted_speedup(1.0, plain_s=1.0, verify_s=3.0, draft_s=0.0, proposing_fraction=0.0) == 1.0


def test_break_even_lies_between_the_batches_around_it():
    assert break_even([(1, 2.0), (4, 1.5), (16, 0.5)]) == pytest.approx(8.0)  # half of the way in the logarithm
    assert break_even([(1, 2.0), (64, 1.1)]) is None
    assert break_even([(1, 0.9), (64, 0.5)]) == 0


def test_whole_batches_are_timed():
    assert [n_timed(64, b) for b in (1, 4, 16, 64)] == [8, 8, 16, 64]
    assert n_timed(5, 2) == 4


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"methods": ()}, "No methods"),
        ({"classes": ("poetry",)}, "poetry"),
        ({"batches": (128,)}, "as many texts"),
        ({"shortest": 4, "longest": 2}, "longest run"),
        ({"draft_tokens": (0,)}, "draft_tokens"),
        ({"draft_tokens": (16,), "prompt_tokens": 9}, "Prompts of 9"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(wrong, said):
    with pytest.raises(InvalidSpec, match=said):
        SpeculationSpec(**wrong)


def test_a_draft_model_that_is_none_is_refused(tmp_path):
    with pytest.raises(NotAModel):
        check_models(SpeculationSpec(draft_model=str(tmp_path)))


def test_a_shape_without_weights_is_refused_with_the_estimate_as_remedy():
    with pytest.raises(InvalidSpec, match="speculation-estimate"):
        check_models(SpeculationSpec(model="data/models/llama-3.1-8b-shape"))
