"""Messages of groups and silences, as Alertmanager has them; the gold set; the watch's own page."""

import time
import urllib.error
import urllib.request
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.waiting import wait_for

from workbench.alerts.defaults import vllm_rules
from workbench.alerts.evaluator import AlertState, Event
from workbench.alerts.notify import Notifier, Silence, silent
from workbench.alerts.page import AlertPage
from workbench.alerts.scrape import Scraper
from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.load.gold_set import gold_questions
from workbench.questions.monitoring.measure import gold_of, rules_of, watch
from workbench.questions.monitoring.spec import MonitoringSpec


def event(rule, at_s, state=AlertState.FIRING, severity="page", **labels):
    return Event(
        at_s=at_s,
        rule=rule,
        labels=tuple(sorted(labels.items())),
        state=state,
        value=1.0,
        severity=severity,
        summary="",
    )


def rules_in(events):
    return [e.rule for e in events]


def test_a_group_waits_for_company_and_later_changes_wait_for_the_interval():
    notifier = Notifier(group_wait_s=30, group_interval_s=300, repeat_s=None)
    assert notifier.take([event("A", 0)], 0) == []
    assert notifier.take([event("B", 15)], 15) == []
    (first,) = notifier.take([], 30)
    assert rules_in(first.firing) == ["A", "B"]
    assert first.group == {"severity": "page"}
    assert notifier.take([event("A", 60, AlertState.RESOLVED), event("C", 60)], 60) == []
    (second,) = notifier.take([], 330)
    assert (rules_in(second.firing), rules_in(second.resolved)) == (["B", "C"], ["A"])
    assert notifier.take([], 10_000) == []


def test_what_began_and_ended_before_the_first_message_is_not_told():
    notifier = Notifier(group_wait_s=30)
    notifier.take([event("A", 0)], 0)
    notifier.take([event("A", 10, AlertState.RESOLVED)], 10)
    assert notifier.take([], 40) == []


def test_groups_are_apart_and_what_lasts_is_repeated():
    notifier = Notifier(group_by=("model",), group_wait_s=0, repeat_s=100)
    messages = notifier.take([event("A", 0, model="x"), event("A", 0, model="y")], 0)
    assert [m.group for m in messages] == [{"model": "x"}, {"model": "y"}]
    assert notifier.take([], 99) == []
    assert [rules_in(m.firing) for m in notifier.take([], 100)] == [["A"], ["A"]]


def test_a_silence_hides_until_it_ends():
    hush = Silence(matchers={"alertname": "Requests*"}, until_s=50)
    notifier = Notifier(group_wait_s=0, group_interval_s=10, repeat_s=60)
    notifier.silences = [hush]
    assert notifier.take([event("RequestsQueued", 0)], 0) == []
    (other,) = notifier.take([event("NoMetrics", 5)], 5)
    assert rules_in(other.firing) == ["NoMetrics"]
    (later,) = notifier.take([], 65)
    assert sorted(rules_in(later.firing)) == ["NoMetrics", "RequestsQueued"]
    assert silent(event("RequestsQueued", 0), [hush], 49)
    assert not silent(event("RequestsQueued", 0), [hush], 50)
    assert not silent(event("KvCacheFull", 0), [hush], 0)
    with pytest.raises(InvalidSpec, match="would suppress every alert"):
        Silence(matchers={}, until_s=1)


@given(st.lists(st.sampled_from("ABC"), max_size=30), st.floats(0, 40), st.floats(1, 100))
def test_every_alert_that_was_told_is_told_to_be_over(switched, wait_s, interval_s):
    """Alerts switch between firing and over; after all are over and time has passed, what was sent as firing was sent as resolved."""
    notifier, firing, open_ = Notifier(group_wait_s=wait_s, group_interval_s=interval_s, repeat_s=None), set(), set()
    at = 0.0

    def take(events):
        for message in notifier.take(events, at):
            assert message.firing or message.resolved
            open_.difference_update(rules_in(message.resolved))
            assert set(rules_in(message.firing)) <= firing
            open_.update(rules_in(message.firing))

    for rule in switched:
        at += 7
        state = AlertState.RESOLVED if rule in firing else AlertState.FIRING
        firing.symmetric_difference_update({rule})
        take([event(rule, at, state)])
    for rule in sorted(firing):
        firing.discard(rule)
        take([event(rule, at, AlertState.RESOLVED)])
    for _ in range(4):
        at += 200
        take([])
    assert open_ == set()


@pytest.fixture
def mock():
    with MockProcess(MockSettings(ttft_s=0.001, itl_s=0.0005)) as process:
        yield process


def test_wrong_answers_to_the_gold_set_alert(mock, tmp_path):
    gold = tmp_path / "gold.jsonl"
    gold.write_text('{"prompt": "a", "pattern": "."}\n{"prompt": "b", "pattern": "this is never said"}\n')
    spec = MonitoringSpec(url=mock.url, gold=str(gold), gold_every_s=0.05, interval_s=0.1, patience_s=3600)
    with gold_of(spec) as asked:
        wait_for(lambda: asked.counts()["asked"] >= 4)
        looks = list(islice(watch(spec, gold=asked), 25))
    assert looks[-1].values["AnswersWrong"] == pytest.approx(0.5, abs=0.1)
    assert looks[-1].firing == ["AnswersWrong"]
    assert [e.rule for look in looks for e in look.events] == ["AnswersWrong"]
    assert asked.last_wrong() == ["b"]
    assert rules_of(spec)[-1].name == "AnswersWrong"


def test_a_server_that_is_gone_fails_questions_and_answers_none_wrongly(mock):
    spec = MonitoringSpec(url=mock.url, gold_every_s=0.1)
    with gold_of(spec) as asked:
        wait_for(lambda: asked.counts()["asked"] >= 8)
        mock.close()
        wait_for(lambda: asked.counts()["failed"] >= 3)
        assert asked.counts()["wrong"] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Line 1"),
        ('{"prompt": "a", "pattern": "("}', "Line 1"),
        ('{"prompt": "", "pattern": "a"}', "empty prompt"),
        ('\n{"prompt": "a", "pattern": "a", "max_tokens": 1000}', "Line 2"),
        ("", "no questions"),
    ],
)
def test_odd_gold_files_are_refused(tmp_path, text, message):
    file = tmp_path / "gold.jsonl"
    file.write_text(text)
    with pytest.raises(InvalidSpec, match=message):
        gold_questions(file)
    with pytest.raises(InvalidSpec, match="cannot be read"):
        gold_questions(tmp_path / "none")


def test_the_watch_has_a_page_that_prometheus_reads():
    rules = vllm_rules()
    page = AlertPage(rules, 0)
    try:
        page.show(
            firing=["NoMetrics"], pending=["KvCacheFull"], values={"KvCacheFull": 0.97}, is_up=False, gold={"asked": 3}
        )
        text = Scraper(f"http://127.0.0.1:{page.port}").page()
        assert 'ALERTS{alertname="NoMetrics",alertstate="firing",severity="page"} 1.0' in text
        assert 'ALERTS{alertname="KvCacheFull",alertstate="pending"' in text
        assert 'workbench_rule_value{alertname="KvCacheFull"} 0.97' in text
        assert "workbench_server_up 0.0" in text
        assert "workbench_gold_asked_total 3.0" in text
        with pytest.raises(NotAvailable, match="cannot be opened"):
            AlertPage(rules, page.port)
    finally:
        page.close()
    time.sleep(0.05)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{page.port}/metrics", timeout=1)
