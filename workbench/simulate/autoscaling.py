"""How many replicas when: rules for scaling, played over traffic with the time that a replica takes to start.

A fluid model with steps of a second: every request brings work (seconds of one replica), replicas that are ready do a second of work each, what
is left waits its turn. A request that would wait longer than the SLO allows is late. Single steps of an engine, and queued requests in its cache, are not
modelled: ``workbench.simulate.engine`` does that for a fixed number of replicas.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests and their work by second."""

    requests: Floats
    work_s: Floats
    """Seconds of one replica that the requests of each second take."""

    def __post_init__(self) -> None:
        if self.requests.shape != self.work_s.shape or not self.requests.size or min(self.work_s.min(), 0.0) < 0:
            raise InvalidSpec(
                gettext("Traffic needs requests and work for every second."),
                remedy=gettext("Give arrays of one length."),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a rule can know."""

    at_s: int
    ready: int
    coming: int
    """Number of replicas that are starting."""
    waiting: float
    """Requests, as ``vllm:num_requests_waiting`` over all replicas."""
    backlog_s: float
    """Their work: what their tokens take one replica."""
    work_rates: Sequence[float]
    """Work that arrived in each second until now, in replicas."""
    busy: Sequence[float]
    """Share of the ready replicas that worked, by second."""


class Rule(Protocol):
    """Says how many replicas there should be."""

    every_s: int

    def wanted(self, seen: Seen) -> int:
        """Return the number of replicas: those that are starting included."""


@dataclass(slots=True, kw_only=True)
class Fixed:
    """A rule that keeps a fixed number of replicas."""

    n: int
    every_s: int = 60

    def wanted(self, seen: Seen) -> int:  # noqa: ARG002
        """Return the number of replicas: the number."""
        return self.n


@dataclass(slots=True, kw_only=True)
class _Hpa:
    """What Kubernetes' HorizontalPodAutoscaler adds to a metric, by its documented defaults (v1.33).

    A tolerance of a tenth, at most twice as many or four more in 15 s, and down only to the most that was wanted in 300 s.
    """

    every_s: int = 15
    settle_s: int = 300
    _wanted: deque[tuple[int, int]] = field(default_factory=deque)

    def settled(self, seen: Seen, raw: float) -> int:
        """Return the number of replicas after tolerance, rate limit and stabilization window."""
        now = seen.ready + seen.coming
        n = now if abs(raw / max(now, 1) - 1) <= 0.1 else ceil(raw - 1e-9)
        n = min(n, max(2 * now, now + 4))
        most = _most_wanted(self._wanted, seen.at_s, n, self.settle_s)
        return most if n < now else n


@dataclass(slots=True, kw_only=True)
class QueueLength(_Hpa):
    """As KEDA scales on waiting requests: so many for each replica (vLLM's production stack: 5, looked at every 15 s)."""

    per_replica: float = 5.0

    def wanted(self, seen: Seen) -> int:
        """Return the number of replicas: by the requests that are queued now."""
        return self.settled(seen, seen.waiting / self.per_replica)


@dataclass(slots=True, kw_only=True)
class Utilization(_Hpa):
    """As an HPA on how busy replicas are."""

    target: float = 0.7

    def wanted(self, seen: Seen) -> int:
        """Return the number of replicas: by the last quarter of a minute."""
        busy = float(np.mean(seen.busy[-self.every_s :])) if seen.busy else 0.0
        return self.settled(seen, seen.ready * busy / self.target)


@dataclass(slots=True, kw_only=True)
class Predictive:
    """The line through the last minutes, read where a replica that is started now would be ready."""

    start_s: float
    target: float = 0.8
    window_s: int = 180
    every_s: int = 15

    def wanted(self, seen: Seen) -> int:
        """Return the number of replicas: for that time."""
        return ceil(_line(seen.work_rates, self.window_s, self.start_s + self.every_s) / self.target)


@dataclass(slots=True, kw_only=True)
class Covered:
    """The rule of the workbench: a forecast, and how wrong it has been lately.

    What is planned for is the forecast plus the quantile of its own latest errors (split conformal prediction on a sliding window), and what
    already waits must be gone after ``drain_s``. Down only to the most that was wanted since a replica could have been started.
    """

    start_s: float
    quantile: float = 0.9
    target: float = 0.9
    window_s: int = 180
    smooth_s: int = 30
    remembered_s: int = 900
    drain_s: float = 30.0
    every_s: int = 5
    _made: deque[tuple[int, float]] = field(default_factory=deque)
    _errors: deque[float] = field(default_factory=deque)
    _wanted: deque[tuple[int, int]] = field(default_factory=deque)

    def wanted(self, seen: Seen) -> int:
        """Return the number of replicas: for when it would be ready."""
        ahead = self.start_s + self.every_s
        now = float(np.mean(seen.work_rates[-self.smooth_s :]))
        while self._made and self._made[0][0] <= seen.at_s:
            self._errors.append(now - self._made.popleft()[1])
        while len(self._errors) > self.remembered_s // self.every_s:
            self._errors.popleft()
        forecast = max(now, _line(seen.work_rates, self.window_s, ahead)) if seen.at_s > self.window_s else now
        self._made.append((int(seen.at_s + ahead), forecast))
        margin = float(np.quantile(self._errors, self.quantile)) if len(self._errors) >= 10 else 0.3 * forecast
        n = ceil((forecast + max(0.0, margin)) / self.target + seen.backlog_s / self.drain_s)
        if seen.at_s < self.window_s:  # too little has been seen to give anything back
            n = max(n, seen.ready + seen.coming)
        return _most_wanted(self._wanted, seen.at_s, n, 2 * self.start_s)


def _most_wanted(wanted: deque[tuple[int, int]], at_s: int, n: int, window_s: float) -> int:
    """Note what is wanted now, and return the most that was wanted within the window."""
    wanted.append((at_s, n))
    while wanted[0][0] < at_s - window_s:
        wanted.popleft()
    return max(n for _, n in wanted)


def _line(rates: Sequence[float], window_s: int, ahead_s: float) -> float:
    """Return the least-squares line of the last seconds, extrapolated so many seconds ahead; at least zero."""
    y = np.asarray(rates[-window_s:], dtype=float)
    if y.size < 10:
        return float(y.mean()) if y.size else 0.0
    x = np.arange(y.size) - (y.size - 1)
    slope, level = np.polyfit(x, y, 1)
    return float(max(0.0, level + slope * ahead_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Relief:
    """What makes requests cheaper: answers that are kept, and shorter ones while others wait."""

    cached: float = 0.0
    """Share of the requests that a cache answers."""
    shorter_above_s: float | None = None
    """Wait from which on answers are shortened; None: never."""
    shorter_to: float = 0.5
    """Share of a request's work that is left then."""

    def __post_init__(self) -> None:
        if not 0 <= self.cached < 1 or not 0 < self.shorter_to <= 1:
            raise InvalidSpec(
                gettext("{relief} is no relief.").format(relief=self), remedy=gettext("Give shares below 1.")
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of a rule."""

    slo_minutes: float
    """Minutes in which a request that came would have waited longer than the SLO allows."""
    late_fraction: float
    """Share of the requests that waited longer than the SLO allows."""
    gpu_hours: float
    """Hours of replicas, from when they are started until they are stopped."""
    most: int
    n_changes: int
    wait_p99_s: float
    """99th percentile of the wait over requests."""
    shorter_fraction: float
    replicas: Floats
    """Number of ready replicas by second."""
    waits_s: Floats
    """Wait of a request that came in each second."""

    def row(self) -> dict[str, Any]:
        """Return the figures without the courses over time."""
        names = ("slo_minutes", "late_fraction", "gpu_hours", "most", "n_changes", "wait_p99_s", "shorter_fraction")
        return {n: getattr(self, n) for n in names}


def play(
    traffic: Traffic,
    rule: Rule,
    *,
    start_s: float,
    promised_s: float,
    first: int,
    least: int = 1,
    most: int = 1000,
    warm: int = 0,
    warm_start_s: float = 5.0,
    relief: Relief | None = None,
) -> Played:
    """Play a rule over traffic.

    Args:
        traffic: By second.
        rule: Asked every ``rule.every_s``.
        start_s: From starting a replica until it answers: machine, image, weights, compilation.
        promised_s: Longest wait before a request begins that meets the SLO.
        first: Replicas that are ready at the beginning.
        least: Never fewer.
        most: Never more.
        warm: Spare replicas that are loaded and paid for, and serve ``warm_start_s`` after they are called.
        warm_start_s: For those.
        relief: What makes requests cheaper.

    Raises ``InvalidSpec`` for numbers that make no sense.
    """
    if min(start_s, promised_s, first, least) <= 0 or most < least or warm < 0:
        raise InvalidSpec(
            gettext(
                "{first} replicas, from {least} to {most}, {warm} warm, started in {seconds} s, an SLO of {slo} s."
            ).format(first=first, least=least, most=most, warm=warm, seconds=start_s, slo=promised_s),
            remedy=gettext("Give numbers above zero, and least <= most."),
        )
    fleet = _Fleet(ready=first, spare=warm, start_s=start_s, warm_start_s=warm_start_s)
    eased = relief or Relief()
    n_seconds = traffic.requests.size
    backlog_s = n_waiting = paid_s = shorter = 0.0
    n_changes, rates, busy = 0, list[float](), list[float]()
    replicas, waits = np.zeros(n_seconds), np.zeros(n_seconds)
    for t in range(n_seconds):
        fleet.arrive(t)
        ready = fleet.ready
        work = float(traffic.work_s[t]) * (1 - eased.cached)
        n_asked = float(traffic.requests[t]) * (1 - eased.cached)
        if eased.shorter_above_s is not None and backlog_s / ready > eased.shorter_above_s:
            work *= eased.shorter_to
            shorter += n_asked
        # Half of this second's work comes before a request of this second, on average.
        waits[t] = max(0.0, backlog_s + 0.5 * work - 0.5 * ready) / ready
        before = backlog_s + work
        done = min(before, float(ready))
        n_waiting = (n_waiting + n_asked) * (1 - done / before) if before > 0 else 0.0
        backlog_s = before - done
        rates.append(work)
        busy.append(done / ready)
        replicas[t] = ready
        paid_s += fleet.paid
        if t % rule.every_s == 0:
            seen = Seen(
                at_s=t,
                ready=ready,
                coming=len(fleet.coming),
                waiting=n_waiting,
                backlog_s=backlog_s,
                work_rates=rates,
                busy=busy,
            )
            n_changes += fleet.change_to(min(most, max(least, rule.wanted(seen))), t)
    asked = traffic.requests * (1 - eased.cached)
    late = waits > promised_s
    order = np.argsort(waits)
    share = np.cumsum(asked[order]) / max(asked.sum(), 1e-9)
    return Played(
        slo_minutes=float((late & (traffic.requests > 0)).sum()) / 60,
        late_fraction=min(
            1.0, float(asked[late].sum() / max(traffic.requests.sum(), 1e-9))
        ),  # sums in another order differ
        gpu_hours=paid_s / 3600,
        most=int(replicas.max()),
        n_changes=n_changes,
        wait_p99_s=float(waits[order][min(n_seconds - 1, int(np.searchsorted(share, 0.99)))]),
        shorter_fraction=float(shorter / max(traffic.requests.sum(), 1e-9)),
        replicas=replicas,
        waits_s=waits,
    )


@dataclass(slots=True, kw_only=True)
class _Fleet:
    """Replicas that are ready, starting, or spare and loaded."""

    ready: int
    spare: int
    start_s: float
    warm_start_s: float
    coming: list[float] = field(default_factory=list)
    """When those that start are ready, in order."""
    refill: list[float] = field(default_factory=list)

    @property
    def paid(self) -> int:
        """Replicas that cost money now."""
        return self.ready + len(self.coming) + self.spare + len(self.refill)

    def arrive(self, t: float) -> None:
        """Mark replicas as ready whose start has ended."""
        self.ready += sum(at <= t for at in self.coming)
        self.spare += sum(at <= t for at in self.refill)
        self.coming = [at for at in self.coming if at > t]
        self.refill = [at for at in self.refill if at > t]

    def change_to(self, wanted: int, t: float) -> bool:
        """Start or stop replicas; those that are not ready yet are stopped first. Return whether anything changed."""
        change = wanted - self.ready - len(self.coming)
        for _ in range(change):
            is_warm = self.spare > 0
            self.coming.append(t + (self.warm_start_s if is_warm else self.start_s))
            if is_warm:
                self.spare -= 1
                self.refill.append(t + self.start_s)
        self.coming.sort()
        for _ in range(-change):
            if self.coming:
                self.coming.pop()
            else:
                self.ready -= 1
        return change != 0


def pareto(rows: Mapping[str, Played]) -> list[str]:
    """Return the names of rules that no other beats in both SLO minutes and GPU hours."""
    points = {name: (p.slo_minutes, p.gpu_hours) for name, p in rows.items()}
    return [
        name for name, p in points.items() if not any(o != p and o[0] <= p[0] and o[1] <= p[1] for o in points.values())
    ]
