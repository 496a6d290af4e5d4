"""Exact answers only: never across tenants, versions or sampling; bounded; computed once at a time."""

import asyncio
import json
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.manual_clock import ManualClock

from workbench.core.errors import InvalidSpec
from workbench.gateway.answer_cache import AnswerCache, cache_key, is_repeatable
from workbench.gateway.validation import Completion


def in_a_loop(main):
    """Run in a thread of its own: a browser that was driven before leaves a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(main())).result()


async def computed_once(kept, key, compute):
    """What a gateway does with a question."""
    async with kept.turn(key) as body:
        if body is None:
            body = await compute()
            kept.put(key, body)
        return body


ASKED = {"model": "m", "prompt": "hello", "temperature": 0, "max_tokens": 8}
WHO = {"tenant": "a", "model_digest": "v1", "endpoint": "/v1/completions"}


def cache(**changes):
    return AnswerCache(**{"max_bytes": 10_000, "ttl_s": 60.0, "clock": ManualClock()} | changes)


def test_the_order_of_fields_and_how_it_is_delivered_do_not_matter():
    turned = dict(reversed(list(ASKED.items())))
    assert cache_key(ASKED, **WHO) == cache_key(turned | {"stream": True, "user": "x"}, **WHO)


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "hello "},
        {"max_tokens": 9},
        {"temperature": 0.0001},
        {"seed": 1},
        {"stop": ["x"]},
        {"model": "n"},
        {"unknown": 1},
    ],
)
def test_every_other_field_does(change):
    assert cache_key(ASKED, **WHO) != cache_key(ASKED | change, **WHO)


@pytest.mark.parametrize("who", [{"tenant": "b"}, {"model_digest": "v2"}, {"endpoint": "/v1/chat/completions"}])
def test_tenants_versions_and_endpoints_are_apart(who):
    assert cache_key(ASKED, **WHO) != cache_key(ASKED, **WHO | who)


texts = st.text(max_size=20)


@given(texts, texts, texts, texts)
def test_no_two_different_questions_share_a_key(tenant, other, prompt, second):
    """No separator can be forged: a tenant's name cannot make its question look like another's."""
    a = cache_key({"prompt": prompt}, tenant=tenant, model_digest="d", endpoint="/")
    b = cache_key({"prompt": second}, tenant=other, model_digest="d", endpoint="/")
    assert (a == b) == ((tenant, prompt) == (other, second))


@pytest.mark.parametrize(
    ("change", "repeatable"),
    [
        ({}, True),
        ({"temperature": 0.0}, True),
        ({"temperature": 0.7}, False),
        ({"temperature": None}, False),
        ({"n": 2}, False),
    ],
)
def test_what_is_sampled_is_not_repeatable(change, repeatable):
    assert is_repeatable(Completion(**ASKED | change)) is repeatable
    assert not is_repeatable(Completion(model="m", prompt="no temperature: servers sample by default"))


def test_an_answer_is_forgotten_in_time_and_bytes_are_bounded():
    clock = ManualClock()
    kept = cache(clock=clock, max_bytes=1000, largest=0.5)
    assert kept.put("a", b"x" * 300)
    assert not kept.put("b", b"x" * 600)
    assert kept.get("a") == b"x" * 300
    clock.now += 60
    assert kept.get("a") is None
    assert kept.n_bytes == 0
    rng = random.Random(0)
    for i in range(20_000):
        kept.put(f"k{i}", b"x" * rng.randrange(400))
        assert kept.n_bytes <= 1000


def test_the_one_used_longest_ago_goes_first():
    kept = cache(max_bytes=310, largest=0.5)
    for name in "abc":
        kept.put(name, b"x" * 100)
    kept.get("a")
    kept.put("d", b"x" * 100)
    assert [n for n in "abcd" if kept.get(n)] == ["a", "c", "d"]


def test_the_same_question_at_once_is_computed_once():
    kept, computed = cache(), []

    async def compute():
        computed.append(1)
        await asyncio.sleep(0.01)
        return b"answer"

    async def main():
        return await asyncio.gather(*(computed_once(kept, "k", compute) for _ in range(50)))

    assert set(in_a_loop(main)) == {b"answer"}
    assert len(computed) == 1


def test_a_failure_is_nobody_elses_and_the_next_in_line_computes():
    kept, tried = cache(), []

    async def compute():
        tried.append(1)
        await asyncio.sleep(0.01)
        if len(tried) == 1:
            raise RuntimeError("the first one fails")
        return b"answer"

    async def main():
        return await asyncio.gather(*(computed_once(kept, "k", compute) for _ in range(3)), return_exceptions=True)

    first, *others = in_a_loop(main)
    assert isinstance(first, RuntimeError)
    assert others == [b"answer", b"answer"]
    assert len(tried) == 2


def test_who_goes_away_while_computing_lets_the_next_compute():
    kept, tried = cache(), []

    async def compute():
        tried.append(1)
        if len(tried) == 1:
            await asyncio.Event().wait()  # until it is cancelled
        return b"answer"

    async def main():
        leaving = asyncio.create_task(computed_once(kept, "k", compute))
        await asyncio.sleep(0.01)
        staying = asyncio.create_task(computed_once(kept, "k", compute))
        await asyncio.sleep(0.01)
        leaving.cancel()
        return await staying

    assert in_a_loop(main) == b"answer"
    assert len(tried) == 2


def test_odd_sizes_are_refused():
    for change in ({"max_bytes": 0}, {"ttl_s": 0}, {"largest": 0}):
        with pytest.raises(InvalidSpec):
            cache(**change)
    assert json.dumps(ASKED)
