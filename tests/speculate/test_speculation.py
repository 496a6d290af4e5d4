"""Drafts never change what a model writes, and are what the text had before."""

import numpy as np
import pytest

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.measuring.text import windows_of
from workbench.speculate.bench import SpeculationBench, repeated_fraction
from workbench.speculate.loop import n_accepted
from workbench.speculate.ngram import NgramIndex


@pytest.fixture(scope="module")
def bench():
    return SpeculationBench(str(REFERENCE_MODEL), draft=str(REFERENCE_MODEL), device="cpu", shortest=2, longest=5)


@pytest.fixture(scope="module")
def prompts(bench):
    ids = np.random.default_rng(3).integers(0, bench.n_words, 200)
    repeated = np.concatenate([ids[:20], ids[:20], ids[20:40], ids[20:40]])
    return windows_of(np.concatenate([ids, repeated]), n=5, length=24, what="test")


@pytest.mark.parametrize(("method", "k"), [("ngram", 1), ("ngram", 4), ("draft", 3)])
def test_greedy_answers_are_those_of_plain_decoding(bench, prompts, method, k):
    done = bench.continued(prompts, variants=[("plain", 0), (method, k)], steps=8)
    for own, plain in zip(done[method, k].answers, done["plain", 0].answers, strict=True):
        assert own[: len(plain)] == plain[: len(own)]
        assert len(own) >= len(plain) == 8


def test_the_model_as_its_own_draft_has_every_token_accepted(bench, prompts):
    done = bench.continued(prompts, variants=[("draft", 3)], steps=6)["draft", 3]
    assert (done.accepted == 3).all()
    assert done.n_tokens == prompts.shape[0] * 6 * 4


def test_what_a_sequence_writes_does_not_depend_on_its_neighbours(bench, prompts):
    together = bench.continued(prompts, variants=[("ngram", 4)], steps=6)["ngram", 4].answers
    alone = [bench.continued(p[None], variants=[("ngram", 4)], steps=6)["ngram", 4].answers[0] for p in prompts]
    assert list(together) == alone


def test_lookup_proposes_what_followed_the_longest_known_ending_first():
    index = NgramIndex([1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3], shortest=2, longest=3)
    assert index.proposal(2) == [4, 9]  # after 1 2 3, not after the later 2 3
    index.extend([7, 2, 3])
    assert index.proposal(1) == [4]
    assert NgramIndex([1, 2, 3, 4], shortest=2, longest=3).proposal(2) == []


def test_a_draft_is_accepted_up_to_the_first_wrong_token():
    assert n_accepted([5, 6, 7], [5, 6, 8, 1]) == 2
    assert n_accepted([4], [5, 6]) == 0
    assert n_accepted([], [5]) == 0


def test_loops_of_an_answer_are_counted():
    assert repeated_fraction([list(range(40))]) == 0
    assert repeated_fraction([[1, 2, 3, 4] * 10]) > 0.8
