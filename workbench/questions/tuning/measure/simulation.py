"""A load on a simulated engine with the limits of a setting."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workbench.core.traffic import Arrival
from workbench.engines.vllm_settings import VllmSetting
from workbench.load.schedule import schedule
from workbench.questions.tuning.rows import RequestTimes
from workbench.questions.tuning.spec import TuneSpec
from workbench.simulate.engine import Answer, Engine, EngineLimits
from workbench.simulate.prefix_cache import BLOCK_TOKENS
from workbench.simulate.sessions import BLOCK_TOKENS as SESSION_BLOCK
from workbench.simulate.sessions import Session, Turn, sessions_of_replicas
from workbench.simulate.step_cost import Front, StepCost

PAUSE_S = 1e-3  # between an answer and the next turn, which the load generator sends at once


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedLoad:
    """The requests that the load generator would send with a seed."""

    arrivals: Sequence[Arrival]
    """With their times; of a closed loop the lengths alone, in the order in which they are taken."""
    users: int | None
    duration_s: float
    turns: int = 1
    """Turns of the session that each arrival begins."""


def simulated_load(spec: TuneSpec, seed: int) -> SimulatedLoad:
    """Return the requests of a spec's load: the same times and lengths as are sent."""
    planned = schedule(spec.load("http://127.0.0.1:1", "model", seed=seed))
    shared = spec.shared_prefix_tokens // BLOCK_TOKENS * BLOCK_TOKENS
    due = planned.due_s or (0.0,) * len(planned.input_tokens)
    named = planned.hash_ids or (((0,) if shared else ()),) * len(due)
    block = planned.block_tokens if planned.hash_ids else shared or BLOCK_TOKENS
    lengths = zip(planned.input_tokens, planned.output_tokens, strict=True)
    arrivals = [
        Arrival(at_s, n_in, n_out, ids, block) for at_s, (n_in, n_out), ids in zip(due, lengths, named, strict=True)
    ]
    return SimulatedLoad(
        arrivals=arrivals,
        users=None if planned.due_s else spec.concurrency,
        duration_s=spec.duration_s,
        turns=spec.turns,
    )


def limits_of(setting: VllmSetting, *, cache_tokens: int, front: Front) -> EngineLimits:
    """Return the simulated engine's limits of a setting; its step must hold one token more than the sequences."""
    return EngineLimits(
        token_budget=max(setting.max_num_batched_tokens, setting.max_num_seqs + 1),
        max_sequences=setting.max_num_seqs,
        cache_tokens=cache_tokens,
        has_prefix_cache=setting.prefix_caching,
        settles_ahead=setting.async_scheduling,
        front=front,
    )


def simulated(load: SimulatedLoad, cost: StepCost, limits: EngineLimits) -> RequestTimes:
    """Return the times of the requests; raises ``DoesNotFit`` where one alone is longer than the cache."""
    if load.turns > 1:
        done, following = sessions_of_replicas(1, _sessions(load), cost, limits)
        return request_times(following, done.answers)
    if load.users is None:
        answers = Engine(cost, limits).run(load.arrivals)
        return request_times(load.arrivals, answers)
    sent: list[Arrival] = []

    def send(at_s: float) -> None:
        if at_s < load.duration_s:
            sent.append(replace(load.arrivals[len(sent) % len(load.arrivals)], at_s=at_s))
            engine.add(len(sent) - 1, sent[-1])

    has_ids = bool(load.arrivals[0].hash_ids)
    engine = Engine(cost, limits, has_hash_ids=has_ids, ended=lambda _, at_s: send(at_s))
    for _ in range(load.users):
        send(0.0)
    engine.advance()
    return request_times(sent, [engine.answers[i] for i in range(len(sent))])


def _sessions(load: SimulatedLoad) -> list[Session]:
    """Return the conversations that the arrivals begin: each turn brings a prompt and an answer of the same lengths to all before it."""
    made, next_id = [], 1
    for a in load.arrivals:
        both = a.input_tokens + a.output_tokens
        turns = [Turn(PAUSE_S if k else 0.0, k * both + a.input_tokens, a.output_tokens) for k in range(load.turns)]
        n_blocks = -(-turns[-1].input_tokens // SESSION_BLOCK)
        made.append(Session(a.at_s, turns, tuple(range(next_id, next_id + n_blocks))))
        next_id += n_blocks
    return made


def request_times(arrivals: Sequence[Arrival], answers: Sequence[Answer]) -> RequestTimes:
    """Return what became of requests, rounded to 0.1 ms."""
    return RequestTimes(
        due_s=[round(a.at_s, 4) for a in arrivals],
        ttft_s=[round(a.ttft_s, 4) for a in answers],
        tpot_s=[None if a.tpot_s is None else round(a.tpot_s, 5) for a in answers],
        e2e_s=[round(a.e2e_s, 4) for a in answers],
        output_tokens=[a.output_tokens for a in answers],
    )
