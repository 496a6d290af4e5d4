"""What a load and the samples beside it say in numbers: the common ground of every way to find a cause.

Each quantity has a mean over the load and, where it was seen more than once, its standard deviation over requests or samples.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workbench.core.errors import NotAvailable
from workbench.core.runs import Run
from workbench.core.samples import Recording
from workbench.experiments.recording import recording_of, span_of

LONG_GAP_FACTOR = 8.0  # a gap of so many middle ones is a stall
LEAST_STALL_S = 0.2
PROBED = ("health_s", "tokenize_s", "ttft_s", "tpot_s", "long_ttft_s", "failed_fraction")
IDLE_PERCENT = 3.0  # of one core
SETTLED_S = 2.0  # counters are read once a second, so they lag behind the last answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Numbers of one load; what was not seen is not in ``values``."""

    values: Mapping[str, float]
    spreads: Mapping[str, float]
    """Standard deviation over requests or samples, where there were several."""
    answers: tuple[str | None, ...] = ()
    """Greedy answers to the probe's questions."""
    server: Mapping[str, Any] = field(default_factory=dict)
    """What the server said of itself."""
    n_requests: int = 0
    waits_s: tuple[float, ...] = ()
    """Seconds to first tokens of answered requests, in the order of arrival."""
    errors: tuple[str, ...] = ()

    def get(self, name: str) -> float | None:
        """A quantity, or None when it was not seen."""
        return self.values.get(name)


def observe(run: Run, *, until_s: float | None = None) -> Observation:
    """Take a load's numbers.

    Args:
        run: Of kind "load", with samples of its machine for more than the client's view.
        until_s: Only what had happened so many seconds after the start; None: the whole load.

    Raises ``NotAvailable`` for another kind of run, or one without requests.
    """
    asked = run.samples.get("requests") or []
    if run.kind != "load" or not asked:
        raise NotAvailable(f"Run {run.id} holds no requests.", remedy="Name a run of `workbench load`.")
    if until_s is not None:
        asked = _known_by(asked, until_s)
    seen = _Seen()
    answered = _client(asked, seen)
    probe = run.samples.get("probe") or {}
    for name in PROBED:
        if probe.get(name) is not None:
            seen.values[f"probe.{name}"] = float(probe[name])
    if "probe.tokenize_s" in seen.values and "probe.health_s" in seen.values:
        seen.values["tokenizing_s"] = seen.values["probe.tokenize_s"] - seen.values["probe.health_s"]
    made = recording_of(run)
    if made is not None:
        start, end = span_of(run, made)
        inside = made.between(start, (end if until_s is None else min(end, start + until_s)) + SETTLED_S)
        _signals(inside, seen)
        _server(inside, seen.values)
        _machine(inside, seen.values)
        _idle_under_load(inside, asked, start, seen.values)
    return Observation(
        values=seen.values,
        spreads=seen.spreads,
        answers=tuple(probe.get("answers") or ()),
        server=run.samples.get("server") or {},
        n_requests=len(asked),
        waits_s=tuple(q["first_content_s"] - q["due_s"] for q in answered),
        errors=tuple(str(q["error"]) for q in asked if q.get("error")),
    )


@dataclass(slots=True)
class _Seen:
    values: dict[str, float] = field(default_factory=dict)
    spreads: dict[str, float] = field(default_factory=dict)

    def note(self, name: str, found: Iterable[float | None]) -> None:
        """Mean and standard deviation of what is there."""
        seen = np.array([v for v in found if v is not None], dtype=float)
        if seen.size:
            self.values[name] = float(seen.mean())
        if seen.size > 1:
            self.spreads[name] = float(seen.std(ddof=1))


def _client(asked: Sequence[Mapping[str, Any]], seen: _Seen) -> list[Mapping[str, Any]]:
    """What the client saw; the answered requests."""
    answered = [q for q in asked if not q.get("error") and q.get("first_content_s") is not None]
    seen.note("ttft_s", (q["first_content_s"] - q["due_s"] for q in answered))
    seen.note("e2e_s", (q["end_s"] - q["due_s"] if q.get("end_s") is not None else None for q in answered))
    seen.note("tpot_s", (_tpot(q) for q in answered))
    seen.note("input_tokens", (q["input_tokens"] for q in asked))
    seen.note("output_tokens", (q["output_tokens"] for q in answered))
    seen.note("failed_fraction", (1.0 if q.get("error") else 0.0 for q in asked))
    seen.note("send_lateness_s", (q["sent_s"] - q["due_s"] if q.get("sent_s") is not None else None for q in asked))
    dues = [q["due_s"] for q in asked]
    if len(dues) > 1 and max(dues) > min(dues):
        seen.values["offered_per_s"] = (len(dues) - 1) / (max(dues) - min(dues))
        seen.spreads["offered_per_s"] = seen.values["offered_per_s"] / float(np.sqrt(len(dues)))
    seen.values |= _stalls(answered)
    return answered


def _known_by(asked: Sequence[Mapping[str, Any]], until_s: float) -> list[Mapping[str, Any]]:
    """Requests as they looked then: ended ones, and those whose first token had come."""
    seen: list[Mapping[str, Any]] = []
    for q in asked:
        end, first = q.get("end_s"), q.get("first_content_s")
        if end is not None and end <= until_s:
            seen.append(q)
        elif q["due_s"] <= until_s and not q.get("error"):
            came = first is not None and first <= until_s
            seen.append(dict(q) | {"end_s": None, "first_content_s": first if came else None, "gaps_us": []})
    return seen


def _tpot(q: Mapping[str, Any]) -> float | None:
    if q.get("end_s") is None or q["output_tokens"] < 2:
        return None
    return float((q["end_s"] - q["first_content_s"]) / (q["output_tokens"] - 1))


def _stalls(answered: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Long gaps between tokens: their share of the time of answers, and whether other answers stall with them."""
    gaps = [(q["first_content_s"], np.asarray(q.get("gaps_us") or (), dtype=float) / 1e6) for q in answered]
    every = np.concatenate([g for _, g in gaps]) if gaps else np.empty(0)
    if every.size < 20:
        return {}
    limit = max(LEAST_STALL_S, LONG_GAP_FACTOR * float(np.median(every)))
    stalls: list[tuple[int, float, float]] = []
    spans: list[tuple[float, float]] = []
    for i, (first, g) in enumerate(gaps):
        ends = first + np.cumsum(g)
        spans.append((first, float(ends[-1]) if g.size else first))
        stalls += [(i, float(ends[k] - g[k]), float(ends[k])) for k in np.flatnonzero(g > limit)]
    total = float(every.sum())
    told = {
        "stall_fraction": sum(b - a for _, a, b in stalls) / total if total > 0 else 0.0,
        "stalls_per_answer": len(stalls) / len(gaps),
    }
    if stalls:
        told["stall_s"] = float(np.median([b - a for _, a, b in stalls]))
    together, alone = 0, 0
    for i, a, b in stalls:
        middle = (a + b) / 2
        others = [j for j, (s, e) in enumerate(spans) if j != i and s <= middle <= e]
        stalled = {j for j, c, d in stalls if c <= middle <= d}
        together += sum(j in stalled for j in others)
        alone += sum(j not in stalled for j in others)
    if together + alone >= 3:
        told["stalls_shared_fraction"] = together / (together + alone)
    return told


def _signals(inside: Recording, seen: _Seen) -> None:
    """Every signal: mean and greatest value of gauges, growth per second of counters."""
    for name, signal in inside.signals.items():
        found, t = inside.values.get(name), inside.times_s.get(name)
        if found is None or t is None or not found.size:
            continue
        if signal.kind == "gauge":
            seen.note(name, found)
            seen.values[f"{name}.max"] = float(found.max())
        elif t.size > 1 and t[-1] > t[0]:
            grown = inside.increase(name, float(t[0]), float(t[-1])) or 0.0
            seen.values[f"{name}.per_s"] = grown / float(t[-1] - t[0])
            steps = np.diff(found) / np.maximum(np.diff(t), 1e-9)
            seen.spreads[f"{name}.per_s"] = float(steps.std(ddof=1)) if steps.size > 1 else 0.0


def _server(inside: Recording, values: dict[str, float]) -> None:
    """Parts of a request inside the server, what lies outside, and the prefix cache."""
    for part in ("queue", "prefill", "decode"):
        _ratio(inside, f"engine.request_{part}_time_seconds", f"server.{part}_s", values)
    _ratio(inside, "engine.time_to_first_token_seconds", "server.ttft_s", values)
    _ratio(inside, "engine.e2e_request_latency_seconds", "server.e2e_s", values)
    hits, looked, n_asked = (
        _grown(inside, f"engine.{name}")
        for name in (
            "prefix_cache_hits_total",
            "prefix_cache_queries_total",
            "request_queue_time_seconds_count",
        )
    )
    if hits is not None and looked:
        values["hit_fraction"] = hits / looked
        if n_asked:
            values["hit_tokens_per_request"] = hits / n_asked
    if "server.ttft_s" in values and "ttft_s" in values:
        values["outside_ttft_s"] = values["ttft_s"] - values["server.ttft_s"]
        engine_s = values.get("server.queue_s", 0.0) + values.get("server.prefill_s", 0.0)
        values["front_s"] = values["server.ttft_s"] - engine_s
    looks = inside.times_s.get("engine.num_requests_running", np.empty(0))
    if looks.size > 2:
        values["longest_silence_of_counters_s"] = float(np.diff(looks).max())


def _machine(inside: Recording, values: dict[str, float]) -> None:
    """Who uses the processor and the memory, and what the GPU does for a token."""
    if "host.cpu_percent" in values and "server.cpu_percent" in values:
        cores = values["host.cpu_percent"] / 100 * _n_cores(inside)
        own = (values["server.cpu_percent"] + values.get("process.cpu_percent", 0.0)) / 100
        values["others_cores"] = max(0.0, cores - own)
    if "host.memory_bytes" in values and "host.memory_used_bytes" in values:
        values["memory_used_fraction"] = values["host.memory_used_bytes.max"] / values["host.memory_bytes"]
    tokens = values.get("engine.generation_tokens_total.per_s")
    if tokens and "gpu0.dram_active_percent" in values:
        values["gpu_activity_per_token"] = values["gpu0.dram_active_percent"] / tokens


def _idle_under_load(
    inside: Recording, asked: Sequence[Mapping[str, Any]], start: float, values: dict[str, float]
) -> None:
    """Share of the samples with requests under way in which the server did nothing."""
    at, used = inside.times_s.get("server.cpu_percent"), inside.values.get("server.cpu_percent")
    if at is None or used is None or at.size < 5:
        return
    begun = np.sort([start + q["due_s"] for q in asked])
    ended = np.sort([start + q["end_s"] for q in asked if q.get("end_s") is not None])
    # A sample tells of the time since the one before: something must have been under way all the while.
    before = np.concatenate(([at[0]], at[:-1]))
    n_busy = np.searchsorted(begun, before) - np.searchsorted(ended, at)
    is_busy = n_busy > 0
    if is_busy.sum() >= 5:
        values["idle_under_load_fraction"] = float((used[is_busy] < IDLE_PERCENT).mean())


def _grown(made: Recording, name: str) -> float | None:
    """Growth of a counter over all that was sampled."""
    t = made.times_s.get(name)
    return made.increase(name, float(t[0]), float(t[-1])) if t is not None and t.size > 1 else None


def _n_cores(made: Recording) -> float:
    told = made.values.get("host.cores")
    return float(told[-1]) if told is not None and told.size else float("nan")


def _ratio(made: Recording, family: str, name: str, values: dict[str, float]) -> None:
    """Mean of a histogram over all that was sampled."""
    total, count = (_grown(made, f"{family}_{what}") for what in ("sum", "count"))
    if total is not None and count:
        values[name] = total / count
