"""Bookkeeping of a paged cache."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from workbench.core.errors import DoesNotFit, InvalidSpec
from workbench.estimate.kv_blocks import BlockManager


def test_a_prefix_that_is_there_already_is_shared():
    cache = BlockManager(8, block_tokens=4)
    assert cache.add("a", list(range(10))) == 0
    assert cache.add("b", [*range(8), 99, 98]) == 8
    assert cache.blocks_of("a")[:2] == cache.blocks_of("b")[:2]
    assert cache.blocks_of("a")[2] != cache.blocks_of("b")[2]
    seen = cache.occupancy()
    assert (seen.in_use, seen.shared, seen.tokens) == (4, 2, 12)
    assert seen.internal_fragmentation_fraction == pytest.approx(1 - 12 / 16)


def test_the_same_block_after_another_prefix_is_another_block():
    cache = BlockManager(8, block_tokens=2)
    cache.add("a", [1, 2, 3, 4])
    assert cache.add("b", [9, 9, 3, 4]) == 0
    assert not set(cache.blocks_of("a")) & set(cache.blocks_of("b"))


def test_what_was_freed_is_found_again_until_its_room_is_needed():
    cache = BlockManager(4, block_tokens=2)
    cache.add("a", [1, 2, 3, 4])
    cache.free("a")
    assert (cache.n_free, cache.occupancy().cached) == (4, 2)
    assert cache.add("b", [1, 2, 3, 4, 5]) == 4
    cache.free("b")
    cache.add("c", [7] * 8)
    assert cache.n_evicted == 2
    cache.free("c")
    assert cache.add("d", [1, 2, 3, 4]) == 0


def test_the_end_of_a_text_is_evicted_before_its_beginning():
    cache = BlockManager(3, block_tokens=1)
    cache.add("a", [1, 2, 3])
    cache.free("a")
    cache.add("b", [9])
    cache.free("b")
    assert cache.add("c", [1, 2]) == 2


def test_without_room_nothing_changes():
    cache = BlockManager(2, block_tokens=2)
    cache.add("a", [1, 2, 3])
    before = cache.occupancy()
    with pytest.raises(DoesNotFit, match="1 blocks are needed and 0 are free"):
        cache.add("b", [5])
    cache.append("a", 4)
    with pytest.raises(DoesNotFit, match="next token"):
        cache.append("a", 5)
    assert cache.occupancy().in_use == before.in_use
    cache.free("a")
    assert cache.n_free == 2


def test_no_sharing_when_it_is_switched_off_and_no_nonsense():
    cache = BlockManager(8, block_tokens=2, share_prefixes=False)
    cache.add("a", [1, 2])
    assert cache.add("b", [1, 2]) == 0
    with pytest.raises(InvalidSpec, match="in the cache already"):
        cache.add("a", [1])
    with pytest.raises(InvalidSpec, match="0 blocks"):
        BlockManager(0)


class Life(RuleBasedStateMachine):
    """Sequences come, grow and go; a plain model of what each holds is kept beside."""

    def __init__(self):
        super().__init__()
        self.cache = BlockManager(12, block_tokens=3)
        self.texts = {}
        self.count = 0

    @rule(text=st.lists(st.integers(0, 2), min_size=1, max_size=12))
    def add(self, text):
        self.count += 1
        name = str(self.count)
        try:
            hits = self.cache.add(name, text)
        except DoesNotFit:
            return
        assert hits <= len(text)
        self.texts[name] = list(text)

    @rule(token=st.integers(0, 2), which=st.integers(0, 100))
    def append(self, token, which):
        if self.texts:
            name = sorted(self.texts)[which % len(self.texts)]
            try:
                self.cache.append(name, token)
            except DoesNotFit:
                return
            self.texts[name].append(token)

    @rule(which=st.integers(0, 100))
    def free(self, which):
        if self.texts:
            name = sorted(self.texts)[which % len(self.texts)]
            self.cache.free(name)
            del self.texts[name]

    @invariant()
    def blocks_add_up_and_a_shared_block_has_one_text(self):
        seen = self.cache.occupancy()
        content = {}
        for name, text in self.texts.items():
            blocks = self.cache.blocks_of(name)
            assert len(blocks) == -(-len(text) // 3)
            for i, block in enumerate(blocks):
                prefix = tuple(text[: (i + 1) * 3])
                assert content.setdefault(block, prefix) == prefix
        assert seen.in_use == len(content)
        assert seen.in_use + self.cache.n_free == 12
        assert 0 <= seen.internal_fragmentation_fraction < 1


Life.TestCase.settings = settings(max_examples=40, deadline=None)
TestLife = Life.TestCase
