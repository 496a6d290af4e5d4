"""Keys that copy a model stand out among applications; what they asked is not kept."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.manual_clock import ManualClock

from workbench.core.errors import InvalidSpec
from workbench.gateway.abuse import AbuseWatch, DistinctCount


@settings(max_examples=25)
@given(st.integers(1, 5000), st.integers(0, 10**6))
def test_distinct_texts_are_counted_within_its_error(n, salt):
    count = DistinctCount()
    for i in range(n):
        count.add(f"{salt} {i}")
        count.add(f"{salt} {i // 2}")
    assert abs(count.estimate / n - 1) < (0.001 if n < 128 else 0.5)


def test_a_copying_key_is_flagged_and_applications_are_not():
    watch, rng = AbuseWatch(clock=ManualClock()), random.Random(3)
    for i in range(2000):
        watch.record("copier", " ".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=60)), answer_tokens=200)
        if i % 5 == 0:
            watch.record("support", f"{'You are a helpful assistant of ACME. ' * 4}{rng.random()}", answer_tokens=100)
            watch.record("search", rng.choice(["weather", "news", "stocks"]), answer_tokens=50)
    flags = {k: s.is_suspicious for k, s in watch.all_signals().items()}
    assert flags == {"copier": True, "support": False, "search": False}


def test_a_key_that_asks_little_is_never_flagged():
    watch = AbuseWatch(clock=ManualClock())
    for i in range(100):
        watch.record("new", f"question {i}", answer_tokens=10)
    assert not watch.signals("new").is_suspicious


def test_what_was_long_ago_fades():
    clock = ManualClock()
    watch = AbuseWatch(clock=clock, memory_s=100.0)
    for i in range(500):
        watch.record("key", f"{i} {'x' * 70}", answer_tokens=10)
    clock.now += 1000.0
    watch.record("key", "again", answer_tokens=10)
    assert watch.signals("key").asked < 2


def test_memory_is_bounded():
    watch = AbuseWatch(clock=ManualClock(), max_keys=50)
    for i in range(1000):
        watch.record(f"key {i}", "text", answer_tokens=1)
    assert len(watch) == 50
    assert watch.signals("key 0") is None


def test_odd_numbers_are_refused():
    with pytest.raises(InvalidSpec):
        AbuseWatch(clock=ManualClock(), max_keys=0)
    with pytest.raises(InvalidSpec):
        DistinctCount(1)
