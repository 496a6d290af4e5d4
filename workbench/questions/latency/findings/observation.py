"""Quantities of a load and of the samples beside it: the input of every method to find a cause.

Each quantity has a mean over the load and, where it was sampled more than once, a standard deviation over requests or samples.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from workbench.core.runs import Run
from workbench.load.recording.rows import recording_of, span_of
from workbench.load.rows import KeptRequest, LoadSamples, Probe, ServerCard
from workbench.questions.latency.rows import e2e_s, requests_of, ttft_s
from workbench.telemetry.samples import Recording

LONG_GAP_FACTOR = 8.0  # a gap of so many median gaps is a stall
LEAST_STALL_S = 0.2
IDLE_PERCENT = 3.0  # of one core
GAVE_UP = "timeout"  # how the error of a request begins that its client gave up
FEW_GAVE_UP = 0.05
BUSY_CORES, BUSY_WAITED_PERCENT, BUSY_SHARE = 0.3, 15.0, 0.3
SETTLED_S = 2.0  # counters are read once a second, so they lag behind the last answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Quantities of one load; a quantity that was not observed is not in ``values``."""

    values: Mapping[str, float]
    spreads: Mapping[str, float]
    """Standard deviation over requests or samples, where there were several."""
    answers: tuple[str | None, ...] = ()
    """Greedy answers to the probe's questions."""
    server: ServerCard | None = None
    """Models, version and limits that the server announces."""
    n_requests: int = 0
    ttfts_s: tuple[float, ...] = ()
    """TTFT of each answered request, and the wait of each client that gave up, in the order of arrival."""
    errors: tuple[str, ...] = ()

    def get(self, name: str) -> float | None:
        """Return a quantity; None where it was not observed."""
        return self.values.get(name)

    @property
    def refused_fraction(self) -> float:
        """Share of the requests that failed otherwise than by a client that gave up."""
        n = sum(not error.startswith(GAVE_UP) for error in self.errors)
        return n / self.n_requests if self.n_requests else 0.0

    @property
    def is_busy(self) -> bool:
        """Whether other programs compete with the server for its cores."""
        others, waited, cores = self.get("others_cores"), self.get("server.waited_percent"), self.get("host.cores")
        if others is None or others < BUSY_CORES:
            return False
        takes_many = cores is None or others >= BUSY_SHARE * cores
        return takes_many if waited is None else waited >= BUSY_WAITED_PERCENT

    @property
    def is_given_up(self) -> bool:
        """Whether clients gave up more than a few requests, which the server's times hold and the answers' times do not."""
        return (self.get("gave_up_fraction") or 0.0) > FEW_GAVE_UP


def observe(run: Run, *, until_s: float | None = None) -> Observation:
    """Return the quantities of a load.

    Args:
        run: A load; with samples of its machine there are quantities beyond the client's.
        until_s: Observe only what happened in the first ``until_s`` seconds; None: the whole load.

    Raises ``NotAvailable`` for another kind of run, or one without requests.
    """
    requests = requests_of(run)
    if until_s is not None:
        requests = _requests_at(requests, until_s)
    quantities = _Quantities()
    _add_client(requests, quantities)
    samples = run.sampled(LoadSamples)
    quantities.values |= _probe_values(samples.probe)
    if "probe.tokenize_s" in quantities.values and "probe.health_s" in quantities.values:
        quantities.values["tokenizing_s"] = quantities.values["probe.tokenize_s"] - quantities.values["probe.health_s"]
    recording = recording_of(run)
    if recording is not None:
        start, end = span_of(run, recording)
        inside = recording.between(start, (end if until_s is None else min(end, start + until_s)) + SETTLED_S)
        _add_signals(inside, quantities)
        _add_server(inside, quantities.values)
        _add_machine(inside, quantities.values)
        _add_idle_share(inside, requests, start, quantities.values)
    return Observation(
        values=quantities.values,
        spreads=quantities.spreads,
        answers=samples.probe.answers if samples.probe else (),
        server=samples.server,
        n_requests=len(requests),
        ttfts_s=tuple(_waits_s(requests)),
        errors=tuple(q.error for q in requests if q.error),
    )


@dataclass(slots=True)
class _Quantities:
    values: dict[str, float] = field(default_factory=dict)
    spreads: dict[str, float] = field(default_factory=dict)

    def note(self, name: str, samples: Iterable[float | None]) -> None:
        """Keep mean and standard deviation of samples."""
        known = np.array([v for v in samples if v is not None], dtype=float)
        if known.size:
            self.values[name] = float(known.mean())
        if known.size > 1:
            self.spreads[name] = float(known.std(ddof=1))


def _probe_values(probe: Probe | None) -> dict[str, float]:
    """Return how fast the server was without other load."""
    if probe is None:
        return {}
    seconds = {
        "health_s": probe.health_s,
        "tokenize_s": probe.tokenize_s,
        "ttft_s": probe.ttft_s,
        "tpot_s": probe.tpot_s,
        "long_ttft_s": probe.long_ttft_s,
        "failed_fraction": probe.failed_fraction,
    }
    return {f"probe.{name}": value for name, value in seconds.items() if value is not None}


def _add_client(requests: Sequence[KeptRequest], quantities: _Quantities) -> None:
    """Add what the client measured."""
    begun = [q for q in requests if ttft_s(q) is not None]
    quantities.note("ttft_s", _waits_s(requests))
    quantities.note("answered_ttft_s", map(ttft_s, begun))
    quantities.note("e2e_s", map(e2e_s, begun))
    quantities.note("tpot_s", map(_tpot, begun))
    quantities.note("input_tokens", (q.input_tokens for q in requests))
    quantities.note("output_tokens", (q.output_tokens for q in begun))
    quantities.note("failed_fraction", (1.0 if q.error else 0.0 for q in requests))
    quantities.note("gave_up_fraction", (float(_gave_up(q)) for q in requests))
    dues = [q.due_s for q in requests]
    if len(dues) > 1 and max(dues) > min(dues):
        quantities.values["offered_per_s"] = (len(dues) - 1) / (max(dues) - min(dues))
        quantities.spreads["offered_per_s"] = quantities.values["offered_per_s"] / float(np.sqrt(len(dues)))
    quantities.values |= _stalls(begun)


def _gave_up(q: KeptRequest) -> bool:
    """Return whether the client gave a request up: that shows how long it waited, and nothing of an error of the server."""
    return bool(q.error) and str(q.error).startswith(GAVE_UP)


def _waits_s(requests: Iterable[KeptRequest]) -> list[float]:
    """Return the TTFT of each answered request, and the time that a client waited for a token before it gave up, in the order of arrival."""
    waits = []
    for q in requests:
        seconds = ttft_s(q)
        if seconds is None and _gave_up(q):
            until_s = q.first_content_s if q.first_content_s is not None else q.end_s
            seconds = None if until_s is None else until_s - q.due_s
        if seconds is not None:
            waits.append(seconds)
    return waits


def _requests_at(requests: Sequence[KeptRequest], until_s: float) -> list[KeptRequest]:
    """Return the requests as they were at that time: completed ones, and those with a first token."""
    quantities: list[KeptRequest] = []
    for q in requests:
        first = q.first_content_s
        if q.end_s is not None and q.end_s <= until_s:
            quantities.append(q)
        elif q.due_s <= until_s and not q.error:
            known_first = first if first is not None and first <= until_s else None
            quantities.append(replace(q, end_s=None, first_content_s=known_first, gaps_us=()))
    return quantities


def _tpot(q: KeptRequest) -> float | None:
    if q.end_s is None or q.first_content_s is None or q.output_tokens < 2:
        return None
    return (q.end_s - q.first_content_s) / (q.output_tokens - 1)


def _stalls(begun: Sequence[KeptRequest]) -> dict[str, float]:
    """Return the long gaps between tokens: their share of the time of answers, and whether other answers stall at the same time."""
    gaps = [(q.first_content_s or 0.0, np.asarray(q.gaps_us, dtype=float) / 1e6) for q in begun]
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
    values = {
        "stall_fraction": sum(b - a for _, a, b in stalls) / total if total > 0 else 0.0,
        "stalls_per_answer": len(stalls) / len(gaps),
    }
    if stalls:
        values["stall_s"] = float(np.median([b - a for _, a, b in stalls]))
    together, alone = 0, 0
    for i, a, b in stalls:
        middle = (a + b) / 2
        others = [j for j, (s, e) in enumerate(spans) if j != i and s <= middle <= e]
        stalled = {j for j, c, d in stalls if c <= middle <= d}
        together += sum(j in stalled for j in others)
        alone += sum(j not in stalled for j in others)
    if together + alone >= 3:
        values["stalls_shared_fraction"] = together / (together + alone)
    return values


def _add_signals(inside: Recording, quantities: _Quantities) -> None:
    """Add every signal: mean and greatest value of gauges, growth per second of counters."""
    for name, signal in inside.signals.items():
        readings, t = inside.values.get(name), inside.times_s.get(name)
        if readings is None or t is None or not readings.size:
            continue
        if signal.kind == "gauge":
            quantities.note(name, readings)
            quantities.values[f"{name}.max"] = float(readings.max())
        elif t.size > 1 and t[-1] > t[0]:
            grown = inside.increase(name, float(t[0]), float(t[-1])) or 0.0
            quantities.values[f"{name}.per_s"] = grown / float(t[-1] - t[0])
            steps = np.diff(readings) / np.maximum(np.diff(t), 1e-9)
            quantities.spreads[f"{name}.per_s"] = float(steps.std(ddof=1)) if steps.size > 1 else 0.0


def _add_server(inside: Recording, values: dict[str, float]) -> None:
    """Add the parts of a request inside and outside the server, and the prefix cache."""
    for part in ("queue", "prefill", "decode"):
        _add_mean(inside, f"engine.request_{part}_time_seconds", f"server.{part}_s", values)
    _add_mean(inside, "engine.time_to_first_token_seconds", "server.ttft_s", values)
    _add_mean(inside, "engine.e2e_request_latency_seconds", "server.e2e_s", values)
    hits, looked, n_asked = (
        _growth(inside, f"engine.{name}")
        for name in ("prefix_cache_hits_total", "prefix_cache_queries_total", "request_queue_time_seconds_count")
    )
    if hits is not None and looked:
        values["hit_fraction"] = hits / looked
        # Requests that clients gave up look up prefixes, some more than once, and are not counted among those that were served.
        if n_asked and values.get("gave_up_fraction", 0.0) <= FEW_GAVE_UP:
            values["hit_tokens_per_request"] = hits / n_asked
    if "server.ttft_s" in values and "answered_ttft_s" in values:
        if values.get("gave_up_fraction", 0.0) <= FEW_GAVE_UP:
            values["outside_ttft_s"] = values["answered_ttft_s"] - values["server.ttft_s"]
        engine_s = values.get("server.queue_s", 0.0) + values.get("server.prefill_s", 0.0)
        values["front_s"] = values["server.ttft_s"] - engine_s
    sampled_s = inside.times_s.get("engine.num_requests_running", np.empty(0))
    if sampled_s.size > 2:
        values["longest_metrics_gap_s"] = float(np.diff(sampled_s).max())


def _add_machine(inside: Recording, values: dict[str, float]) -> None:
    """Add who uses processor and memory, and the GPU activity per token."""
    if "host.cpu_percent" in values and "server.cpu_percent" in values:
        n_cores = inside.values.get("host.cores", np.empty(0))
        cores = values["host.cpu_percent"] / 100 * (float(n_cores[-1]) if n_cores.size else float("nan"))
        own = (values["server.cpu_percent"] + values.get("process.cpu_percent", 0.0)) / 100
        values["others_cores"] = max(0.0, cores - own)
    if "host.memory_bytes" in values and "host.memory_used_bytes" in values:
        values["memory_used_fraction"] = values["host.memory_used_bytes.max"] / values["host.memory_bytes"]
    tokens = values.get("engine.generation_tokens_total.per_s")
    if tokens and "gpu0.dram_active_percent" in values:
        values["gpu_activity_per_token"] = values["gpu0.dram_active_percent"] / tokens


def _add_idle_share(inside: Recording, requests: Sequence[KeptRequest], start: float, values: dict[str, float]) -> None:
    """Add the share of the samples with running requests in which the server was idle."""
    at, used = inside.times_s.get("server.cpu_percent"), inside.values.get("server.cpu_percent")
    if at is None or used is None or at.size < 5:
        return
    begun = np.sort([start + q.due_s for q in requests])
    ended = np.sort([start + q.end_s for q in requests if q.end_s is not None])
    # A sample covers the time since the previous one: a request must have been running all that time.
    before = np.concatenate(([at[0]], at[:-1]))
    n_busy = np.searchsorted(begun, before) - np.searchsorted(ended, at)
    is_busy = n_busy > 0
    if is_busy.sum() >= 5:
        values["idle_under_load_fraction"] = float((used[is_busy] < IDLE_PERCENT).mean())


def _growth(recording: Recording, name: str) -> float | None:
    """Return the growth of a counter over all its samples."""
    t = recording.times_s.get(name)
    return recording.increase(name, float(t[0]), float(t[-1])) if t is not None and t.size > 1 else None


def _add_mean(recording: Recording, family: str, name: str, values: dict[str, float]) -> None:
    """Add the mean of a histogram over all its samples."""
    total, count = (_growth(recording, f"{family}_{what}") for what in ("sum", "count"))
    if total is not None and count:
        values[name] = total / count
