"""Causes of a change of latency, and the clues for and against each.

Every cause is a list of clues. A clue compares one quantity of a healthy load and of the load in question, and returns evidence from -1
(against the cause) over 0 (neither) to 1 (for it). Its weight says how much the clue counts. A clue that cannot be read is left out, so that
less telemetry gives less certain answers and not wrong ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from workbench.core.language import gettext_noop
from workbench.core.units import shown_percent
from workbench.questions.latency.findings.observation import Observation

Reading = tuple[float, str]
"""Evidence from -1 to 1, and its text."""
ALONE_BY = 1.2
CHANCE_Z = 2.33  # one side, 99 %
SCHEDULED_S = 0.025
"""What a short wait of several programs for the same cores takes: Linux' scheduling latency of 24 ms."""
PARTS = {
    "queue": gettext_noop("queue"),
    "prefill": gettext_noop("prefill"),
    "decode": gettext_noop("decode"),
    "outside": gettext_noop("client and network"),
}
"""Names of the parts of a request."""
Clue = Callable[[Observation, Observation], Reading | None]
QUANTITIES = {
    "offered_per_s": gettext_noop("requests per second"),
    "input_tokens": gettext_noop("prompt tokens"),
    "output_tokens": gettext_noop("output tokens"),
    "tpot_s": gettext_noop("TPOT (s)"),
    "hit_tokens_per_request": gettext_noop("prefix cache hits (tokens per request)"),
    "engine.kv_cache_usage_perc.max": gettext_noop("highest KV cache usage"),
    "engine.num_preemptions_total.per_s": gettext_noop("preemptions per second"),
    "engine.num_requests_running.max": gettext_noop("most requests running"),
    "num_gpu_blocks": gettext_noop("announced KV blocks"),
    "max_num_seqs": gettext_noop("announced max_num_seqs"),
    "gave_up_fraction": gettext_noop("share of the requests whose clients gave up"),
    "others_cores": gettext_noop("cores used by other programs"),
    "server.waited_percent": gettext_noop("server's threads waiting for a core (% of one core)"),
    "server.allowed_cores": gettext_noop("cores that the server may use"),
    "server.major_faults.per_s": gettext_noop("server's major page faults per second"),
    "host.throttled_s.per_s": gettext_noop("throttled by the container's CPU limit (seconds per second)"),
    "host.memory_stalled_s.per_s": gettext_noop("memory pressure stall (seconds per second)"),
    "host.retransmitted_segments.per_s": gettext_noop("TCP retransmissions per second"),
    "memory_used_fraction": gettext_noop("share of the memory in use"),
    "probe.health_s": gettext_noop("round trip of /health (s)"),
    "probe.failed_fraction": gettext_noop("share of the probe's requests that failed"),
    "outside_ttft_s": gettext_noop("TTFT outside the server (s)"),
    "tokenizing_s": gettext_noop("tokenization of the probe's prompt (s)"),
    "front_s": gettext_noop("time in the server before its queue (s)"),
    "idle_under_load_fraction": gettext_noop("share of the time with running requests in which the server was idle"),
    "stall_s": gettext_noop("median stall (s)"),
    "longest_metrics_gap_s": gettext_noop("longest gap between samples of /metrics (s)"),
    "gpu0.memory_used_bytes.max": gettext_noop("GPU memory in use (bytes)"),
    "gpu0.sm_clock_mhz": gettext_noop("GPU SM clock (MHz)"),
    "gpu0.power_limit_w": gettext_noop("GPU power limit (W)"),
    "gpu_activity_per_token": gettext_noop("GPU activity per token"),
}
"""Names of the quantities in the evidence that a reader sees."""
SERVER_CARDS = {
    (False, False): gettext_noop("the server announces the same model and version"),
    (True, False): gettext_noop("the server announces another model"),
    (False, True): gettext_noop("the server announces another version"),
    (True, True): gettext_noop("the server announces another model and another version"),
}
"""By whether the model and the version differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One possible cause of a change of latency."""

    key: str
    title: str
    remedy: str
    clues: tuple[tuple[float, Clue], ...]
    """Weight of each clue, and the clue."""
    needs: str | None = None
    """Quantity without which the cause is not considered."""


def strength(x: float, none: float, full: float) -> float:
    """Return 0 at ``none`` or less, 1 at ``full`` or more, straight in between."""
    return min(1.0, max(0.0, (x - none) / (full - none)))


def _clue(name: str, judge: Callable[[float, float], float | None], *, is_ratio: bool = False) -> Clue:
    """Return a clue that compares a quantity of both loads; ``judge`` returns the evidence."""

    def read(a: Observation, b: Observation) -> Reading | None:
        before, after = a.get(name), b.get(name)
        if before is None or after is None or (is_ratio and before <= 0):
            return None
        evidence = judge(before, after)
        if evidence is None:
            return None
        values = {"quantity": QUANTITIES[name], "before": _shown(before), "after": _shown(after)}
        if is_ratio:
            factor = after / before
            return evidence, gettext_noop("{quantity} {before} → {after} (×{factor:.2f})").format(
                **values, factor=factor
            )
        return evidence, gettext_noop("{quantity} {before} → {after}").format(**values)

    return read


def grew(name: str, *, by: float = 1.2, surely: float = 1.6, otherwise: float = -1.0) -> Clue:
    """Return a clue on whether a quantity grew by a factor; ``otherwise`` is the evidence when it did not."""

    def judge(before: float, after: float) -> float:
        if (factor := after / before) <= by:
            return otherwise * strength(by - factor, 0.0, by - 1.0)
        return strength(math.log(factor), math.log(by) * 0.8, math.log(surely))

    return _clue(name, judge, is_ratio=True)


def fell(name: str, *, to: float = 0.85, surely: float = 0.6, otherwise: float = -1.0) -> Clue:
    """Return a clue on whether a quantity fell to a share of its value."""

    def judge(before: float, after: float) -> float:
        if (share := after / before) >= to:
            return otherwise * strength(share - to, 0.0, 1.0 - to)
        return strength(-share, -to, -surely)

    return _clue(name, judge, is_ratio=True)


def rose_by(name: str, *, none: float, full: float, otherwise: float = -1.0) -> Clue:
    """Return a clue on whether a quantity rose by an amount."""

    def judge(before: float, after: float) -> float:
        if (grown := after - before) <= none:
            return otherwise * strength(none - grown, 0.0, max(none, 1e-9))
        return strength(grown, none, full)

    return _clue(name, judge)


def rose_beyond_scheduling(name: str, *, none: float, full: float, otherwise: float = -1.0) -> Clue:
    """Return a clue on whether seconds rose by an amount, and, where other programs compete for the cores, by more than a wait for a core too."""
    quiet = rose_by(name, none=none, full=full, otherwise=otherwise)
    busy = rose_by(name, none=SCHEDULED_S + none, full=SCHEDULED_S + full, otherwise=otherwise)
    return lambda a, b: (busy if a.is_busy else quiet)(a, b)


def unchanged(name: str, *, within: float = 1.25) -> Clue:
    """Return a clue on whether a quantity is unchanged, as the cause requires; otherwise it is evidence against the cause."""

    def judge(before: float, after: float) -> float | None:
        if after <= 0:
            return None
        apart = abs(math.log(after / before)) / math.log(within)
        return 0.0 if apart <= 1 else -min(1.0, apart - 1)

    return _clue(name, judge, is_ratio=True)


def reaches(name: str, *, none: float, full: float, otherwise: float = -1.0) -> Clue:
    """Return a clue on whether a quantity is high in the load in question and was not in the healthy load."""

    def read(a: Observation, b: Observation) -> Reading | None:
        before, after = a.get(name), b.get(name)
        if after is None:
            return None
        text = (
            gettext_noop("{quantity} {after}").format(quantity=QUANTITIES[name], after=_shown(after))
            if before is None
            else gettext_noop("{quantity} {after} (healthy load: {before})").format(
                quantity=QUANTITIES[name], after=_shown(after), before=_shown(before)
            )
        )
        if before is not None and strength(before, none, full) >= 0.8:
            return 0.0, gettext_noop("{text}: unchanged").format(text=text)
        return (otherwise if after <= none else strength(after, none, full)), text

    return read


def limit_changed(name: str, *, grown: bool) -> Clue:
    """Return a clue on whether a limit that the server announces changed."""

    def read(a: Observation, b: Observation) -> Reading | None:
        try:
            before, after = (float(o.server.limits.get(name, "") if o.server else "") for o in (a, b))
        except ValueError:
            return None
        has_changed = after > before if grown else after < before
        text = gettext_noop("{quantity} {before} → {after}").format(
            quantity=QUANTITIES[name], before=f"{before:.0f}", after=f"{after:.0f}"
        )
        return (1.0 if has_changed else -1.0), text

    return read


def more_requests(a: Observation, b: Observation) -> Reading | None:
    """Return evidence on whether the request rate grew beyond chance: the lower end of the ratio of two Poisson counts."""
    before, after = a.get("offered_per_s"), b.get("offered_per_s")
    if not before or not after or a.n_requests < 2 or b.n_requests < 2:
        return None
    factor = after / before
    sure = factor * math.exp(-CHANCE_Z * math.sqrt(1 / a.n_requests + 1 / b.n_requests))
    text = gettext_noop("requests per second {before} → {after} (×{factor:.2f}, at least ×{sure:.2f})").format(
        before=_shown(before), after=_shown(after), factor=factor, sure=max(sure, 0.0)
    )
    if sure <= 1.05:
        return -strength(1.25 - factor, -0.25, 0.15), text
    return strength(math.log(sure), 0.0, math.log(1.35)), text


def more_gpu_processes(a: Observation, b: Observation) -> Reading | None:
    """Return evidence from the number of programs on the GPU; None where NVML does not even list the server, as inside a container."""
    before, after = a.get("gpu0.processes"), b.get("gpu0.processes")
    if before is None or after is None or before < 1:
        return None
    text = gettext_noop("compute processes on the GPU {before} → {after}").format(
        before=_shown(before), after=_shown(after)
    )
    return (-1.0 if after - before <= 0.4 else strength(after - before, 0.0, 0.9)), text


def factor_alone(a: Observation, b: Observation) -> tuple[float, str] | None:
    """Return the growth factor of the server's latency without other load: of a token or of a long prompt, whichever grew more."""
    factors = []
    for name, text, way in (
        ("probe.tpot_s", gettext_noop("without other load, a token takes {before:.1f} → {after:.1f} ms"), None),
        (
            "probe.long_ttft_s",
            gettext_noop("without other load, a long prompt takes {before:.1f} → {after:.1f} ms"),
            "probe.health_s",
        ),
    ):
        # The round trip is taken off a prompt's time where it was measured.
        before, after = ((o.get(name) or 0.0) - ((o.get(way) if way else None) or 0.0) for o in (a, b))
        if before > 0 and after > 0:
            factors.append((after / before, text.format(before=1000 * before, after=1000 * after)))
    return max(factors) if factors else None


def slower_alone(a: Observation, b: Observation) -> Reading | None:
    """Return evidence on whether the server itself is slower, whatever the load."""
    alone = factor_alone(a, b)
    if alone is None:
        return None
    factor, text = alone
    if factor <= ALONE_BY:
        return -strength(ALONE_BY - factor, 0.0, ALONE_BY - 1.0), text
    return strength(math.log(factor), math.log(ALONE_BY) * 0.8, math.log(1.6)), text


def as_fast_alone(a: Observation, b: Observation) -> Reading | None:
    """Return evidence on whether the server itself is as fast as before, as a cause in the load requires."""
    alone = factor_alone(a, b)
    if alone is None:
        return None
    return -strength(math.log(alone[0]), math.log(1.25), math.log(1.6)), alone[1]


def answers_differ(a: Observation, b: Observation) -> Reading | None:
    """Return evidence on whether greedy answers to the same prompts differ."""
    pairs = [(x, y) for x, y in zip(a.answers, b.answers, strict=False) if x is not None and y is not None]
    if not pairs:
        return None
    n = sum(x != y for x, y in pairs)
    text = gettext_noop("{n} of {pairs} greedy answers differ").format(n=n, pairs=len(pairs))
    return (-1.0 if n == 0 else 0.7 if n == 1 else 1.0), text


def server_card_differs(a: Observation, b: Observation) -> Reading | None:
    """Return evidence on whether the server announces another model or version."""
    if not (a.server and a.server.models and b.server and b.server.models):
        return None
    before, after = ([(m.id, m.root) for m in models] for models in (a.server.models, b.server.models))
    changes = (before != after, a.server.version != b.server.version)
    if not any(changes):
        return -0.4, SERVER_CARDS[changes]
    return 1.0, SERVER_CARDS[changes]


def stalls(*, together: bool) -> Clue:
    """Return a clue on whether stalls grew, and whether other streams stall with them more often than by chance, or go on."""

    def read(a: Observation, b: Observation) -> Reading | None:
        before, after = a.get("stalls_per_answer"), b.get("stalls_per_answer")
        if before is None or after is None:
            return None
        text = gettext_noop("stalls per answer {before:.2f} → {after:.2f}").format(before=before, after=after)
        n = strength(after - before, 0.02, 0.2)
        if n <= 0:
            return (-0.4 if together else -1.0), text
        shared, by_chance = b.get("stalls_shared_fraction"), b.get("stall_fraction") or 0.0
        if shared is None or by_chance >= 1:
            return (0.3 if together else 0.5) * n, text
        excess = (shared - by_chance) / (1 - by_chance)
        side = max(-1.0, min(1.0, 3 * (excess - 0.5)))
        together_too = gettext_noop("{shared} of the other answers stall at the same time ({by_chance} by chance)")
        text += "; " + together_too.format(shared=shown_percent(shared), by_chance=shown_percent(by_chance))
        return n * (side if together else -side), text

    return read


def share_of_change(*parts: str) -> Clue:
    """Return a clue on how much of the growth of the end-to-end latency lies in these parts."""
    names = {"queue": "server.queue_s", "prefill": "server.prefill_s", "decode": "server.decode_s"}
    first, *second = (PARTS.get(p, p) for p in parts)
    where = gettext_noop("{first} and {second}").format(first=first, second=second[0]) if second else first

    def read(a: Observation, b: Observation) -> Reading | None:
        grown: dict[str, float] = {}
        for part, name in names.items():
            before, after = a.get(name), b.get(name)
            if before is None or after is None:
                return None
            grown[part] = after - before
        before, after = a.get("e2e_s"), b.get("e2e_s")
        if "outside" in parts and (a.is_given_up or b.is_given_up):
            return None
        if before is None or after is None or after - before < 0.1 * before:
            return None
        grown["outside"] = (after - before) - sum(grown.values())
        share = sum(grown[p] for p in parts) / (after - before)
        text = gettext_noop("{share:.0f} % of the change lies in {where}").format(share=100 * share, where=where)
        return max(-1.0, min(1.0, 2 * share - 0.8)), text

    return read


def _shown(x: float) -> str:
    return f"{x:.3g}" if abs(x) < 10_000 else f"{x:.4g}"
