"""The commands that count and price images."""

import json

import pytest
import typer
from typer.testing import CliRunner

from workbench.questions.multimodal.tokens.command import COMMANDS

QWEN = "Qwen/Qwen3-VL-8B-Instruct"


@pytest.fixture(scope="module")
def images():
    app = typer.Typer()
    for function in COMMANDS:
        app.command(function.words.split()[-1])(function)
    return lambda *words: CliRunner().invoke(app, words)


def test_tokens_are_counted_for_one_model_and_for_all(images):
    counted = json.loads(images("tokens", QWEN, "896x1344", "--json").output)
    assert counted[QWEN]["n_tokens"] == 1176
    assert len(json.loads(images("tokens", "all", "448x448", "--json").output)) == 20


def test_the_price_of_a_request_follows_the_price_of_the_device(images):
    listed, own = (
        json.loads(images("cost", QWEN, "896x1344", "--images", "2", "--json", *price).output)
        for price in ((), ("--usd-per-hour", "7"))
    )
    assert listed["provenance"] == "estimated"
    assert own["usd_per_thousand_requests"] == pytest.approx(
        listed["usd_per_thousand_requests"] * 7 / listed["usd_per_hour"]
    )


@pytest.mark.parametrize(
    ("words", "said"), [((QWEN, "big"), "is not a size"), (("nobody/nothing", "448x448"), "No vision encoder")]
)
def test_odd_wishes_end_with_cause_and_remedy(images, words, said):
    refused = images("tokens", *words)
    assert refused.exit_code == 2
    assert said in refused.output
