"""What the run that ships says of structured output on two busy cores."""

import pytest

from workbench.catalog.paths import MEASURED
from workbench.questions.tuning.structured.findings import decided, parts, verdict
from workbench.store.runs import read_run_file


@pytest.fixture(scope="module")
def run():
    return read_run_file(MEASURED / "structured_stdlib-9m_epyc-2-cores.json")


def test_both_kinds_answered_the_same_prompts(run):
    plain, structured, _ = parts(run)
    assert plain.n_prompts == structured.n_prompts == plain.n_requests == structured.n_requests
    assert plain.n_failed == structured.n_failed == 0


def test_the_schema_makes_answers_valid_that_are_not_without_it(run):
    plain, structured, cost = parts(run)
    assert structured.valid.low > plain.valid.high
    assert verdict(run).answer == decided(plain.valid, structured.valid, cost.tpot_ratio)
    assert "random words" in verdict(run).objection
