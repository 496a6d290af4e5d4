"""What the run that ships says: prediction beside measurement, and acceptance by text with intervals."""

import pytest

from workbench.catalog.paths import MEASURED
from workbench.questions.tuning.speculation.findings import CLOSE, break_even, curve, verdict
from workbench.questions.tuning.speculation.rows import Acceptance, SpeedUp
from workbench.questions.tuning.speculation.spec import CLASSES
from workbench.store.runs import read_run_file


@pytest.fixture(scope="module")
def run():
    return read_run_file(MEASURED / "speculation_stdlib-9m_epyc-2-cores.json")


def test_predicted_and_measured_speedup_differ_by_ten_points_at_most_from_batch_1_to_64(run):
    rows = run.rows(SpeedUp)
    assert {r.batch for r in rows} == {1, 4, 16, 64}
    assert max(abs(r.predicted - r.measured.value) for r in rows) <= CLOSE


def test_the_break_even_batch_is_predicted_within_a_factor_of_one_and_a_half(run):
    rows = run.rows(SpeedUp)
    for method, k in {(r.method, r.draft_tokens) for r in rows}:
        own = curve(rows, method, k)
        measured = break_even([(r.batch, r.measured.value) for r in own])
        predicted = break_even([(r.batch, r.predicted) for r in own])
        if measured and predicted:
            assert 1 / 1.5 <= predicted / measured <= 1.5
        else:
            assert measured == predicted, (method, k)


def test_every_kind_of_text_has_an_acceptance_with_an_interval(run):
    rows = run.rows(Acceptance)
    assert {r.text_class for r in rows} == set(CLASSES)
    assert all(r.tokens_per_step.low < r.tokens_per_step.value < r.tokens_per_step.high for r in rows)


def test_all_answers_are_those_of_plain_decoding(run):
    assert all(r.n_equal == r.n_texts for r in run.rows(SpeedUp))


def test_the_draft_model_pays_at_no_batch_size_and_lookup_in_small_batches_on_code(run):
    rows = run.rows(SpeedUp)
    assert all(r.measured.value < 1 for r in rows if r.method == "draft")
    assert "n-gram lookup" in verdict(run, 1).headline
    assert "does not pay" in verdict(run, 64).headline
