"""The prefix cache beside an exact LRU of single blocks, and in engines behind a router."""

import random
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.traffic import Arrival
from workbench.simulate.engine import Engine, EngineLimits
from workbench.simulate.prefix_cache import PrefixCache, Prompt
from workbench.simulate.routing import replicas
from workbench.simulate.step_cost import LinearCost

COST = LinearCost(fixed_s=5e-3, sequence_s=2e-5, prompt_token_s=3e-5, cached_token_s=4e-8)


class PlainLru:
    """Single blocks of 16 tokens in one list, the next to go first."""

    def __init__(self, n_blocks):
        self.free, self.pins = [None] * n_blocks, Counter()

    def begin(self, prompt):
        per_id = prompt.block_tokens // 16
        keys = [(i, j) for i in prompt.hash_ids for j in range(per_id)][: prompt.tokens // 16]
        known = [k in self.free or self.pins[k] > 0 for k in keys]
        limit = (prompt.tokens - 1) // 16
        hit = ([*known[:limit], False]).index(False)
        for key in keys:
            if key in self.free:
                self.free.remove(key)
        del self.free[: -(-prompt.tokens // 16) - sum(known)]
        self.pins.update(keys)
        return keys, -(-prompt.tokens // 16) - len(keys), 16 * hit

    def end(self, keys, unnamed):
        self.free += [None] * unnamed
        for key in reversed(keys):
            self.pins[key] -= 1
            if not self.pins[key]:
                self.free.append(key)


def prompts(rng, *, block_tokens):
    """Yield prompts that share beginnings: each goes on from a beginning of an earlier one."""
    earlier, n_ids = [()], 0
    while True:
        start = rng.choice(earlier)
        start = start[: rng.randrange(len(start) + 1)]
        new = rng.randrange(4)
        ids = start + tuple(range(n_ids, n_ids + new))
        n_ids += new
        earlier.append(ids)
        last = rng.choice((block_tokens, rng.randrange(block_tokens)))
        yield Prompt(max(1, block_tokens * (len(ids) - 1) + last + rng.choice((0, 0, 40))), ids, block_tokens)


@given(st.randoms(use_true_random=False), st.sampled_from([16, 64]), st.integers(5, 40))
@settings(max_examples=50, deadline=None)
def test_hits_and_room_are_those_of_an_exact_lru(rng, block_tokens, n_ids):
    n_blocks = max(8, n_ids * block_tokens // 16)
    cache, plain = PrefixCache(n_blocks), PlainLru(n_blocks)
    drawn, running = prompts(rng, block_tokens=block_tokens), []
    for _ in range(60):
        prompt = next(drawn)
        while running and (cache.claim(prompt) > cache.n_free or rng.random() < 0.4):
            (held, grown), (keys, unnamed) = running.pop(rng.randrange(len(running)))
            cache.end(held, grown=grown)
            plain.end(keys, unnamed)
        if cache.claim(prompt) > cache.n_free:
            continue
        known = cache.known_tokens(prompt)
        held, (keys, unnamed, hit) = cache.begin(prompt), plain.begin(prompt)
        assert held.hit_tokens == known == hit
        grown = cache.grow(rng.randrange(4))
        del plain.free[:grown]
        assert cache.n_free == len(plain.free)
        running.append(((held, grown), (keys, unnamed + grown)))


def test_two_prompts_of_mooncake_share_their_first_twelve_ids():
    """The example of Mooncake's README: 12 x 512 = 6144 tokens are shared."""
    first = Prompt(6955, (*range(46, 58), 2353, 2354), 512)
    second = Prompt(6472, (*range(46, 58), 2366), 512)
    cache = PrefixCache(1000)
    assert cache.begin(first).hit_tokens == 0
    assert cache.known_tokens(second) == 6144
    assert cache.claim(second) == second.n_blocks - 6144 // 16


def test_a_prompt_that_is_known_to_its_end_computes_its_last_block_again():
    cache, prompt = PrefixCache(100), Prompt(1024, (1, 2), 512)
    cache.end(cache.begin(prompt))
    assert cache.known_tokens(prompt) == 1024 - 16
    assert cache.known_tokens(Prompt(1025, (1, 2, 3), 512)) == 1024


def traffic(seed, n, *, gap_s=0.02):
    rng = random.Random(seed)
    drawn = prompts(rng, block_tokens=64)
    made = [next(drawn) for _ in range(n)]
    return [
        Arrival(gap_s * i, p.tokens, rng.randrange(1, 60), tuple(p.hash_ids), p.block_tokens)
        for i, p in enumerate(made)
    ]


def test_requests_one_after_the_other_hit_what_an_exact_lru_holds():
    limits = EngineLimits(token_budget=512, max_sequences=8, cache_tokens=1600)
    arrivals = traffic(3, 200, gap_s=100.0)
    engine, plain, hits = Engine(COST, limits), PlainLru(100), 0
    engine.run(arrivals)
    for a in arrivals:
        keys, unnamed, hit = plain.begin(Prompt(a.input_tokens, a.hash_ids, a.block_tokens))
        grown = (a.output_tokens - 1) // 16
        del plain.free[:grown]
        plain.end(keys, unnamed + grown)
        hits += hit
    assert 0 < engine.hit_tokens == hits
    assert engine.prompt_tokens == sum(a.input_tokens for a in arrivals)


@given(st.integers(0, 1000), st.integers(40, 200))
@settings(max_examples=60, deadline=None)
def test_a_crowded_cache_answers_everyone_and_ends_empty(seed, n_blocks):
    arrivals = traffic(seed, 60)
    longest = max(a.input_tokens + a.output_tokens for a in arrivals)
    limits = EngineLimits(token_budget=512, max_sequences=8, cache_tokens=max(longest + 16, 16 * n_blocks))
    engine = Engine(COST, limits)
    answers = engine.run(arrivals)
    assert all(0 < a.ttft_s <= a.e2e_s for a in answers)
    assert engine.blocks.n_free == engine.blocks.n_blocks
    assert engine.peak_cached_tokens <= limits.cache_tokens


def test_ids_that_nobody_shares_change_nothing():
    plain = [Arrival(0.05 * i, 160, 20) for i in range(200)]
    named = [replace(a, hash_ids=tuple(range(10 * i, 10 * i + 10)), block_tokens=16) for i, a in enumerate(plain)]
    limits = EngineLimits(token_budget=512, max_sequences=8, cache_tokens=100_000)
    engine = Engine(COST, limits)
    assert engine.run(named) == Engine(COST, limits).run(plain)
    assert engine.hit_tokens == 0


def test_shared_prefixes_shorten_waits_and_take_their_room_once():
    ids = tuple(range(100))
    shared = [Arrival(0.01 * i, 1610, 20, ids, 16) for i in range(100)]
    limits = EngineLimits(token_budget=512, max_sequences=64, cache_tokens=8_000)
    with_cache, without = Engine(COST, limits), Engine(COST, replace(limits, has_prefix_cache=False))
    fast, slow = with_cache.run(shared), without.run(shared)
    assert sum(a.ttft_s for a in fast) < 0.2 * sum(a.ttft_s for a in slow)
    assert with_cache.hit_tokens == 99 * 1600
    assert without.hit_tokens == 0


def test_a_router_that_knows_the_caches_hits_more_than_one_that_does_not():
    rng = random.Random(5)
    sessions = [[tuple(range(1000 * s, 1000 * s + 10 * (turn + 1))) for turn in range(8)] for s in range(24)]
    turns = sorted(((turn + rng.random(), ids) for s in sessions for turn, ids in enumerate(s)), key=lambda t: t[0])
    arrivals = [Arrival(at, 16 * len(ids) + 5, 30, ids, 16) for at, ids in turns]
    limits = EngineLimits(token_budget=512, max_sequences=8, cache_tokens=20_000)
    hits = {}
    for routing in ("round robin", "least loaded", "cache aware"):
        done = replicas(3, arrivals, COST, limits, routing=routing)
        hits[routing] = done.hit_fraction
        assert all(len(moments) > 100 for moments in done.moments)  # nobody is left out
    assert hits["cache aware"] > 1.3 * max(hits["round robin"], hits["least loaded"])
    assert replicas(2, [Arrival(0, 5, 5)], COST, limits, routing="cache aware").hit_fraction is None
