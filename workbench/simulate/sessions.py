"""Sessions of coding agents: turns that each go on from all before, with pauses of tools and of people between them.

The distributions are the defaults of AIPerf's generator of agentic code data sets (github.com/ai-dynamo/aiperf,
src/aiperf/dataset/agentic_code_gen/models.py, read 2026-11-30). They are assumptions of a load generator, not a measurement.
"""

import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import accumulate
from math import inf, log, sqrt

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.core.traffic import Arrival
from workbench.simulate.engine import Engine, EngineLimits
from workbench.simulate.routing import Replicas, Routing, answered, chosen_engine, require_routing
from workbench.simulate.step_cost import StepCost

BLOCK_TOKENS = 512  # block_size
SYSTEM_TOKENS, GROUP_TOKENS = (
    32_000,
    20_000,
)  # layer1_tokens, layer1_5_tokens: tools and system prompt; a repository's context
GROUPS, GROUP_SKEW = 50, 1.2  # num_groups, zipf_alpha
START_TOKENS = (10_000.0, 5_000.0)  # layer2: mean and median of what only this session begins with
NEW_TOKENS = (3_500.0, 1_800.0)  # new_tokens_per_turn
ANSWER_TOKENS = (500.0, 300.0)  # generation_length
TOOL_FRACTION = 0.7  # agentic_fraction: turns that a tool's result begins
TOOL_PAUSE_S, PERSON_PAUSE_S = (2.5, 1.8), (40.0, 25.0)  # agentic_delay, human_delay
END_PROBABILITY, END_SCALING = 0.02, 2.0  # reset: after a turn, and its multiple at the longest prompt
MOST_TOKENS = 200_000  # max_prompt_tokens
LEAST_TOKENS = 1  # of a turn's new text and of an answer
LEAST_PAUSE_S = 0.1  # own choice: no tool and no person is faster


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a session."""

    pause_s: float
    """Time from the answer before it; 0 for the first."""
    input_tokens: int
    """All of the context: the turns and answers before it, and what is new."""
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Session:
    """Turns of one agent, of which each waits for the answer before it."""

    start_s: float
    turns: Sequence[Turn]
    hash_ids: Sequence[int]
    """Ids of the blocks of its last prompt; earlier prompts are the beginning of it."""


def draw_sessions(n: int, *, requests_per_s: float, seed: int, most_tokens: int = MOST_TOKENS) -> list[Session]:
    """Return sessions that start at random (Poisson).

    Args:
        n: Number of sessions.
        requests_per_s: Mean rate of turns, over all sessions, while sessions start.
        seed: Seed of the drawing.
        most_tokens: Most tokens of a prompt and its answer; a session that reaches them ends.

    Raises:
        InvalidSpec: Prompts of that length are shorter than what sessions begin with.
    """
    least = SYSTEM_TOKENS + GROUP_TOKENS + round(START_TOKENS[0])
    if n < 1 or requests_per_s <= 0 or most_tokens < least:
        raise InvalidSpec(
            gettext(
                "{n} sessions with {rate} requests/s and at most {most} tokens, of which they begin with {least}."
            ).format(n=n, rate=requests_per_s, most=f"{most_tokens:,}", least=f"{least:,}"),
            remedy=gettext("Give 1 or more sessions, a rate above zero, and a model for longer contexts."),
        )
    rng = random.Random(seed)
    weights = list(accumulate((k + 1) ** -GROUP_SKEW for k in range(GROUPS)))
    turns = [_turns(rng, min(MOST_TOKENS, most_tokens)) for _ in range(n)]
    starts_per_s = requests_per_s * n / sum(map(len, turns))
    shared, by_group = SYSTEM_TOKENS // BLOCK_TOKENS, (SYSTEM_TOKENS + GROUP_TOKENS) // BLOCK_TOKENS
    at_s, next_id, made = 0.0, by_group * (GROUPS + 1), []
    for its in turns:
        at_s += rng.expovariate(starts_per_s)
        group = 1 + bisect(weights, rng.random() * weights[-1])
        n_blocks = -(-its[-1].input_tokens // BLOCK_TOKENS)
        ids = [*range(shared), *range(group * by_group + shared, (group + 1) * by_group)]
        ids += range(next_id, next_id + n_blocks - by_group)
        next_id += n_blocks - by_group
        made.append(Session(at_s, its, tuple(ids)))
    return made


def _turns(rng: random.Random, most_tokens: int) -> list[Turn]:
    room = most_tokens - SYSTEM_TOKENS - GROUP_TOKENS
    prompt = SYSTEM_TOKENS + GROUP_TOKENS + min(_drawn(rng, START_TOKENS), room // 2)
    turns: list[Turn] = []
    pause_s = 0.0
    while True:
        answer = _drawn(rng, ANSWER_TOKENS)
        if turns and prompt + answer > most_tokens:
            return turns
        turns.append(Turn(pause_s, prompt, min(answer, most_tokens - prompt)))
        ends = END_PROBABILITY * (1 + (END_SCALING - 1) * prompt / most_tokens)
        if rng.random() < ends:
            return turns
        pause_s = max(LEAST_PAUSE_S, _lognormal(rng, TOOL_PAUSE_S if rng.random() < TOOL_FRACTION else PERSON_PAUSE_S))
        prompt += answer + _drawn(rng, NEW_TOKENS)


def _lognormal(rng: random.Random, mean_and_median: tuple[float, float]) -> float:
    mean, median = mean_and_median
    return rng.lognormvariate(log(median), sqrt(2 * log(mean / median)))


def _drawn(rng: random.Random, mean_and_median: tuple[float, float]) -> int:
    return max(LEAST_TOKENS, round(_lognormal(rng, mean_and_median)))


def sessions_of_replicas(
    n: int, sessions: Sequence[Session], cost: StepCost, limits: EngineLimits, *, routing: Routing = "round robin"
) -> tuple[Replicas, list[Arrival]]:
    """Return what engines behind a router did with sessions, and the requests in the order of their times.

    Each turn is sent its pause after the end of the answer before it. Engines go on together, none further than to the end of the
    shortest pause from where the last one is: nothing that they do can bring a request before that.

    Raises ``DoesNotFit`` when a request alone is longer than a cache.
    """
    require_routing(n, routing)
    coming = [(session.start_s, k, 0) for k, session in enumerate(sessions)]
    heapify(coming)
    sent: list[Arrival] = []
    origin: list[tuple[int, int]] = []  # session and turn of each request

    def follow(index: int, end_s: float) -> None:
        k, turn = origin[index][0], origin[index][1] + 1
        if turn < len(sessions[k].turns):
            heappush(coming, (end_s + sessions[k].turns[turn].pause_s, k, turn))

    shortest_s = min((t.pause_s for s in sessions for t in s.turns[1:]), default=0.0)
    engines = [Engine(cost, limits, has_hash_ids=True, ended=follow) for _ in range(n)]
    while coming or not all(e.is_idle for e in engines):
        busy = [e for e in engines if not e.is_idle]
        settled_s = min((e.now_s for e in busy), default=inf) + shortest_s
        next_s = coming[0][0] if coming else inf
        for engine in busy:
            engine.advance(min(next_s, settled_s))
        if next_s <= settled_s:
            at_s, k, turn = heappop(coming)
            origin.append((k, turn))
            sent.append(_arrival(sessions[k], turn, at_s))
            chosen_engine(engines, len(sent) - 1, sent[-1], routing).add(len(sent) - 1, sent[-1])
    return answered(engines, sent), sent


def arrivals_of(sessions: Sequence[Session]) -> list[Arrival]:
    """Return the requests of sessions as if answers took no time, session by session."""
    made = []
    for session in sessions:
        at_s = accumulate((t.pause_s for t in session.turns), initial=session.start_s)
        made += [_arrival(session, turn, at) for turn, at in zip(range(len(session.turns)), at_s, strict=False)]
    return made


def _arrival(session: Session, turn: int, at_s: float) -> Arrival:
    its = session.turns[turn]
    ids = session.hash_ids[: -(-its.input_tokens // BLOCK_TOKENS)]
    return Arrival(at_s, its.input_tokens, its.output_tokens, tuple(ids), BLOCK_TOKENS)
