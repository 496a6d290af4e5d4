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
LEAST_STALL_S = 0.12
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
    values: dict[str, float] = {}
    spreads: dict[str, float] = {}

    def note(name: str, found: Iterable[float | None]) -> None:
        seen = np.array([v for v in found if v is not None], dtype=float)
        if seen.size:
            values[name] = float(seen.mean())
            if seen.size > 1:
                spreads[name] = float(seen.std(ddof=1))

    answered = [q for q in asked if not q.get("error") and q.get("first_content_s") is not None]
    note("ttft_s", (q["first_content_s"] - q["due_s"] for q in answered))
    note("e2e_s", (q["end_s"] - q["due_s"] if q.get("end_s") is not None else None for q in answered))
    note("tpot_s", (_tpot(q) for q in answered))
    note("input_tokens", (q["input_tokens"] for q in asked))
    note("output_tokens", (q["output_tokens"] for q in answered))
    note("failed_fraction", (1.0 if q.get("error") else 0.0 for q in asked))
    note("send_lateness_s", (q["sent_s"] - q["due_s"] if q.get("sent_s") is not None else None for q in asked))
    dues = [q["due_s"] for q in asked]
    if len(dues) > 1 and max(dues) > min(dues):
        values["offered_per_s"] = (len(dues) - 1) / (max(dues) - min(dues))
        spreads["offered_per_s"] = values["offered_per_s"] / float(np.sqrt(len(dues)))
    values |= _stalls(answered)
    probe = run.samples.get("probe") or {}
    for name in ("health_s", "tokenize_s", "ttft_s", "tpot_s", "long_ttft_s", "failed_fraction"):
        if probe.get(name) is not None:
            values[f"probe.{name}"] = float(probe[name])
    if "probe.tokenize_s" in values and "probe.health_s" in values:
        values["tokenizing_s"] = values["probe.tokenize_s"] - values["probe.health_s"]
    made = recording_of(run)
    if made is not None:
        start, end = span_of(run, made)
        _server(made, start, end if until_s is None else min(end, start + until_s), values, spreads)
    return Observation(
        values=values,
        spreads=spreads,
        answers=tuple(probe.get("answers") or ()),
        server=run.samples.get("server") or {},
        waits_s=tuple(q["first_content_s"] - q["due_s"] for q in answered),
        errors=tuple(str(q["error"]) for q in asked if q.get("error")),
    )


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


def _server(
    made: Recording, start: float, end: float, values: dict[str, float], spreads: dict[str, float]
) -> None:
    """What server, host and GPUs say in a span."""
    inside = made.between(start, end + SETTLED_S)
    for name, signal in made.signals.items():
        seen = inside.values.get(name)
        if seen is None or not seen.size:
            continue
        if signal.kind == "gauge":
            values[name] = float(seen.mean())
            values[f"{name}.max"] = float(seen.max())
            if seen.size > 1:
                spreads[name] = float(seen.std(ddof=1))
        else:
            t = inside.times_s[name]
            if t.size > 1 and t[-1] > t[0]:
                values[f"{name}.per_s"] = (made.increase(name, float(t[0]), float(t[-1])) or 0.0) / float(t[-1] - t[0])
                steps = np.diff(seen) / np.maximum(np.diff(t), 1e-9)
                spreads[f"{name}.per_s"] = float(steps.std(ddof=1)) if steps.size > 1 else 0.0
    for part in ("queue", "prefill", "decode"):
        _ratio(inside, f"engine.request_{part}_time_seconds", f"server.{part}_s", values)
    _ratio(inside, "engine.time_to_first_token_seconds", "server.ttft_s", values)
    _ratio(inside, "engine.e2e_request_latency_seconds", "server.e2e_s", values)
    n_asked = inside.increase("engine.request_queue_time_seconds_count", start, end + SETTLED_S)
    hits = inside.increase("engine.prefix_cache_hits_total", start, end + SETTLED_S)
    looked = inside.increase("engine.prefix_cache_queries_total", start, end + SETTLED_S)
    if hits is not None and looked:
        values["hit_fraction"] = hits / looked
        if n_asked:
            values["hit_tokens_per_request"] = hits / n_asked
    if "server.ttft_s" in values and "ttft_s" in values:
        values["outside_ttft_s"] = values["ttft_s"] - values["server.ttft_s"]
        inside_s = values.get("server.queue_s", 0.0) + values.get("server.prefill_s", 0.0)
        values["front_s"] = values["server.ttft_s"] - inside_s
    if "host.cpu_percent" in values and "server.cpu_percent" in values:
        cores = values["host.cpu_percent"] / 100 * _n_cores(made)
        own = (values["server.cpu_percent"] + values.get("process.cpu_percent", 0.0)) / 100
        values["others_cores"] = max(0.0, cores - own)
    if "host.memory_bytes" in values and "host.memory_used_bytes" in values:
        values["memory_used_fraction"] = values["host.memory_used_bytes.max"] / values["host.memory_bytes"]
    tokens = values.get("engine.generation_tokens_total.per_s")
    if tokens and "gpu0.dram_active_percent" in values:
        values["gpu_activity_per_token"] = values["gpu0.dram_active_percent"] / tokens
    clocks = inside.times_s.get("engine.num_requests_running", np.empty(0))
    if clocks.size > 2:
        values["longest_silence_of_counters_s"] = float(np.diff(clocks).max())


def _n_cores(made: Recording) -> float:
    told = made.values.get("host.cores")
    return float(told[-1]) if told is not None and told.size else float("nan")


def _ratio(made: Recording, family: str, name: str, values: dict[str, float]) -> None:
    """Mean of a histogram over all that was sampled."""
    t = made.times_s.get(f"{family}_count")
    if t is None or t.size < 2:
        return
    total, count = (made.increase(f"{family}_{what}", float(t[0]), float(t[-1])) for what in ("sum", "count"))
    if total is not None and count:
        values[name] = total / count

