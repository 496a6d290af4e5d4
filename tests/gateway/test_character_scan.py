"""The scan finds what searching finds, on any text; and what searching would miss."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.gateway import redaction
from workbench.gateway.redaction import findings
from workbench.questions.security.measure.corpus import corpus

TEXTS = [t.text for t in corpus(77, 10)]


def both(monkeypatch, text):
    found = []
    for short in (10**9, 0):
        monkeypatch.setattr(redaction, "SHORT", short)
        found.append(findings(text))
    return found


@pytest.mark.parametrize("joined", ["\n", " ", "", "，"])
def test_long_texts_are_read_as_short_ones(monkeypatch, joined):
    for n in (1, 3, len(TEXTS)):
        for i in range(0, len(TEXTS), n):
            searched, scanned = both(monkeypatch, joined.join(TEXTS[i : i + n]))
            assert searched == scanned


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="0123456789 -.()+@aB_X卡", max_size=80))
def test_any_text_is(text):
    with pytest.MonkeyPatch.context() as monkeypatch:
        searched, scanned = both(monkeypatch, text)
    assert searched == scanned


@pytest.mark.parametrize(
    "text", ["4111 1111 1111 1111 123", "4111-1111-1111-1111 12/27", "card 378282246310005, 4111111111111111"]
)
def test_a_card_is_found_with_other_numbers_behind_it(text):
    assert findings(text)[-1].kind == "CARD"
