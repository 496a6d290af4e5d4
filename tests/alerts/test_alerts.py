"""Alerts: fired once, resolved once; silence is no health; a mean hides what a percentile shows; callbacks and lint."""

import json
from contextlib import contextmanager
from dataclasses import replace
from itertools import count, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.page_server import page_server, replying

from workbench.alerts.dashboard import dashboard
from workbench.alerts.defaults import TTFT_BOUNDS, vllm_rules
from workbench.alerts.evaluator import AlertState, Evaluator
from workbench.alerts.lint import documents_in, expressions_in, metric_names, missing_in, sample_names
from workbench.alerts.rules import Rate, Ratio, Rule, SlowShare, Value, rules_yaml
from workbench.alerts.scrape import Scraper
from workbench.alerts.series import SeriesStore, bucket_quantile
from workbench.core.errors import InvalidSpec, WorkbenchError
from workbench.core.rows import plain
from workbench.questions.monitoring.measure import call, notice_of, post, watch
from workbench.questions.monitoring.rows import AlertEvent
from workbench.questions.monitoring.spec import WatchSpec

HISTOGRAM = "vllm:time_to_first_token_seconds"


def happenings(rule, values, *, step_s=15):
    """(second, state) of all events when a gauge has these values."""
    store, evaluator, events = SeriesStore(), Evaluator([rule]), []
    for i, value in enumerate(values):
        store.add("depth", {}, i * step_s, value)
        events += [(e.at_s, e.state) for e in evaluator.evaluate(store, i * step_s)]
    return events


DEEP = Rule(name="Deep", expression=Value(metric="depth"), compare=">", threshold=5.0, for_s=30, keep_firing_for_s=30)


def test_one_lasting_condition_is_told_once_and_over_once():
    values = [0] * 4 + [9] * 40 + [0] * 10
    assert happenings(DEEP, values) == [(90, AlertState.FIRING), (44 * 15 + 30, AlertState.RESOLVED)]


def test_a_short_dip_does_not_end_an_alert_and_a_short_peak_begins_none():
    flapping = [9, 9, 9, 9, 0, 9, 9, 0, 9, 9, 9]
    assert happenings(DEEP, flapping) == [(30, AlertState.FIRING)]
    assert happenings(DEEP, [0, 9, 9, 0] * 8) == []


@given(st.lists(st.sampled_from([0.0, 9.0]), min_size=1, max_size=60))
def test_firing_and_over_take_turns(values):
    states = [state for _, state in happenings(DEEP, values)]
    assert states == [AlertState.FIRING, AlertState.RESOLVED] * (len(states) // 2) + [AlertState.FIRING] * (
        len(states) % 2
    )


def observe(store, at, seconds, counts, bounds=(*TTFT_BOUNDS, "7.5", "10.0", "20.0", "40.0", "+Inf")):
    """Add waits to a histogram and write its samples."""
    for s in seconds:
        for bound in bounds:
            if s <= float(bound):
                counts[bound] = counts.get(bound, 0) + 1
    for bound in bounds:
        store.add(f"{HISTOGRAM}_bucket", {"le": bound}, at, counts.get(bound, 0))
    store.add(f"{HISTOGRAM}_count", {}, at, counts.get("+Inf", 0))
    store.add("vllm:num_requests_running", {}, at, 1)


def test_a_mean_that_hides_two_percent_of_twenty_seconds_alerts_on_the_percentile():
    store, evaluator, counts = SeriesStore(), Evaluator(vllm_rules()), {}
    events, waits = [], [0.05] * 98 + [20.0] * 2
    assert sum(waits) / len(waits) < 0.5  # the mean looks healthy
    for step in range(40):
        observe(store, step * 15, waits, counts)
        events += evaluator.evaluate(store, step * 15)
    assert [(e.rule, e.state) for e in events if e.rule == "TtftHigh"] == [("TtftHigh", AlertState.FIRING)]
    assert {e.rule for e in events} >= {"TtftHigh"}


def test_silence_is_an_alert_and_not_health():
    store, evaluator, counts, events = SeriesStore(), Evaluator(vllm_rules()), {}, []
    for step in range(60):
        at = step * 15
        if step < 20:
            observe(store, at, [0.05] * 10, counts)
        events += [(e.at_s, e.rule, e.state) for e in evaluator.evaluate(store, at)]
    outages = [t for t in events if t[1] == "NoMetrics"]
    assert [state for _, _, state in outages] == [AlertState.FIRING]
    assert 300 <= outages[0][0] <= 19 * 15 + 300 + 75 + 15  # the look-back of five minutes, then a minute


def test_rates_decay_and_few_events_make_no_ratio():
    store = SeriesStore()
    for step in range(21):
        store.add("requests_total", {}, step * 15, min(step, 10) * 15.0)
        store.add("errors_total", {}, step * 15, min(step, 10) * 5.0)
    rate, errors = Rate(metric="requests_total", window_s=60), Rate(metric="errors_total", window_s=60)
    assert rate.at(store, 150)[()] == pytest.approx(1.0)
    assert rate.at(store, 300)[()] == 0.0
    assert Ratio(part=errors, whole=rate).at(store, 150)[()] == pytest.approx(1 / 3)
    assert Ratio(part=errors, whole=rate, least_events=100).at(store, 150) == {}
    assert Ratio(part=errors, whole=rate).at(store, 300) == {}


def test_a_promise_is_used_up_fast_only_when_both_windows_say_so():
    rule = next(r for r in vllm_rules() if r.name == "ErrorBudgetBurnFast")
    store, evaluator, counts, events = SeriesStore(), Evaluator([rule]), {}, []
    for step in range(4 * 60 * 2):
        minute = step / 4
        waits = [2.0] * 10 if 60 <= minute < 90 else [0.05] * 10
        observe(store, step * 15, waits, counts)
        events += [(e.at_s / 60, e.state) for e in evaluator.evaluate(store, step * 15)]
    assert [state for _, state in events] == [AlertState.FIRING, AlertState.RESOLVED]
    began, over = events[0][0], events[1][0]
    assert 60 < began < 75  # 14.4 % of an hour's requests
    assert 90 < over < 96  # the short window ends it, though the hour's share is still high
    assert rule.threshold == pytest.approx(0.144)


def test_odd_rules_are_refused():
    with pytest.raises(InvalidSpec, match="is no name of a rule"):
        replace(DEEP, name="two words")
    with pytest.raises(InvalidSpec, match="not finite"):
        replace(DEEP, threshold=float("nan"))
    with pytest.raises(InvalidSpec, match="is no comparison"):
        replace(DEEP, compare="=~")
    with pytest.raises(InvalidSpec, match="least_events"):
        SlowShare(histogram="h", bound="1", least_events=0)
    with pytest.raises(InvalidSpec, match=r"a TTFT of 0\.3 s"):
        vllm_rules(ttft_bound="0.3")
    store = SeriesStore()
    store.add("a", {}, 1.0, 1.0)
    with pytest.raises(InvalidSpec, match="order of time"):
        store.add("a", {}, 1.0, 1.0)


def test_a_quantile_lies_in_its_bucket_and_is_none_without_counts():
    inf = float("inf")
    assert bucket_quantile(0.5, {0.1: 0.0, 0.5: 10.0, inf: 10.0}) == pytest.approx(0.3)
    assert bucket_quantile(0.99, {0.1: 5.0, 0.5: 5.0, inf: 10.0}) == 0.5  # beyond the last bound
    assert bucket_quantile(0.5, {0.1: 0.0, inf: 0.0}) != bucket_quantile(0.5, {0.1: 0.0, inf: 0.0})


def test_old_samples_are_dropped():
    store = SeriesStore()
    for t in range(10):
        store.add("a", {"x": "1"}, t, t)
    store.drop_before(8)
    assert store.latest("a", {}, 9) == {(("x", "1"),): 9}
    store.drop_before(100)
    assert store._series == {}


PAGE = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0"} 1.0
# TYPE vllm:time_to_first_token_seconds histogram
"""


@contextmanager
def server(reply):
    """A server whose answers ``reply(n)`` gives; what is posted to it is kept."""
    posted, numbers = [], count()

    def answer(handler):
        text = reply(next(numbers))
        replying(text or "", 500 if text is None else 200)(handler)

    with page_server(answer, posted=lambda body: posted.append(json.loads(body))) as httpd:
        yield f"http://127.0.0.1:{httpd.server_port}", posted


@pytest.mark.parametrize("broken", [None, "<html>no metrics here</html>", "vllm:num_requests_running{ 1"])
def test_a_server_that_fails_for_a_while_alerts_once_and_is_over_once(broken):
    now = [0.0]

    def clock():
        return now[0]

    def wait(seconds):
        now[0] += seconds

    with server(lambda n: broken if 4 <= n < 14 else PAGE) as (url, _):
        looks = list(islice(watch(WatchSpec(url=url), clock=clock, wait=wait), 24))
    events = [(look.at_s, e.rule, e.state) for look in looks for e in look.events]
    assert events == [(120, "NoMetrics", AlertState.FIRING), (210, "NoMetrics", AlertState.RESOLVED)]
    assert [bool(look.problem) for look in looks] == [4 <= i < 14 for i in range(24)]
    assert looks[10].firing == ["NoMetrics"]


def test_a_webhook_and_a_command_get_the_event(tmp_path):
    store, evaluator = SeriesStore(), Evaluator([replace(DEEP, for_s=0)])
    store.add("depth", {"model": "a"}, 0, 9)
    (event,) = evaluator.evaluate(store, 0)
    sent = AlertEvent.of(event, server="http://server", origin_s=0.0)
    with server(lambda n: PAGE) as (url, posted):
        post(notice_of(sent), webhook=url)
    assert posted == [plain(sent)]
    assert (sent.rule, sent.state, sent.labels) == ("Deep", "firing", {"model": "a"})
    call(notice_of(sent), command=["sh", "-c", f"cat > {tmp_path / 'event.json'}"])
    assert json.loads((tmp_path / "event.json").read_text()) == plain(sent)
    with pytest.raises(WorkbenchError, match="webhook did not accept Deep"):
        post(notice_of(sent), webhook="http://127.0.0.1:9/")
    with pytest.raises(WorkbenchError, match="command for Deep failed"):
        call(notice_of(sent), command=["false"])


def test_names_are_found_in_any_promql():
    text = 'sum by (le, x) (rate(a:b_total{foo="bar}{",z=~"x"}[5m] offset 1h)) / on(job) group_left(n) up + 1e3 * max_over_time(c[1h:5m]) > bool 3'
    assert metric_names(text) == {"a:b_total", "c"}
    assert metric_names("histogram_quantile(0.99, sum by (le) (rate(h_bucket[5m])))") == {"h_bucket"}
    assert metric_names("vector(1)") == set()


@pytest.mark.parametrize(
    ("promql", "names"),
    [
        ("SUM BY (le) (rate(a[5m])) AND b OR c UNLESS d OFFSET 5m", {"a", "b", "c", "d"}),
        ('Sum(a) # b and "quote\n + c', {"a", "c"}),
        ('{__name__="a", x="y"} / {x="y", __name__=~"b|c"} - {__name__!="d"}', {"a", "b", "c"}),
        ('{"my.metric", x="y"} + a{x="#z"}', {"my.metric", "a"}),
        ("a @ start() + b @ 1609746000 > BOOL 1e3 + 0x1F", {"a", "b"}),
        ('${prefix}_total + vllm:$m + $m + a{m="$x"}[$__rate_interval]', {"a"}),
        ('count_values("v", a) * ON(x) GROUP_LEFT(y) b', {"a", "b"}),
        ("sum(rate(a[1h30m:5m]))\n  by (le) / NaN > Inf", {"a"}),
        ("a{x='{'} or b", {"a", "b"}),
    ],
)
def test_names_are_found_as_promql_reads_them(promql, names):
    assert metric_names(promql) == names


def test_a_pattern_of_names_must_match_one(tmp_path):
    rules = [{"alert": "A", "expr": '{__name__=~"vllm:.*"}'}, {"alert": "B", "expr": '{__name__=~"sglang:.+"}'}]
    assert missing_in(rules, {"vllm:x"}) == {"B": ['{__name__=~"sglang:.+"}']}


def test_files_of_several_documents_and_config_maps_are_read():
    board = json.dumps({"panels": [{"title": "P", "targets": [{"expr": "gone_a"}]}]}, indent="\t")
    assert missing_in(documents_in(board), set()) == {"P": ["gone_a"]}
    rule = "groups:\n- rules:\n  - alert: R\n    expr: gone_b > own\n"
    maps = {
        "kind": "List",
        "items": [{"kind": "ConfigMap", "data": {"b.json": board, "r.yaml": rule + "---\n" + rule}}],
    }
    text = f"{rule}---\n{json.dumps(maps)}\n---\ngroups:\n- rules:\n  - record: own\n    expr: gone_c\n"
    assert missing_in(documents_in(text), set()) == {"P": ["gone_a"], "R": ["gone_b"], "own": ["gone_c"]}


def test_a_dashboard_with_a_name_that_is_gone_is_caught():
    """production-stack's dashboard reads vllm:gpu_prefix_cache_hits_total, which newer vLLM does not have."""
    old = {
        "panels": [
            {"title": "hit rate", "targets": [{"expr": "vllm:gpu_prefix_cache_hits_total / vllm:num_requests_running"}]}
        ]
    }
    names = sample_names(PAGE)
    assert missing_in(old, names) == {"hit rate": ["vllm:gpu_prefix_cache_hits_total"]}
    assert f"{HISTOGRAM}_bucket" in names
    recorded = {"rules": [{"record": "mine", "expr": "vllm:num_requests_running"}, {"alert": "A", "expr": "mine > 1"}]}
    assert missing_in(recorded, names) == {}


def test_dashboard_and_rule_file_have_the_same_conditions():
    rules = vllm_rules()
    shown = [promql for _, promql in expressions_in(dashboard(rules))]
    assert shown == [r.expression.promql() for r in rules]
    written = dict(expressions_in(json.loads(rules_yaml(rules))))
    assert written == {r.name: r.promql() for r in rules}
    assert len({p["id"] for p in dashboard(rules)["panels"]}) == len(rules)


def test_no_page_is_told():
    with pytest.raises(InvalidSpec, match="is not a URL"):
        Scraper("localhost:8000")
    assert "cannot be read" in Scraper("http://127.0.0.1:9", timeout_s=0.5).scrape(SeriesStore(), 0.0)
