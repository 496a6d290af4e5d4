"""A serving engine with continuous batching, stepped with given times.

As vLLM's scheduler does by default: in every step each running sequence gets one token, and what is left of the token budget
goes to waiting prompts, in chunks, first come first served. A sequence needs room in the cache for its prompt to start; when
the cache is full the youngest sequence is thrown out and read again later. Steps in which only decoding happens are taken
together up to the next arrival or end, so that the work is in proportion to the requests, not to the tokens.
A busy engine settles the next step while one is under way (asynchronous scheduling), so whoever comes during a step is seen
in the step after the next.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from math import ceil, inf, sqrt

from workbench.core.checks import require_positive
from workbench.core.errors import DoesNotFit, InvalidSpec
from workbench.core.traffic import Arrival


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of it."""

    ttft_s: float
    """From its arrival to its first token."""
    e2e_s: float
    output_tokens: int
    n_preempted: int

    @property
    def tpot_s(self) -> float | None:
        """Mean time of the tokens after the first; None where there is one only."""
        return (self.e2e_s - self.ttft_s) / (self.output_tokens - 1) if self.output_tokens > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """Time of a step: ``fixed_s``, then for each sequence, each token of prompts, and each token in the cache."""

    fixed_s: float
    sequence_s: float
    prompt_token_s: float
    cached_token_s: float

    def __post_init__(self) -> None:
        require_positive(self, "fixed_s")
        if min(self.sequence_s, self.prompt_token_s, self.cached_token_s) < 0:
            raise InvalidSpec("A part of a step's time is below zero.", remedy="Give times from 0 on.")

    def scaled(self, steps: float, prompts: float) -> "StepCost":
        """With decoding and with reading taking so many times as long."""
        return StepCost(
            fixed_s=self.fixed_s * steps,
            sequence_s=self.sequence_s * steps,
            prompt_token_s=self.prompt_token_s * prompts,
            cached_token_s=self.cached_token_s * steps,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """Settings of the engine."""

    token_budget: int = 8192
    """Tokens of a step, as ``--max-num-batched-tokens``."""
    max_sequences: int = 256
    cache_tokens: int = 1_000_000
    settles_ahead: bool = True
    """Whether the next step is settled while one is under way, as vLLM does unless ``--no-async-scheduling``."""
    cached_fraction: float = 0.0
    """Of each prompt that the prefix cache has already; such tokens are not read, but held all the same (for each
    sequence, though sequences may share them: the cache looks fuller than it would be)."""

    def __post_init__(self) -> None:
        require_positive(self, "token_budget", "max_sequences", "cache_tokens")
        if not 0 <= self.cached_fraction < 1:
            raise InvalidSpec(f"A cached share of {self.cached_fraction}.", remedy="Give a share below 1.")
        if self.token_budget <= self.max_sequences:
            raise InvalidSpec(
                f"A budget of {self.token_budget} tokens leaves nothing for prompts beside {self.max_sequences} sequences.",
                remedy="Give a larger budget.",
            )


Moment = tuple[float, int, int, int]
"""An engine after a step, or after several in which nobody came and nobody went: seconds, requests that wait, sequences
that run, tokens in the cache."""


@dataclass(slots=True)
class _Sequence:
    index: int
    arrival: Arrival
    unread: int
    """Tokens of the prompt (and, after a preemption, of the answer so far) that are not in the cache."""
    cached: int = 0
    made: int = 0
    first_s: float = 0.0
    due: int = 0
    """Step in which the last token is made."""
    n_preempted: int = 0
    is_running: bool = False


class Engine:
    """One replica.

    ``run`` takes all arrivals at once. A router adds them one by one, in the order of their times: ``advance`` to the time
    of an arrival, look at ``outstanding_tokens``, then ``add``; at last ``advance`` without an end.
    """

    def __init__(self, cost: StepCost, limits: EngineLimits) -> None:
        self.cost, self.limits = cost, limits
        self.answers: dict[int, Answer] = {}
        """By the number that ``add`` was given."""
        self.moments: list[Moment] = []
        self.outstanding_tokens = 0
        """Prompt and answer tokens of requests that were added and have not ended."""
        self._coming: deque[_Sequence] = deque()
        self.now_s, self.n_steps, self.busy_s = 0.0, 0, 0.0
        self.peak_cached_tokens, self.n_preemptions = 0, 0
        self._settled_s = 0.0  # when the step that comes was settled: whoever came later is not in it
        self._step = 0  # steps in which running sequences got a token
        self._running = 0
        self._cached = 0  # tokens of running sequences and of the prompt that is being read
        self._waiting: deque[_Sequence] = deque()
        self._ends: list[tuple[int, int, _Sequence]] = []
        self._by_age: list[tuple[int, int, _Sequence]] = []  # youngest first
        self._tie = count()

    def run(self, arrivals: Sequence[Arrival]) -> list[Answer]:
        """The answers to all arrivals, in their order.

        Raises ``DoesNotFit`` when a request alone is longer than the cache.
        """
        for i in sorted(range(len(arrivals)), key=lambda i: arrivals[i].at_s):
            self.add(i, arrivals[i])
        self.advance()
        return [self.answers[i] for i in range(len(arrivals))]

    def add(self, index: int, arrival: Arrival) -> None:
        """Take a request that comes no earlier than those before it; ``answers[index]`` will tell what became of it."""
        if arrival.input_tokens < 1 or arrival.output_tokens < 1:
            raise InvalidSpec(f"{arrival} has no tokens.", remedy="Give 1 or more of each.")
        length = arrival.input_tokens + arrival.output_tokens
        if length > self.limits.cache_tokens:
            raise DoesNotFit(
                f"A request of {length} tokens is longer than the cache: {self.limits.cache_tokens}.",
                remedy="Give the cache more memory, or limit the context.",
            )
        self.outstanding_tokens += length
        self._coming.append(_Sequence(index, arrival, unread=arrival.input_tokens))

    def advance(self, until_s: float = inf) -> None:
        """Take all steps that are settled before a moment; whoever comes later cannot be in them."""
        moments = self.moments
        while self._coming or self._waiting or self._running:
            if not self._waiting and not self._running:
                self.now_s = self._settled_s = max(self.now_s, self._coming[0].arrival.at_s)
            if self._settled_s >= until_s:
                return
            while self._coming and self._coming[0].arrival.at_s <= self._settled_s:
                self._waiting.append(self._coming.popleft())
            if self._can_read():
                self._mixed_step()
            else:
                self._decode_until(self._coming[0].arrival.at_s if self._coming else until_s)
            self._collect()
            moments.append((self.now_s, len(self._waiting), self._running, self._cached))

    def _can_read(self) -> bool:
        if not self._waiting:
            return False
        first = self._waiting[0]
        if self._running == 0:
            return True
        started = first.cached > 0
        room = self.limits.cache_tokens - self._cached - self._running
        return self._running < self.limits.max_sequences and (started or first.unread <= room)

    def _mixed_step(self) -> None:
        """One step with prompts in it."""
        self._make_room_for_begun()
        budget = self.limits.token_budget - self._running
        read = 0
        done: list[_Sequence] = []
        running = self._running
        while self._waiting and budget > 0 and running + len(done) < self.limits.max_sequences:
            first = self._waiting[0]
            room = self.limits.cache_tokens - self._cached - self._running - len(done)
            if first.cached == 0:
                if first.unread > room and (self._running or done):
                    break
                known = int(self.limits.cached_fraction * first.arrival.input_tokens)
                first.unread -= known
                first.cached += known
                self._cached += known
            chunk = min(budget, first.unread)
            first.unread -= chunk
            first.cached += chunk
            self._cached += chunk
            budget -= chunk
            read += chunk
            if first.unread:
                break
            done.append(self._waiting.popleft())
        c = self.cost
        n = running + len(done)
        duration = c.fixed_s + c.sequence_s * n + c.prompt_token_s * read + c.cached_token_s * self._cached
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
        """Answers have grown since a long prompt was begun: the youngest go where its next piece needs their room."""
        first = self._waiting[0]
        while first.cached and self._running:
            piece = min(self.limits.token_budget - self._running, first.unread)
            if self._cached + self._running + piece <= self.limits.cache_tokens:
                return
            self._throw_out()

    def _decode_until(self, next_s: float) -> None:
        """Steps of decoding alone, up to the next end, the next arrival, or a full cache."""
        c, b = self.cost, self._running
        per_step = c.fixed_s + c.sequence_s * b + c.cached_token_s * self._cached
        growth = c.cached_token_s * b
        wanted = max(1, self._ends[0][0] - self._step)
        while self._cached + b > self.limits.cache_tokens and b > 1:
            self._throw_out()
            b = self._running
            per_step = c.fixed_s + c.sequence_s * b + c.cached_token_s * self._cached
            growth = c.cached_token_s * b
            wanted = max(1, self._ends[0][0] - self._step)
        wanted = min(wanted, max(1, (self.limits.cache_tokens - self._cached) // b))
        if next_s <= self.now_s:
            wanted = 1
        elif next_s < inf:
            wanted = min(wanted, max(1, _steps_within(next_s - self.now_s, per_step, growth)))
        duration = wanted * per_step + growth * wanted * (wanted - 1) / 2
        self._advance(wanted, duration, last_s=per_step + growth * (wanted - 1))

    def _advance(self, n_steps: int, duration_s: float, *, last_s: float) -> None:
        self._cached += self._running * n_steps
        self.peak_cached_tokens = max(self.peak_cached_tokens, self._cached)
        self._step += n_steps
        self.n_steps += n_steps
        self.now_s += duration_s
        self._settled_s = self.now_s - last_s if self.limits.settles_ahead else self.now_s
        self.busy_s += duration_s

    def _throw_out(self) -> None:
        """The youngest sequence gives its room back and waits to be read again, behind a prompt that is being read."""
        while True:
            _, _, s = heapq.heappop(self._by_age)
            if s.is_running:
                break
        made = s.arrival.output_tokens - (s.due - self._step)
        held = s.arrival.input_tokens + made - 1
        s.is_running = False
        s.n_preempted += 1
        self.n_preemptions += 1
        self._running -= 1
        self._cached -= held
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
            self._cached -= s.arrival.input_tokens + s.arrival.output_tokens - 1
            self.outstanding_tokens -= s.arrival.input_tokens + s.arrival.output_tokens
            self.answers[s.index] = Answer(
                ttft_s=s.first_s - s.arrival.at_s,
                e2e_s=self.now_s - s.arrival.at_s,
                output_tokens=s.arrival.output_tokens,
                n_preempted=s.n_preempted,
            )


def _steps_within(seconds: float, per_step: float, growth: float) -> int:
    """Least number of steps after which so much time has passed, when each takes ``growth`` longer than the last."""
    if growth <= 0:
        return ceil(seconds / per_step)
    half = per_step - growth / 2
    return ceil((-half + sqrt(half * half + 2 * growth * seconds)) / growth)
