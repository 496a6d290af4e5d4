"""Structured output: what counts as a schema, the verdict by its intervals, a run on a stand-in, and refusals in a sentence."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.core.statistics import Interval
from workbench.load.structure import fits
from workbench.measuring.envelope import run
from workbench.questions.tuning.structured.findings import LITTLE, decided, verdict
from workbench.questions.tuning.structured.rows import AnswersOfKind, StructureCost
from workbench.questions.tuning.structured.spec import SAMPLE, StructuredSpec, check_structured, schema_of

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def written(folder, content):
    file = folder / "schema.json"
    file.write_text(json.dumps(content))
    return str(file)


def test_a_schema_a_response_format_and_tools_are_read(tmp_path):
    plain = {"type": "object", "properties": {"a": {"type": "integer"}}}
    wrapped = {"type": "json_schema", "json_schema": {"name": "x", "schema": plain}}
    assert schema_of(written(tmp_path, plain)) == schema_of(written(tmp_path, wrapped)) == plain
    calls = schema_of(written(tmp_path, [TOOL]))
    assert fits('[{"name": "weather", "parameters": {"city": "Bern"}}]', calls)
    assert not fits('[{"name": "weather", "parameters": {}}]', calls)
    assert not fits('[{"name": "time", "parameters": {"city": "Bern"}}]', calls)
    assert not fits("[]", calls)
    assert set(schema_of(SAMPLE)["required"]) == {"title", "kind", "priority", "labels"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"type": "obj"}, "is no JSON schema"),
        ({"colour": "red"}, "holds no JSON schema"),
        (3, "holds no JSON schema"),
        ([], "holds no tools"),
        ([{"type": "function"}], "without a name"),
    ],
)
def test_a_schema_that_is_none_is_refused_in_a_sentence(tmp_path, content, said):
    with pytest.raises(InvalidSpec, match=said):
        check_structured(StructuredSpec(schema=written(tmp_path, content)))


def test_a_file_that_is_none_and_prompts_that_are_none_are_named(tmp_path):
    with pytest.raises(InvalidSpec, match="cannot be read"):
        schema_of(str(tmp_path / "none.json"))
    empty = tmp_path / "prompts.txt"
    empty.write_text("\n")
    with MockProcess() as mock, pytest.raises(InvalidSpec, match="holds no prompts"):
        run(StructuredSpec(url=mock.url, prompts=str(empty)))


@pytest.mark.parametrize(
    ("wrong", "said"), [({"engine": "llama"}, "llama"), ({"backend": "own"}, "own"), ({"rounds": 2}, "2 rounds")]
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(wrong, said):
    with pytest.raises(InvalidSpec, match=said):
        StructuredSpec(**wrong)


def ordered(low, high):
    return st.lists(st.floats(low, high), min_size=3, max_size=3).map(
        lambda v: Interval(*(sorted(v)[i] for i in (1, 0, 2)))
    )


@given(ordered(0, 1), ordered(0, 1), ordered(0.2, 5))
def test_the_verdict_is_open_unless_whole_intervals_decide(plain, structured, tpot):
    answer, gains = decided(plain, structured, tpot), structured.low > plain.high
    if answer == "yes":
        assert gains
        assert tpot.low > 1 or tpot.high < 1 + LITTLE
    if answer == "no":
        assert not gains
        assert tpot.low > 1
    if tpot.low <= 1 and tpot.high >= 1 + LITTLE:
        assert answer == "open"


def test_a_run_on_a_server_that_ignores_the_schema_shows_no_gain():
    with MockProcess(MockSettings(ttft_s=0.01, itl_s=0.002)) as mock:
        spec = StructuredSpec(url=mock.url, rounds=3, n_requests=4, output_tokens=6, rate_per_s=50.0)
        found = run(spec)
    plain, structured = found.rows(AnswersOfKind)
    assert (plain.variant, structured.variant) == ("plain", "structured")
    assert plain.n_prompts == structured.n_prompts == plain.n_requests == 12
    assert plain.valid.value == structured.valid.value == 0
    assert structured.cut_fraction == 1
    assert found.row(StructureCost).tpot_ratio.low <= found.row(StructureCost).tpot_ratio.high
    assert verdict(found).answer in {"open", "no"}
    assert "random words" in verdict(found).objection


@pytest.mark.slow
def test_an_engine_without_a_grammar_refuses_in_one_sentence():
    with pytest.raises(NotAvailable, match=r"refuses the schema .*answers are plain text"):
        run(StructuredSpec(engine="torch", rounds=3, n_requests=4))
