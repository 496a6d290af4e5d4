"""What a prefix cache does to the plan's replicas by its size: hit share, TTFT, and the devices' work that it saves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from workbench.core.errors import DoesNotFit, InvalidSpec
from workbench.core.language import gettext
from workbench.core.traces import read_trace
from workbench.core.traffic import Arrival
from workbench.questions.parallelism.findings.planned import Planned
from workbench.simulate.engine import EngineLimits
from workbench.simulate.planned import PlanTraffic
from workbench.simulate.routing import Replicas, Routing, replicas
from workbench.simulate.sessions import MOST_TOKENS, Session, arrivals_of, draw_sessions, sessions_of_replicas

SESSIONS, LEAST_REPLICAS = 16, 4
MOST_REQUESTS = 1000  # of a trace
BUSY = 0.5  # of the replicas, by the prompts of drawn sessions alone if nothing were cached
N_SIZES = 4
LARGEST = 4.0  # times the room of a replica: a cache that goes on in the host's memory, without the time to fetch it


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePoint:
    """What replicas with caches of one size did under one kind of routing."""

    routing: Routing
    cache_tokens: int
    """Room of the cache of one replica."""
    hit_fraction: float
    """Share of the prompt tokens that the caches had."""
    ttft_p50_s: float
    saved_devices: float
    """Devices' work that is saved over replicas without a prefix cache, of all devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSizes:
    """The same requests with caches of several sizes."""

    about: str
    room_tokens: int
    """Room that the plan's replicas have."""
    points: Sequence[CachePoint]


def cache_sizes(answer: Planned) -> CacheSizes:
    """Return what caches of several sizes do to the trace that was planned for, or to drawn sessions of coding agents without one.

    Raises:
        InvalidSpec: The trace has no hash ids, which say what prompts share.
        DoesNotFit: No plan's mean latencies meet the SLO, or no cache holds the longest request.
    """
    if answer.simulated is None:
        raise DoesNotFit(
            gettext("No plan meets the SLO."), remedy=gettext("Relax the limit that binds, or allow other devices.")
        )
    plan = answer.simulated.plan
    offer = next(o for o in answer.offers if o.device_id == plan.device_id)
    traffic = PlanTraffic(answer.model, plan, answer.spec, offer)
    n = plan.n_replicas
    sessions: list[Session] = []
    if answer.spec.trace:
        arrivals = _with_ids(answer.spec.trace)
        about = gettext("{trace}, first {n} requests").format(trace=answer.spec.trace, n=f"{len(arrivals):,}")
    else:
        n = max(n, LEAST_REPLICAS)
        sessions = _sample(answer, traffic, n)
        arrivals = arrivals_of(sessions)
        about = gettext("{sessions} drawn sessions of coding agents, {n} requests").format(
            sessions=SESSIONS, n=f"{len(arrivals):,}"
        )
    longest = max(a.input_tokens + a.output_tokens for a in arrivals)
    if longest > LARGEST * traffic.cache_tokens:
        raise DoesNotFit(
            gettext(
                "A request of {n} tokens is longer than {factor} times the cache of a replica, {cache} tokens."
            ).format(n=f"{longest:,}", factor=f"{LARGEST:g}", cache=f"{traffic.cache_tokens:,}"),
            remedy=gettext("Choose more devices, or a trace with shorter requests."),
        )

    def run_with(size: int, routing: Routing, *, has_cache: bool = True) -> Replicas:
        limits = EngineLimits(cache_tokens=size, has_prefix_cache=has_cache)
        if sessions:
            return sessions_of_replicas(n, sessions, traffic.cost, limits, routing=routing)[0]
        return replicas(n, arrivals, traffic.cost, limits, routing=routing)

    least = min(max(1.05 * longest, traffic.cache_tokens / 8), LARGEST * traffic.cache_tokens)
    sizes = [round(s) for s in np.geomspace(least, LARGEST * traffic.cache_tokens, N_SIZES)]
    without = run_with(
        traffic.cache_tokens if longest < traffic.cache_tokens else sizes[-1], "least loaded", has_cache=False
    ).busy_s
    points = []
    for routing in get_args(Routing):
        for size in sizes:
            done = run_with(size, routing)
            points.append(
                CachePoint(
                    routing=routing,
                    cache_tokens=size,
                    hit_fraction=done.hit_fraction or 0.0,
                    ttft_p50_s=float(np.median([a.ttft_s for a in done.answers])),
                    saved_devices=n * plan.n_devices * (1 - done.busy_s / without),
                )
            )
    return CacheSizes(about=about, room_tokens=traffic.cache_tokens, points=points)


def _with_ids(place: str) -> list[Arrival]:
    trace = read_trace(Path(place))
    if not trace.has_hash_ids:
        raise InvalidSpec(
            gettext("The trace {file} has no hash ids, which say what prompts share.").format(file=place),
            remedy=gettext("Give one of Mooncake's form."),
        )
    return list(trace.arrivals[:MOST_REQUESTS])


def _sample(answer: Planned, traffic: PlanTraffic, n_replicas: int) -> list[Session]:
    """Return drawn sessions whose prompts alone would keep replicas without a cache half busy."""
    most = min(MOST_TOKENS, answer.model.max_context_tokens or MOST_TOKENS, int(traffic.cache_tokens))
    drawn = draw_sessions(SESSIONS, requests_per_s=1.0, seed=0, most_tokens=most)
    budget = EngineLimits().token_budget
    tokens = float(np.mean([a.input_tokens for a in arrivals_of(drawn)]))
    prompt_s = tokens / budget * traffic.cost.mixed_s(1, budget, budget * tokens / 2, 0)
    return draw_sessions(SESSIONS, requests_per_s=BUSY * n_replicas / prompt_s, seed=0, most_tokens=most)
