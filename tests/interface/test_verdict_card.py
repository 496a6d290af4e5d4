"""A card has the colour of its answer, and only the parts that it has."""

from dataclasses import replace

import pytest
from support import invented_run

from workbench.core.verdict import Verdict, objections, sentence
from workbench.interface.html import hint, joined, paragraph, verdict_card
from workbench.interface.shared_view import busy_note
from workbench.interface.style import STYLE
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import asks_a_server

ANSWER = Verdict(headline="Stay.", evidence="It is as fast.")


@pytest.mark.parametrize("answer", ["yes", "no", "open"])
def test_the_colour_follows_the_answer(answer):
    card = verdict_card(replace(ANSWER, answer=answer))
    assert f"class='wb-verdict {answer}'" in card
    assert answer == "yes" or f".wb-verdict.{answer}{{border-color" in STYLE


def test_a_card_without_objections_says_nothing_against_the_answer():
    assert "Against it" not in verdict_card(ANSWER)
    assert "Scope" not in verdict_card(ANSWER)
    assert "Against it: It is dear." in verdict_card(replace(ANSWER, objection="It is dear."))
    assert objections([]) is None
    assert objections(["vLLM is late", "it is dear"]) == "vLLM is late; it is dear."
    assert sentence(["it is late"]) == "It is late."


def test_a_busy_machine_is_said_above_every_answer():
    run = invented_run()
    assert busy_note(None) == busy_note(run) == ""
    loud = replace(run, environment=replace(run.environment, other_load_fraction=0.45))
    assert "Other processes took 45% of the processors" in busy_note(loud)
    quiet = replace(run, environment=replace(run.environment, other_load_fraction=0.1))
    assert busy_note(quiet) == ""


def test_a_server_that_is_measured_is_no_disturbance():
    assert asks_a_server(LoadSpec(url="http://localhost:8000", model="m"))


def test_a_command_within_a_sentence_is_set_as_code_and_stays_text():
    card = verdict_card(replace(ANSWER, objection="run `workbench tune <b>` first, not ` alone"))
    assert "run <code>workbench tune &lt;b&gt;</code> first, not ` alone" in card
    made = joined(hint("x", title="by `workbench tune`"))
    assert "title='by `workbench tune`'" in paragraph(made)
