"""Prefill and decode on engines of their own, with the KV cache sent from the first to the second.

A prompt is read by a prefill engine; its cache then crosses that engine's link, one prompt after the other, and the decode engine makes
every token of the answer. A first token is late by the whole transfer: connectors that send layer by layer hide a part of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.core.traffic import Arrival
from workbench.simulate.engine import Answer, Engine, EngineLimits
from workbench.simulate.routing import chosen_engine
from workbench.simulate.step_cost import AT_ONCE, StepCost

ANY_BUDGET = 10**9
"""Tokens of a step of a decode engine, for which received prompts are no work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """How the cache of a prompt gets from one engine to another."""

    bytes_per_token: float
    bytes_per_s: float
    """Of the link of one prefill engine."""
    latency_s: float = 0.0

    def __post_init__(self) -> None:
        require_positive(self, "bytes_per_token", "bytes_per_s")

    def seconds(self, tokens: int) -> float:
        """Return the time of a prompt's cache on the link."""
        return self.latency_s + tokens * self.bytes_per_token / self.bytes_per_s


@dataclass(frozen=True, slots=True)
class _Received:
    """Steps of an engine whose prompts come with their cache."""

    cost: StepCost

    @property
    def cached_token_s(self) -> float:
        """Time to read one token of the cache."""
        return self.cost.cached_token_s

    def decode_s(self, sequences: int, cached: int) -> float:
        """Return the time of a step in which every sequence gets a token."""
        return self.cost.decode_s(sequences, cached)

    def mixed_s(self, sequences: int, read: int, pairs: float, cached: int) -> float:  # noqa: ARG002 nothing is computed of prompts
        """Return the time of a step in which sequences begin too."""
        return self.cost.decode_s(sequences, cached + read)

    def scaled(self, steps: float, prompts: float) -> "_Received":
        """Return the cost with decode and prefill taking so many times as long."""
        return _Received(self.cost.scaled(steps, prompts))


def split_replicas(
    n_prefill: int,
    n_decode: int,
    arrivals: Sequence[Arrival],
    cost: StepCost,
    limits: EngineLimits,
    *,
    transfer: Transfer,
) -> list[Answer]:
    """Return what prefill and decode engines do with arrivals, each sent to the least loaded one of its kind.

    Raises:
        InvalidSpec: One kind has no engine.
        DoesNotFit: A request alone is longer than a cache.
    """
    if n_prefill < 1 or n_decode < 1:
        raise InvalidSpec(
            gettext("{n_prefill} prefill and {n_decode} decode engines.").format(
                n_prefill=n_prefill, n_decode=n_decode
            ),
            remedy=gettext("Give each kind one engine or more."),
        )
    plain = [replace(a, hash_ids=()) for a in arrivals]
    prefill = [Engine(cost, limits) for _ in range(n_prefill)]
    first = _routed(prefill, [replace(a, output_tokens=1) for a in plain])
    free_s, sent_s = [0.0] * n_prefill, [0.0] * len(plain)
    for i in sorted(range(len(plain)), key=lambda i: plain[i].at_s + first[i][1].e2e_s):
        engine, answer = first[i]
        free_s[engine] = max(free_s[engine], plain[i].at_s + answer.e2e_s) + transfer.seconds(plain[i].input_tokens)
        sent_s[i] = free_s[engine]
    received = replace(limits, token_budget=ANY_BUDGET, front=AT_ONCE)
    decode = [Engine(_Received(cost), received) for _ in range(n_decode)]
    second = _routed(decode, [replace(a, at_s=at) for a, at in zip(plain, sent_s, strict=True)])
    return [
        replace(answer, ttft_s=at + answer.ttft_s - a.at_s, e2e_s=at + answer.e2e_s - a.at_s)
        for a, at, (_, answer) in zip(plain, sent_s, second, strict=True)
    ]


def _routed(engines: Sequence[Engine], arrivals: Sequence[Arrival]) -> list[tuple[int, Answer]]:
    """Return the engine and the answer of each arrival."""
    place = [0] * len(arrivals)
    for turn, i in enumerate(sorted(range(len(arrivals)), key=lambda i: arrivals[i].at_s)):
        for engine in engines:
            engine.advance(arrivals[i].at_s)
        chosen = chosen_engine(engines, turn, arrivals[i], "least loaded")
        chosen.add(i, arrivals[i])
        place[i] = engines.index(chosen)
    for engine in engines:
        engine.advance()
    return [(at, engines[at].answers[i]) for i, at in enumerate(place)]
