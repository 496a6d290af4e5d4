"""Runs are checked where they enter: one clear error that names the source, the field and what belongs there."""

import json

import pytest
from support import invented_run

from workbench.catalog.paths import MEASURED
from workbench.core.errors import StoreError
from workbench.store.decoding import run_from_json
from workbench.store.runs import read_run_file

HOSTILE = "<img src=x onerror=alert(1)>"


def changed(**changes):
    return json.dumps(json.loads(invented_run().to_json()) | changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": HOSTILE}, "`id`"),
        ({"id": "../../etc/passwd"}, "`id`"),
        ({"id": "a" * 65}, "`id`"),
        ({"id": 7}, r"Expected `str`, got `int` - at `\$.id`"),
        ({"kind": HOSTILE}, "`kind`"),
        ({"seed": "one"}, r"Expected `int`, got `str` - at `\$.seed`"),
        ({"results": {}}, r"Expected `array`.*\$.results"),
        ({"results": [1]}, r"\$.results\[0\]|`results` is not a list of objects"),
        ({"environment": {}}, r"\$.environment"),
        ({"provenance": "dreamt"}, r"\$.provenance"),
        ({"finished_at": HOSTILE}, "`finished_at`"),
    ],
    ids=str,
)
def test_a_field_that_is_not_what_it_must_be_is_named(changes, words):
    with pytest.raises(StoreError, match=words) as caught:
        run_from_json(changed(**changes), source="here.json")
    assert caught.value.cause.startswith("here.json")
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["", "[" * 100_000, "NaN", '{"id": 1', "null", '"run"', "\x00", "\ufeff{}"])
def test_what_is_no_document_is_refused_in_words(text):
    with pytest.raises(StoreError):
        run_from_json(text)


def test_every_run_that_ships_is_read():
    files = sorted(MEASURED.rglob("*.json"))
    assert len(files) > 50
    for file in files:
        if "results" in json.loads(file.read_text()):
            assert read_run_file(file).kind
