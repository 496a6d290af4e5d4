"""A serving engine with continuous batching, stepped with given times.

As vLLM's scheduler does by default: in every step each running sequence gets one token, and what is left of the token budget
goes to waiting prompts, in chunks, first come first served. A sequence needs room in the cache for its prompt to start; when
the cache is full the youngest sequence is thrown out and read again later. Steps in which only decoding happens are taken
together up to the next arrival or end, so that the work is in proportion to the requests, not to the tokens.
A busy engine settles the next step while one is under way (asynchronous scheduling): a request that comes meanwhile is in the step
after that one. Requests whose trace names the blocks of their prompts share them, and find what earlier ones left (``prefix_cache``).
"""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from math import ceil, inf, sqrt

from workbench.core.checks import require_positive
from workbench.core.errors import DoesNotFit, InvalidSpec
from workbench.core.language import gettext
from workbench.core.traffic import Arrival
from workbench.simulate.prefix_cache import BLOCK_TOKENS, Held, PrefixCache, Prompt
from workbench.simulate.step_cost import AT_ONCE, Front, StepCost


@dataclass(frozen=True, slots=True)
class Answer:
    """How one request was answered."""

    ttft_s: float
    """Time from its arrival to its first token."""
    e2e_s: float
    output_tokens: int
    n_preempted: int

    @property
    def tpot_s(self) -> float | None:
        """Mean time of the tokens after the first; None where there is one only."""
        return (self.e2e_s - self.ttft_s) / (self.output_tokens - 1) if self.output_tokens > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """Limits of an engine's batch, cache and token budget."""

    token_budget: int = 8192
    """Tokens of a step, as ``--max-num-batched-tokens``."""
    max_sequences: int = 256
    cache_tokens: int = 1_000_000
    settles_ahead: bool = True
    """Whether the next step is settled while one is under way, as vLLM does unless ``--no-async-scheduling``."""
    front: Front = AT_ONCE
    """Way of a request to the scheduler."""
    cached_fraction: float = 0.0
    """Share of each prompt that the prefix cache holds; these tokens need no prefill, but take room all the same (for each
    sequence, though sequences may share them: the cache looks fuller than it would be). Prompts with hash ids have no need of it."""
    has_prefix_cache: bool = True
    """Whether prompts with hash ids share their blocks, and find those of earlier ones."""

    def __post_init__(self) -> None:
        require_positive(self, "token_budget", "max_sequences", "cache_tokens")
        if not 0 <= self.cached_fraction < 1:
            cause = gettext("A cached share of {share}.").format(share=self.cached_fraction)
            raise InvalidSpec(cause, remedy=gettext("Give a share below 1."))
        if self.token_budget <= self.max_sequences:
            raise InvalidSpec(
                gettext("A budget of {budget} tokens leaves no room for prompts with {n} sequences.").format(
                    budget=self.token_budget, n=self.max_sequences
                ),
                remedy=gettext("Give a larger budget."),
            )


Moment = tuple[float, int, int, int]
"""An engine after a step, or after several in which nobody came and nobody went: seconds, requests that wait, sequences
that run, tokens in the cache."""


@dataclass(slots=True)
class _Sequence:
    index: int
    arrival: Arrival
    seen_s: float
    """When the scheduler has it."""
    unread: int
    """Tokens of the prompt (and, after a preemption, of the answer so far) that are not in the cache."""
    cached: int = 0
    made: int = 0
    first_s: float = 0.0
    due: int = 0
    """Step in which the last token is made."""
    n_preempted: int = 0
    is_running: bool = False
    held: Held | None = None
    """Its blocks, where there is a prefix cache."""
    begun_with: int = 0
    """Tokens that it had when it was given its blocks."""


class Engine:
    """One simulated replica of an engine.

    ``run`` takes all arrivals at once. A router adds them one by one, in the order of their times: ``advance`` to the time
    of an arrival, look at ``outstanding_tokens``, then ``add``; at last ``advance`` without an end.
    """

    def __init__(
        self,
        cost: StepCost,
        limits: EngineLimits,
        *,
        has_hash_ids: bool = False,
        ended: Callable[[int, float], None] | None = None,
    ) -> None:
        """Make an idle engine.

        Args:
            cost: Time of its steps.
            limits: Its limits.
            has_hash_ids: Whether requests will say what their prompts are made of; ``run`` looks for itself.
            ended: Called with the number and the end of each request; may add others.
        """
        self.cost, self.limits, self._ended = cost, limits, ended
        self.answers: dict[int, Answer] = {}
        """By the number that ``add`` was given."""
        self.moments: list[Moment] = []
        self.outstanding_tokens = 0
        """Prompt and answer tokens of requests that were added and have not ended."""
        self._coming: deque[_Sequence] = deque()
        self.now_s, self.n_steps, self.busy_s = 0.0, 0, 0.0
        self.peak_cached_tokens = 0
        self.blocks: PrefixCache | None = None
        """The cache in blocks, where requests have hash ids; where not, its tokens are counted."""
        if has_hash_ids and limits.has_prefix_cache:
            self.blocks = PrefixCache(limits.cache_tokens // BLOCK_TOKENS)
        self.hit_tokens = self.prompt_tokens = 0
        """Tokens of prompts that began, and those of them that the prefix cache had."""
        self._grown = self._grown_blocks = 0  # tokens that running sequences made, and the blocks that they took
        self._full_since: int | None = None  # requests that had ended when the cache had no room for the first one
        self._seen_s = 0.0  # when the front end had passed the last request on
        self._settled_s = 0.0  # when the step that comes was settled: whoever came later is not in it
        self._step = 0  # steps in which running sequences got a token
        self._running = 0
        self._cached = 0  # tokens of running sequences and of the prompt that is being read
        self._waiting: deque[_Sequence] = deque()
        self._ends: list[tuple[int, int, _Sequence]] = []
        self._by_age: list[tuple[int, int, _Sequence]] = []  # youngest first
        self._tie = count()

    @property
    def is_idle(self) -> bool:
        """Return whether all that were added have been answered."""
        return not (self._coming or self._waiting or self._running)

    def run(self, arrivals: Sequence[Arrival]) -> list[Answer]:
        """Return the answers to all arrivals, in their order.

        Raises ``DoesNotFit`` when a request alone is longer than the cache.
        """
        if self.limits.has_prefix_cache and any(a.hash_ids for a in arrivals):
            self.blocks = PrefixCache(self.limits.cache_tokens // BLOCK_TOKENS)
        for i in sorted(range(len(arrivals)), key=lambda i: arrivals[i].at_s):
            self.add(i, arrivals[i])
        self.advance()
        return [self.answers[i] for i in range(len(arrivals))]

    def add(self, index: int, arrival: Arrival) -> None:
        """Take a request that comes no earlier than those before it; ``answers[index]`` will hold its answer."""
        if arrival.input_tokens < 1 or arrival.output_tokens < 1:
            cause = gettext("{arrival} has no tokens.").format(arrival=arrival)
            raise InvalidSpec(cause, remedy=gettext("Give 1 or more of each."))
        length = arrival.input_tokens + arrival.output_tokens
        room = self.limits.cache_tokens if self.blocks is None else BLOCK_TOKENS * self.blocks.n_blocks
        if length > room:
            cause = gettext("A request of {n} tokens is longer than the cache: {room}.").format(n=length, room=room)
            raise DoesNotFit(cause, remedy=gettext("Give the cache more memory, or limit the context."))
        self.outstanding_tokens += length
        self._seen_s = max(arrival.at_s + self.limits.front.base_s, self._seen_s + self.limits.front.request_s)
        self._coming.append(_Sequence(index, arrival, self._seen_s, unread=arrival.input_tokens))

    def advance(self, until_s: float = inf) -> None:
        """Take all steps that are settled before a moment; later requests cannot be in them."""
        moments = self.moments
        while self._coming or self._waiting or self._running:
            if not self._waiting and not self._running:
                self.now_s = self._settled_s = max(self.now_s, self._next_seen_s())
            if self._settled_s >= until_s:
                return
            while self._coming and self._next_seen_s() <= self._settled_s:
                self._waiting.append(self._coming.popleft())
            if self._can_read():
                self._mixed_step()
            else:
                self._decode_until(self._next_seen_s() if self._coming else until_s)
            self._collect()
            cached = self._cached if self.blocks is None else self._held_tokens(self.blocks)
            moments.append((self.now_s, len(self._waiting), self._running, cached))

    def _next_seen_s(self) -> float:
        """Return when the scheduler sees the request that comes next."""
        return self._coming[0].seen_s + self.limits.front.stream_s * self._running

    def known_tokens(self, arrival: Arrival) -> int:
        """Return the tokens of a prompt that the prefix cache holds now."""
        if self.blocks is None:
            return 0
        return self.blocks.known_tokens(Prompt(arrival.input_tokens, arrival.hash_ids, arrival.block_tokens))

    def _can_read(self) -> bool:
        if not self._waiting:
            return False
        first = self._waiting[0]
        if self._running == 0:
            return True
        started = first.cached > 0
        return self._running < self.limits.max_sequences and (started or self._fits(first, self._running))

    def _fits(self, s: _Sequence, n_running: int) -> bool:
        """Return whether there is room for a whole prompt, and for a token of each running sequence."""
        if self.blocks is None:
            return s.unread <= self.limits.cache_tokens - self._cached - n_running
        if self._full_since == len(self.answers):
            return False  # only the end of a request makes room
        free = self.blocks.n_free - self._growth_blocks(n_running)
        prompt = _prompt_of(s)
        if prompt.n_blocks <= free or self.blocks.claim(prompt) <= free:
            return True
        self._full_since = len(self.answers)
        return False

    def _held_tokens(self, blocks: PrefixCache) -> int:
        return BLOCK_TOKENS * (blocks.n_blocks - blocks.n_free)

    def _growth_blocks(self, n_tokens: int) -> int:
        """Return the blocks that so many tokens more of the running sequences take."""
        return max(0, (self._grown + n_tokens) // BLOCK_TOKENS - self._grown_blocks)

    def _begin(self, first: _Sequence) -> None:
        """Give a prompt what the prefix cache has of it."""
        if self.blocks is None:
            known = int(self.limits.cached_fraction * first.arrival.input_tokens)
        else:
            first.begun_with = first.unread
            first.held = self.blocks.begin(_prompt_of(first))
            known = first.held.hit_tokens
            if not first.n_preempted:  # as vLLM's counters
                self.hit_tokens += known
                self.prompt_tokens += first.arrival.input_tokens
        first.unread -= known
        first.cached += known
        self._cached += known

    def _end_blocks(self, blocks: PrefixCache, s: _Sequence, held_tokens: int) -> None:
        assert s.held is not None
        self._grown -= held_tokens - s.begun_with
        grown = max(0, self._grown_blocks - self._grown // BLOCK_TOKENS)
        self._grown_blocks -= grown
        blocks.end(s.held, grown=grown)
        s.held = None
        self._full_since = None

    def _mixed_step(self) -> None:
        """Take one step with prompts in it."""
        self._make_room_for_begun()
        budget = self.limits.token_budget - self._running
        read, pairs, before = 0, 0.0, self._cached
        done: list[_Sequence] = []
        running = self._running
        while self._waiting and budget > 0 and running + len(done) < self.limits.max_sequences:
            first = self._waiting[0]
            if first.cached == 0:
                if (self._running or done) and not self._fits(first, self._running + len(done)):
                    break
                self._begin(first)
            chunk = min(budget, first.unread)
            pairs += chunk * (first.cached + 0.5 * chunk)
            first.unread -= chunk
            first.cached += chunk
            self._cached += chunk
            budget -= chunk
            read += chunk
            if first.unread:
                break
            done.append(self._waiting.popleft())
        duration = self.cost.mixed_s(running + len(done), read, pairs, before)
        self._advance(1, duration, last_s=duration)
        for s in done:
            s.made += 1
            if s.made == 1:
                s.first_s = self.now_s
            s.due = self._step + s.arrival.output_tokens - s.made
            s.is_running = True
            self._running += 1
            heapq.heappush(self._ends, (s.due, next(self._tie), s))
            heapq.heappush(self._by_age, (-s.index, next(self._tie), s))

    def _make_room_for_begun(self) -> None:
        """Preempt the youngest sequences where the next chunk of a long prompt needs their room."""
        first = self._waiting[0]
        while first.cached and self._running:
            if self.blocks is not None:  # the prompt has its blocks already
                if self._growth_blocks(self._running) <= self.blocks.n_free:
                    return
                self._throw_out()
                continue
            piece = min(self.limits.token_budget - self._running, first.unread)
            if self._cached + self._running + piece <= self.limits.cache_tokens:
                return
            self._throw_out()

    def _decode_until(self, next_s: float) -> None:
        """Take steps of decoding alone, up to the next end, the next arrival, or a full cache."""
        while self._room_tokens() < self._running and self._running > 1:
            self._throw_out()
        c, b = self.cost, self._running
        per_step = c.decode_s(b, self._cached)
        growth = c.cached_token_s * b
        wanted = max(1, min(self._ends[0][0] - self._step, self._room_tokens() // b))
        if next_s <= self.now_s:
            wanted = 1
        elif next_s < inf:
            wanted = min(wanted, max(1, _steps_within(next_s - self.now_s, per_step, growth)))
        duration = wanted * per_step + growth * wanted * (wanted - 1) / 2
        self._advance(wanted, duration, last_s=per_step + growth * (wanted - 1))

    def _room_tokens(self) -> int:
        """Return the tokens that running sequences can make until the cache is full."""
        if self.blocks is None:
            return self.limits.cache_tokens - self._cached
        return BLOCK_TOKENS * (self._grown_blocks + self.blocks.n_free + 1) - 1 - self._grown

    def _advance(self, n_steps: int, duration_s: float, *, last_s: float) -> None:
        made = self._running * n_steps
        self._cached += made
        if self.blocks is None:
            self.peak_cached_tokens = max(self.peak_cached_tokens, self._cached)
        else:
            needed = self._growth_blocks(made)
            self._grown += made
            if needed:
                self._grown_blocks += self.blocks.grow(needed)
            self.peak_cached_tokens = max(self.peak_cached_tokens, self._held_tokens(self.blocks))
        self._step += n_steps
        self.n_steps += n_steps
        self.now_s += duration_s
        self._settled_s = self.now_s - last_s if self.limits.settles_ahead else self.now_s
        self.busy_s += duration_s

    def _throw_out(self) -> None:
        """Preempt the youngest sequence: it frees its cache and queues for another prefill, behind a prompt in progress."""
        while True:
            _, _, s = heapq.heappop(self._by_age)
            if s.is_running:
                break
        made = s.arrival.output_tokens - (s.due - self._step)
        held = s.arrival.input_tokens + made - 1
        s.is_running = False
        s.n_preempted += 1
        self._running -= 1
        self._cached -= held
        if self.blocks is not None:
            self._end_blocks(self.blocks, s, held)
        self._ends = [e for e in self._ends if e[2] is not s]
        heapq.heapify(self._ends)
        s.made, s.cached, s.unread = made, 0, held + 1
        has_begun = bool(self._waiting) and self._waiting[0].cached > 0
        self._waiting.insert(1 if has_begun else 0, s)

    def _collect(self) -> None:
        while self._ends and self._ends[0][0] <= self._step:
            _, _, s = heapq.heappop(self._ends)
            s.is_running = False
            self._running -= 1
            held = s.arrival.input_tokens + s.arrival.output_tokens - 1
            self._cached -= held
            if self.blocks is not None:
                self._end_blocks(self.blocks, s, held)
            self.outstanding_tokens -= s.arrival.input_tokens + s.arrival.output_tokens
            self.answers[s.index] = Answer(
                ttft_s=s.first_s - s.arrival.at_s,
                e2e_s=self.now_s - s.arrival.at_s,
                output_tokens=s.arrival.output_tokens,
                n_preempted=s.n_preempted,
            )
            if self._ended is not None:
                self._ended(s.index, self.now_s)


def _prompt_of(s: _Sequence) -> Prompt:
    """Return what is to be read of a sequence, after a preemption with the answer so far."""
    return Prompt(s.unread, s.arrival.hash_ids, s.arrival.block_tokens)


def _steps_within(seconds: float, per_step: float, growth: float) -> int:
    """Return the least number of steps after which so much time has passed, when each takes ``growth`` longer than the last."""
    if growth <= 0:
        return ceil(seconds / per_step)
    half = per_step - growth / 2
    return ceil((-half + sqrt(half * half + 2 * growth * seconds)) / growth)
