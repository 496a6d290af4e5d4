"""What a simulation says: percentiles of latency, goodput and occupancy, with their interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import TypeAlias

from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.models import language_model_from
from workbench.catalog.paths import workbench_home
from workbench.core.errors import DoesNotFit, InvalidSpec
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.statistics import Interval
from workbench.core.traces import Trace, read_lengths, read_trace
from workbench.core.traffic import Arrival, draw_arrivals
from workbench.core.units import NOT_KNOWN, shown_bytes, shown_duration, shown_percent, three_digits
from workbench.estimate.context_limit import require_within_context
from workbench.estimate.device_calibration import CALIBRATIONS, offers
from workbench.estimate.precision import chosen_precision, weight_bits_of
from workbench.estimate.prediction import LEVEL, Z, tokens_per_step
from workbench.estimate.search import Offer, require_kernel
from workbench.estimate.serving_memory import context_plan
from workbench.questions.parallelism.simulate.spec import SimulateSpec
from workbench.simulate.closed_loop import users_of_replicas
from workbench.simulate.costs import (
    front_of,
    load_log_errors,
    load_sigmas,
    step_cost,
)
from workbench.simulate.engine import EngineLimits
from workbench.simulate.routing import replicas
from workbench.simulate.sessions import MOST_TOKENS, Session, arrivals_of, draw_sessions, sessions_of_replicas
from workbench.simulate.step_cost import StepCost
from workbench.simulate.summary import Simulation, SimulationRange, occupancy, summary, with_interval

ROUNDS, LEAST_SENT = 12, 200
"""Requests that each user of a closed loop sends, and least number of all."""
SIMULATION_HEAD = ("△", "simulated", f"{100 * LEVEL:.0f} % interval of step times")


def _count(n: float | None) -> str:
    return NOT_KNOWN if n is None else f"{n:,.0f}"


Number: TypeAlias = Callable[[Simulation], float | None]
NUMBERS: tuple[tuple[str, Number, Callable[[float | None], str]], ...] = (
    ("TTFT p50", lambda s: s.service.ttft_s.p50, shown_duration),
    ("TTFT p90", lambda s: s.service.ttft_s.p90, shown_duration),
    ("TTFT p99", lambda s: s.service.ttft_s.p99, shown_duration),
    ("TPOT p50", lambda s: s.service.tpot_s.p50, shown_duration),
    ("TPOT p90", lambda s: s.service.tpot_s.p90, shown_duration),
    ("TPOT p99", lambda s: s.service.tpot_s.p99, shown_duration),
    ("end-to-end latency p50", lambda s: s.service.e2e_s.p50, shown_duration),
    ("end-to-end latency p90", lambda s: s.service.e2e_s.p90, shown_duration),
    ("end-to-end latency p99", lambda s: s.service.e2e_s.p99, shown_duration),
    ("answered requests/s", lambda s: s.service.requests_per_s, three_digits),
    ("goodput, requests/s", lambda s: s.service.goodput_requests_per_s, three_digits),
    ("SLO attainment", lambda s: s.service.attainment_fraction, shown_percent),
    ("output tokens/s", lambda s: s.service.output_tokens_per_s, three_digits),
    ("preempted requests", lambda s: s.service.n_preempted, _count),
    ("waiting requests, mean", lambda s: s.occupancy.waiting_mean, three_digits),
    ("waiting requests, most", lambda s: s.occupancy.waiting_max, _count),
    ("KV cache in use, mean", lambda s: s.occupancy.cache_mean_fraction, shown_percent),
    ("KV cache in use, most", lambda s: s.occupancy.cache_max_fraction, shown_percent),
    ("prefix cache hit share", lambda s: s.occupancy.prefix_hit_fraction, shown_percent),
    ("replicas busy", lambda s: s.occupancy.busy_fraction, shown_percent),
)
"""Label of each number of a simulation, where it stands, and how it is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationAnswer(SimulationRange[Simulation]):
    """A simulation with the ends of its interval, as ``simulate --json`` prints it."""

    ttft_p50_s: Interval
    """Median time to first token, with a nominal 80 % interval."""
    tpot_p50_s: Interval
    """Median of the requests' mean time per output token after the first one, with a nominal 80 % interval."""
    notes: Sequence[str]
    """What had to be settled to read the trace, in whole sentences."""
    cache_tokens: int
    """Tokens that the KV cache of one engine holds."""
    is_calibrated: bool
    """Whether the constants of the step times are this device's own."""
    provenance: Provenance = Provenance.SIMULATED


def simulation(spec: SimulateSpec) -> SimulationAnswer:
    """Return what the traffic does to the engines, with predicted step times and with the ends of their interval."""
    model = language_model_from(spec.model)
    if reason := spec.split.reason_against(model):
        raise InvalidSpec(
            gettext("{place}: {text}.").format(place=model.name, text=reason), remedy=gettext("Give another split.")
        )
    (offer,) = offers([spec.device], own=workbench_home() / CALIBRATIONS)
    precision = chosen_precision(model, spec.precision)
    require_kernel(offer, precision)
    machine = replace(offer.machine, split=spec.split)
    trace = read_trace(Path(spec.trace), speed=spec.speed) if spec.trace else None
    sessions = _sessions(spec, model)
    arrivals = arrivals_of(sessions) if sessions else _arrivals(spec, model, trace)
    if spec.cached_fraction and any(a.hash_ids for a in arrivals):
        raise InvalidSpec(
            gettext(
                "A cached share of {share} was given, and the requests have hash ids, which tell what is cached."
            ).format(share=spec.cached_fraction),
            remedy=gettext("Leave the cached share out."),
        )
    limits = EngineLimits(
        token_budget=spec.max_num_batched_tokens,
        max_sequences=spec.max_num_seqs,
        cache_tokens=_cache_tokens(model, spec, offer, arrivals),
        cached_fraction=spec.cached_fraction,
        has_prefix_cache=spec.prefix_cache == "on",
        front=front_of(machine),
    )

    def run_with(cost: StepCost) -> Simulation:
        sent: Sequence[Arrival]
        if sessions:
            done, sent = sessions_of_replicas(spec.n_replicas, sessions, cost, limits, routing=spec.routing)
        elif spec.users is None:
            done, sent = replicas(spec.n_replicas, arrivals, cost, limits, routing=spec.routing), arrivals
        else:
            requests = [(a.input_tokens, a.output_tokens) for a in arrivals]
            done, sent = users_of_replicas(spec.users, spec.n_replicas, requests, cost, limits, think_s=spec.think_s)
        service = summary(done.answers, sent, ttft_s=spec.ttft_s, tpot_s=spec.tpot_s)
        return Simulation(service=service, occupancy=occupancy(done, limits))

    context = round(mean(a.input_tokens + a.output_tokens / 2 for a in arrivals))
    cost = step_cost(
        model,
        precision,
        machine,
        kv_bits=spec.kv_bits,
        context_tokens=context,
        most_tokens=spec.max_num_batched_tokens,
        tokens_each=1 + spec.draft_tokens,
        tokens_made=tokens_per_step(spec.acceptance, spec.draft_tokens),
    )
    step_sigma, prompt_sigma = load_log_errors(model, precision, machine, is_own=offer.is_calibrated)
    ttft_sigma, tpot_sigma = load_sigmas(machine)
    spread = with_interval(run_with, cost, log_error_step=Z * step_sigma, log_error_prompt=Z * prompt_sigma)
    return SimulationAnswer(
        simulated=spread.simulated,
        shorter_steps=spread.shorter_steps,
        longer_steps=spread.longer_steps,
        ttft_p50_s=spread.interval(lambda s: s.service.ttft_s.p50, Z * ttft_sigma),
        tpot_p50_s=spread.interval(lambda s: s.service.tpot_s.p50, Z * tpot_sigma),
        notes=trace.notes if trace else (),
        cache_tokens=limits.cache_tokens,
        is_calibrated=offer.is_calibrated,
    )


def _sessions(spec: SimulateSpec, model: ModelSpec) -> list[Session]:
    """Return the sessions that are asked for, which end at the model's length."""
    if spec.sessions is None:
        return []
    most = min(MOST_TOKENS, model.max_context_tokens or MOST_TOKENS)
    return draw_sessions(spec.sessions, requests_per_s=spec.requests_per_s, seed=0, most_tokens=most)


def _cache_tokens(model: ModelSpec, spec: SimulateSpec, offer: Offer, arrivals: Sequence[Arrival]) -> int:
    """Return the tokens that one engine's cache has room for with requests of these lengths; raises ``DoesNotFit`` for none."""
    split, precision = spec.split, chosen_precision(model, spec.precision)
    memory = context_plan(
        model,
        memory_bytes=offer.memory_bytes,
        n_devices=split.tensor * split.pipeline,
        tensor_parallel=split.tensor,
        weight_bits=weight_bits_of(model, precision),
        kv_bits=spec.kv_bits,
        context_tokens=round(mean(a.input_tokens + a.output_tokens for a in arrivals)),
    )
    if not memory.room_tokens:
        raise DoesNotFit(
            gettext(
                "{model} in {precision} needs {needed} for one request; {n} × {device} has {usable} usable."
            ).format(
                model=model.name,
                precision=precision,
                needed=shown_bytes(memory.needed_bytes),
                n=split.n_devices,
                device=offer.name,
                usable=shown_bytes(memory.usable_bytes),
            ),
            remedy=gettext("Use more devices (--tp), a larger one, or fewer bits for the weights."),
        )
    return memory.room_tokens


def _arrivals(spec: SimulateSpec, model: ModelSpec, trace: Trace | None) -> list[Arrival]:
    """Return the requests; drawn ones are cut to the model's length, and those of a trace must be within it."""
    limit = model.max_context_tokens
    if trace is not None:
        for arrival, line in zip(trace.arrivals, trace.lines, strict=True):
            if limit and arrival.input_tokens + arrival.output_tokens > limit:
                raise InvalidSpec(
                    gettext(
                        "Line {line} of the trace {trace} has {prompt} and {answer} tokens; {model} takes at most {limit} tokens of prompt and answer together."
                    ).format(
                        line=line,
                        trace=spec.trace,
                        prompt=f"{arrival.input_tokens:,}",
                        answer=f"{arrival.output_tokens:,}",
                        model=model.name,
                        limit=f"{limit:,}",
                    ),
                    remedy=gettext("Leave such requests out, or choose a model that was made for longer contexts."),
                )
        return list(trace.arrivals)
    if not spec.lengths_file:
        require_within_context(model, spec.input_tokens, spec.output_tokens)
    n = spec.n_requests if spec.users is None else min(spec.n_requests, max(LEAST_SENT, ROUNDS * spec.users))
    arrivals = draw_arrivals(
        n,
        rate_per_s=spec.requests_per_s,
        lengths=spec.lengths,
        gap_cv=spec.gap_cv,
        end_rate_per_s=spec.end_rate_per_s,
        seed=0,
    )
    if spec.lengths_file:
        given = read_lengths(Path(spec.lengths_file))
        arrivals = [Arrival(a.at_s, *given[i % len(given)]) for i, a in enumerate(arrivals)]
    if not limit:
        return arrivals
    inputs = [min(a.input_tokens, limit - 1) for a in arrivals]
    return [
        replace(a, input_tokens=n, output_tokens=min(a.output_tokens, limit - n))
        for a, n in zip(arrivals, inputs, strict=True)
    ]


def simulation_rows(answer: SimulationRange[Simulation]) -> list[tuple[str, str, str]]:
    """Return the cells of ``SIMULATION_HEAD``: a number, and its ends."""
    rows = []
    for label, number, shown in NUMBERS:
        ends = answer.ends(number)
        if number(answer.simulated) is None and label.startswith("prefix cache"):
            continue  # without hash ids
        rows.append((label, shown(number(answer.simulated)), " to ".join(map(shown, ends)) if ends else NOT_KNOWN))
    return rows
