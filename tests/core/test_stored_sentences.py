"""Sentences that runs keep in English are shown in the reader's language."""

import pytest

from workbench.core import language, stored_texts
from workbench.core.stored_texts import translated


def forget():
    for known in (language.language, language._tables, stored_texts._translated, stored_texts._templates):
        known.cache_clear()


@pytest.fixture
def chinese(monkeypatch):
    monkeypatch.setenv("WORKBENCH_LANG", "zh_CN")
    forget()
    yield
    monkeypatch.undo()
    forget()


def test_in_english_a_stored_sentence_stays_as_it_is():
    assert translated("3 of 8 greedy answers differ", domain="latency") == "3 of 8 greedy answers differ"


@pytest.mark.usefixtures("chinese")
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
        ("<b>what another program wrote</b>", "<b>what another program wrote</b>"),
    ],
)
def test_a_stored_sentence_is_found_by_the_text_that_made_it(stored, shown):
    assert translated(stored, domain="latency") == shown
