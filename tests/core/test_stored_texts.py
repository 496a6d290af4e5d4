"""What is stored in English is shown in the reader's language."""

import pytest

from workbench.app.messages import FOLDER, translations
from workbench.core import stored_texts
from workbench.core.language import SOURCE, offered
from workbench.core.stored_texts import in_readers_words
from workbench.telemetry import labels
from workbench.telemetry.samples import Signal

TABLE = {"{n} sequences in a step": "一步 {n} 个序列", "left out": "未测", "power": "功率"}


@pytest.fixture
def chinese(monkeypatch):
    for module in (stored_texts, labels):
        monkeypatch.setattr(module, "language", lambda: "zh_CN")
        monkeypatch.setattr(module, "gettext", lambda text: TABLE.get(text, text))


@pytest.mark.usefixtures("chinese")
def test_a_stored_sentence_is_translated_with_its_values():
    assert in_readers_words("8 sequences in a step", list(TABLE)) == "一步 8 个序列"
    assert in_readers_words("left out", ()) == "未测"
    assert in_readers_words("RuntimeError: 8 sequences", list(TABLE)) == "RuntimeError: 8 sequences"


def test_in_english_a_stored_sentence_stays_as_it_is():
    assert in_readers_words("8 sequences in a step", list(TABLE)) == "8 sequences in a step"


@pytest.mark.usefixtures("chinese")
def test_a_signal_recorded_by_an_earlier_version_has_the_label_of_today():
    assert labels.shown_label(Signal(name="gpu3.power_w", unit="W", label="electric power")) == "功率"
    assert labels.shown_label(Signal(name="gpu3.unknown", unit="", label="left out")) == "未测"


@pytest.mark.parametrize("name", [name for name in offered() if name != SOURCE])
def test_a_reason_of_memory_begins_alike_in_every_language(name):
    table = dict(translations(FOLDER / name / "LC_MESSAGES" / "estimate.po"))
    (begin,), (whole,) = table["memory: "], table["memory: {needed} are needed, {usable} usable; {fit}"]
    assert whole.startswith(begin)
    assert all(table[text][0].startswith(text[:4]) for text in table if text.startswith(("TTFT: ", "TPOT: ")))
