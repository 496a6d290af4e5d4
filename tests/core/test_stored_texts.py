"""What is stored in English is shown in the reader's language."""

import pytest

from workbench.app.messages import FOLDER, translations
from workbench.core import language, stored_texts
from workbench.core.language import SOURCE, offered
from workbench.core.stored_texts import in_readers_words, translated
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


def forget():
    for known in (language.language, language._tables, stored_texts._translated, stored_texts._templates):
        known.cache_clear()


@pytest.fixture
def chinese_tables(monkeypatch):
    monkeypatch.setenv("WORKBENCH_LANG", "zh_CN")
    forget()
    yield
    monkeypatch.undo()
    forget()


@pytest.mark.usefixtures("chinese_tables")
@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("slow network", "网络变慢"),
        ("3 of 8 greedy answers differ", "8 个贪心回答中有 3 个不同"),
        ("requests per second 4.52 → 9.1 (×2.01, at least ×1.40)", "每秒请求数 4.52 → 9.1（×2.01，至少 ×1.40）"),
        ("95 % of the change lies in queue and decode", "变化的 95 % 来自排队和解码"),
        (
            "highest KV cache usage 0.07 (healthy load: 0.04): unchanged",
            "KV 缓存最高使用率 0.07（健康负载：0.04）：不变",
        ),
        ("TTFT 10 → 20 ms; failed requests 0.0 → 3.0 %", "首 token 延迟（TTFT） 10 → 20 ms；失败请求 0.0 → 3.0 %"),
        (
            "no evidence clearly supports one cause; the most likely one is: packets are lost in the network, so single streams stall",
            "没有证据明确支持某一个原因；最可能的是：网络丢包，个别流因此停顿",
        ),
        ("stories has no weights.", "stories 没有权重。"),
        (
            "The trace a.csv cannot be read: line 3 has 4 columns, and the first line 2.",
            "无法读取轨迹 a.csv：第 3 行有 4 列，而首行有 2 列。",
        ),
        ("<b>what another program wrote</b>", "<b>what another program wrote</b>"),
    ],
)
def test_a_stored_sentence_is_found_by_the_text_that_made_it(stored, shown):
    assert translated(stored, domain="latency") == shown
