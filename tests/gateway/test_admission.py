"""Limits that follow the server, forecasts of waits, and queues in which nobody starves; routing and versions."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.manual_clock import ManualClock

from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.gateway.admission import ConcurrencyLimit, FairQueue, LimitRule, WaitForecast
from workbench.gateway.routing import Replica, by_prefix, least_loaded


def test_the_limit_finds_what_a_server_can_do():
    """A server whose first tokens take 0.1 s for each request under way: one second is ten requests."""
    clock = ManualClock()
    limit = ConcurrencyLimit(LimitRule(first=2, target_ttft_s=1.0, settle_s=0.5), clock=clock)
    seen = []
    for _ in range(4000):
        while limit.begin():
            pass
        clock.now += 0.05
        limit.first_token(0.1 * limit.n_under_way)
        limit.end()
        seen.append(limit.limit)
    late = seen[2000:]
    assert min(late) >= 7
    assert max(late) <= 11


def test_an_idle_server_says_nothing_about_a_higher_limit():
    limit = ConcurrencyLimit(LimitRule(first=16), clock=ManualClock())
    for _ in range(1000):
        assert limit.begin()
        limit.first_token(0.01)
        limit.end()
    assert limit.limit == 16


def test_one_overload_cuts_once_and_the_least_stays():
    clock = ManualClock()
    limit = ConcurrencyLimit(LimitRule(least=2, first=10, cut=0.5, settle_s=1.0), clock=clock)
    for _ in range(10):
        limit.overloaded()
    assert limit.limit == 5
    for _ in range(10):
        clock.now += 1
        limit.overloaded()
    assert limit.limit == 2


def test_a_wait_is_forecast_from_what_began():
    clock = ManualClock()
    forecast = WaitForecast(clock=clock)
    assert forecast.judge(1000, deadline_s=0.1) is None  # nothing is known yet
    for _ in range(50):
        clock.now += 0.1
        forecast.record_start()
    assert forecast.wait_s(20) == pytest.approx(2.0, rel=0.1)
    assert forecast.judge(20, deadline_s=3.0) is None
    told = forecast.judge(40, deadline_s=3.0)
    assert told.retry_after_s == pytest.approx(1.0, rel=0.3)


def served(queue, n):
    return Counter(queue.take()[0] for _ in range(n))


def test_a_loud_tenant_gets_no_more_than_its_turn():
    queue = FairQueue(max_waiting=10_000)
    for i in range(900):
        queue.put("loud", ("loud", i), cost=1.0)
    for i in range(100):
        queue.put("quiet", ("quiet", i), cost=1.0)
    assert served(queue, 200) == {"loud": 100, "quiet": 100}


def test_turns_are_of_cost_and_weight_and_not_of_requests():
    queue = FairQueue(max_waiting=10_000, weights={"paid": 2.0})
    for i in range(300):
        queue.put("long", ("long", i), cost=10.0)
        queue.put("short", ("short", i), cost=1.0)
        queue.put("paid", ("paid", i), cost=1.0)
    first = served(queue, 310)
    assert first["short"] == pytest.approx(10 * first["long"], rel=0.2)
    assert first["paid"] == pytest.approx(2 * first["short"], rel=0.2)


def test_a_full_queue_drops_the_newest_of_whoever_has_most():
    queue = FairQueue(max_waiting=4)
    for i in range(4):
        assert queue.put("loud", ("loud", i), cost=1.0) is None
    assert queue.put("quiet", ("quiet", 0), cost=1.0) == ("loud", 3)
    assert len(queue) == 4
    assert [queue.take() for _ in range(5)].count(None) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 5.0), st.booleans()), max_size=100))
def test_nothing_is_lost_and_order_within_a_tenant_is_kept(script):
    queue, waiting, dropped, taken = FairQueue(max_waiting=10), [], [], []
    for i, (tenant, cost, take) in enumerate(script):
        gone = queue.put(tenant, (tenant, i), cost=cost)
        waiting.append((tenant, i))
        if gone is not None:
            dropped.append(gone)
        if take:
            taken.append(queue.take())
    while (item := queue.take()) is not None:
        taken.append(item)
    assert sorted([*taken, *dropped]) == sorted(waiting)
    for tenant in "abc":
        mine = [i for t, i in taken if t == tenant]
        assert mine == sorted(mine)


def test_who_left_is_taken_out():
    queue = FairQueue(max_waiting=10)
    item = ("a", 1)
    queue.put("a", item, cost=1.0)
    assert queue.remove(item)
    assert not queue.remove(item)
    assert queue.take() is None


def replicas(n, **loads):
    return [Replica(name=f"r{i}", url=f"http://{i}", n_under_way=loads.get(f"r{i}", 0)) for i in range(n)]


def test_the_same_beginning_goes_to_the_same_replica_until_it_has_too_much():
    group = replicas(5)
    chosen = {by_prefix(group, "You are helpful").name for _ in range(20)}
    assert len(chosen) == 1
    busy = next(r for r in group if r.name in chosen)
    busy.n_under_way = 50
    assert by_prefix(group, "You are helpful") is not busy
    spread = Counter(by_prefix(replicas(5), f"prompt {i}").name for i in range(2000))
    assert min(spread.values()) > 300


def test_a_new_replica_moves_only_its_own_beginnings():
    before = {i: by_prefix(replicas(4), f"p{i}").name for i in range(1000)}
    after = {i: by_prefix(replicas(5), f"p{i}").name for i in range(1000)}
    moved = {i for i in before if before[i] != after[i]}
    assert all(after[i] == "r4" for i in moved)
    assert len(moved) == pytest.approx(200, abs=60)


@given(st.integers(1, 6), st.lists(st.text(max_size=5), max_size=300))
def test_no_replica_has_more_than_its_bound(n, beginnings):
    group = replicas(n)
    for beginning in beginnings:
        by_prefix(group, beginning, most_over=1.25).n_under_way += 1
        total = sum(r.n_under_way for r in group)
        assert max(r.n_under_way for r in group) <= max(1, 1.25 * total / n) + 1


def test_the_least_loaded_is_taken_for_its_weight_and_none_is_told():
    strong, weak = Replica(name="s", url="", weight=4, n_under_way=6), Replica(name="w", url="", n_under_way=2)
    assert least_loaded([strong, weak]) is strong
    with pytest.raises(NotAvailable, match="No replica"):
        by_prefix([], "x")
    with pytest.raises(InvalidSpec, match="most_over"):
        by_prefix(replicas(1), "x", most_over=0.5)
