"""The corpus and its scores; the bar on a seed that was never used for tuning."""

import random
from importlib.util import find_spec

import pytest

from workbench.core.errors import InvalidSpec
from workbench.gateway.detectors.accounts import is_iban
from workbench.gateway.detectors.cards import is_card, luhn_holds
from workbench.gateway.detectors.identities import is_chinese_id
from workbench.measuring.envelope import run
from workbench.questions.security.measure import HOSTILE, mistakes_of, score
from workbench.questions.security.measure.corpus import KINDS, Labelled, corpus, cut
from workbench.questions.security.rows import DetectorScore, RedactionSamples
from workbench.questions.security.spec import OWN, RedactionSpec

HELD_OUT_SEED = 20_261_126
BAR = 0.95
N = 100
HAS_PRESIDIO = find_spec("presidio_analyzer") is not None


@pytest.fixture(scope="module")
def made():
    """Presidio is among the detectors where it is not installed: it is named and left out."""
    detectors = (OWN, "faq", *(() if HAS_PRESIDIO else ("presidio",)))
    return run(RedactionSpec(seed=HELD_OUT_SEED, n_per_kind=N, n_splits=2, detectors=detectors))


def test_precision_and_recall_of_every_class(made):
    own = [s for s in made.rows(DetectorScore) if s.detector == OWN]
    assert {s.kind for s in own} == set(KINDS)
    for s in own:
        assert s.weakest >= BAR, (s, made.sampled(RedactionSamples).mistakes[OWN])


def test_the_faqs_patterns_are_behind(made):
    scores = made.rows(DetectorScore)
    for kind in ("CARD", "EMAIL", "ID"):
        own, faq = (next(s for s in scores if (s.detector, s.kind) == (d, kind)) for d in (OWN, "faq"))
        assert own.weakest > faq.weakest


def test_streams_come_out_as_the_whole_text(made):
    assert made.sampled(RedactionSamples).n_streams_different == 0
    assert made.sampled(RedactionSamples).n_streams == 2 * 14 * N


def test_every_hostile_text_is_timed_with_the_run(made):
    assert set(made.sampled(RedactionSamples).hostile_s) == set(HOSTILE)
    assert set(made.sampled(RedactionSamples).time_per_1000_characters_s) == {OWN, "faq"}


def test_the_corpus_is_the_same_for_a_seed_and_labels_what_it_says():
    texts = corpus(5, 40)
    assert texts == corpus(5, 40)
    assert texts != corpus(6, 40)
    for kind in KINDS:
        own = [t for t in texts if t.kind == kind]
        assert sum(t.span is not None for t in own) == 40 == sum(t.span is None for t in own)
    checks = {"CARD": lambda v: luhn_holds(v) and is_card(v), "IBAN": is_iban}
    for t in texts:
        if t.span is not None and t.kind in checks and t.text.isascii():
            assert checks[t.kind](t.text[slice(*t.span)])
        if (
            t.span is not None
            and t.kind == "ID"
            and t.text[slice(*t.span)].isascii()
            and len(t.text[slice(*t.span)]) == 18
            and t.text[slice(*t.span)][:17].isdigit()
        ):
            assert is_chinese_id(t.text[slice(*t.span)])


def test_scores_by_hand():
    texts = [
        Labelled(text="call 555", kind="PHONE", span=(5, 8), language="en"),
        Labelled(text="call 556", kind="PHONE", span=(5, 8), language="en"),
        Labelled(text="order 7", kind="PHONE", span=None, language="en"),
    ]
    found = [[("PHONE", 5, 8)], [("PHONE", 5, 7)], [("PHONE", 6, 7)]]
    row = score(OWN, "PHONE", texts, found)
    assert row.recall.value == 0.5  # half of a number leaks the rest
    assert row.precision.value == pytest.approx(2 / 3)
    assert row.n_false_positives == 1
    assert len(mistakes_of(texts, found)) == 2


@pytest.mark.skipif(HAS_PRESIDIO, reason="Presidio is installed")
def test_a_detector_that_is_not_installed_is_named_and_left_out(made):
    assert {s.detector for s in made.rows(DetectorScore)} == {OWN, "faq"}
    assert "Presidio is not installed" in made.failures[0].cause


def test_cuts_are_the_text_again():
    rng = random.Random(0)
    for _ in range(50):
        assert "".join(cut("some text 卡号 1234", rng)) == "some text 卡号 1234"


@pytest.mark.parametrize("wrong", [{"detectors": ()}, {"detectors": ("x",)}, {"n_per_kind": 0}])
def test_odd_specs_are_refused(wrong):
    with pytest.raises(InvalidSpec):
        RedactionSpec(**wrong)
