"""Simple ways to find a cause, for comparison: static thresholds, the checks of the seed's FAQ, and N-sigma over all signals.

Each gets the same observations as ours and the most favourable reading of its signals as causes.
"""

from collections.abc import Callable
from dataclasses import dataclass

from workbench.experiments.observation import Observation

SIGMAS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """What a simple way says."""

    causes: tuple[str, ...]
    """The first one is named; none: all is well."""


def static_thresholds(a: Observation, b: Observation) -> Guess:  # noqa: ARG001
    """Limits as dashboards and alert rules have them, on the current load only; the one that is exceeded most comes first."""
    limits = (
        ("engine.num_requests_waiting", 5.0, "surge"),
        ("engine.kv_cache_usage_perc.max", 0.9, "KV cache too small"),
        ("engine.num_preemptions_total.per_s", 0.1, "KV cache too small"),
        ("host.cpu_percent", 90.0, "processor taken by others"),
        ("memory_used_fraction", 0.9, "memory pressure"),
        ("failed_fraction", 0.01, "server errors"),
        ("host.retransmitted_segments.per_s", 1.0, "packets lost"),
        ("probe.health_s", 0.1, "slow network"),
        ("ttft_s", 1.0, "surge"),
        ("tpot_s", 0.05, "batch limit raised"),
        ("input_tokens", 2000.0, "longer prompts"),
        ("output_tokens", 500.0, "longer answers"),
        ("gpu0.temperature_c", 85.0, "GPU clocks held down"),
    )
    found: dict[str, float] = {}
    for name, limit, cause in limits:
        value = b.get(name)
        if value is not None and value > limit:
            found[cause] = max(found.get(cause, 0.0), value / limit)
    return Guess(causes=tuple(sorted(found, key=lambda c: -found[c])))


def faq_checks(a: Observation, b: Observation) -> Guess:  # noqa: ARG001
    """The FAQ's troubleshooter: processor above 90 %, memory above 90 %, GPU above 95 %, in this order."""
    checks = (
        ("host.cpu_percent", 90.0, "processor taken by others"),
        ("memory_used_fraction", 0.9, "memory pressure"),
        ("gpu0.utilisation_percent", 95.0, "GPU shared"),
    )
    return Guess(causes=tuple(cause for name, limit, cause in checks if (b.get(name) or 0.0) > limit))


SIGNALS = {
    "offered_per_s": "surge",
    "engine.num_requests_waiting": "surge",
    "input_tokens": "longer prompts",
    "output_tokens": "longer answers",
    "engine.prefix_cache_hits_total.per_s": "prefix cache missed",
    "hit_fraction": "prefix cache missed",
    "engine.kv_cache_usage_perc": "KV cache too small",
    "engine.num_preemptions_total.per_s": "KV cache too small",
    "tpot_s": "batch limit raised",
    "engine.num_requests_running": "batch limit raised",
    "engine.request_queue_time_seconds_sum.per_s": "batch limit lowered",
    "host.cpu_percent": "processor taken by others",
    "host.cpu_stalled_s.per_s": "processor taken by others",
    "others_cores": "processor taken by others",
    "server.allowed_cores": "server has fewer cores",
    "server.cpu_percent": "server has fewer cores",
    "host.throttled_s.per_s": "server has fewer cores",
    "host.memory_used_bytes": "memory pressure",
    "host.memory_stalled_s.per_s": "memory pressure",
    "probe.health_s": "slow network",
    "outside_ttft_s": "slow network",
    "host.retransmitted_segments.per_s": "packets lost",
    "stalls_per_answer": "packets lost",
    "tokenizing_s": "slow tokenizer",
    "front_s": "slow tokenizer",
    "failed_fraction": "server errors",
    "engine.request_failure_total.per_s": "server errors",
    "longest_silence_of_counters_s": "server pauses",
    "server.memory_bytes": "model or precision changed",
    "gpu0.processes": "GPU shared",
    "gpu0.sm_clock_mhz": "GPU clocks held down",
}
UNKNOWN_SPREAD = 0.1  # of the value, where the baseline has one reading
LEAST_SPREAD = 0.01


def n_sigma(a: Observation, b: Observation) -> Guess:
    """Every signal's distance from its baseline in standard deviations; causes by their farthest signal."""
    found: dict[str, float] = {}
    for name, cause in SIGNALS.items():
        before, after = a.get(name), b.get(name)
        if before is None or after is None:
            continue
        spread = max(a.spreads.get(name, UNKNOWN_SPREAD * abs(before)), LEAST_SPREAD * abs(before), 1e-9)
        found[cause] = max(found.get(cause, 0.0), abs(after - before) / spread)
    return Guess(causes=tuple(c for c in sorted(found, key=lambda c: -found[c]) if found[c] > SIGMAS))


METHODS: dict[str, Callable[[Observation, Observation], Guess]] = {
    "static thresholds": static_thresholds,
    "FAQ's checks": faq_checks,
    "N-sigma": n_sigma,
}
