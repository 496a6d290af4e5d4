"""Simple methods to find a cause, for comparison: static thresholds, the checks of the FAQ, and N-sigma over all signals.

Each gets the same observations as the workbench's diagnosis, and its signals are mapped to causes as favourably as possible.
"""

from collections.abc import Callable

from workbench.core.language import gettext_noop
from workbench.questions.latency.findings.observation import Observation

SIGMAS = 3.0
Guess = tuple[str, ...]
"""Causes, the first of which is named; empty for a healthy load."""


def static_thresholds(a: Observation, b: Observation) -> Guess:  # noqa: ARG001
    """Return the causes whose limit the current load exceeds, the largest excess first; limits are those of dashboards and alert rules."""
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
    excess: dict[str, float] = {}
    for name, limit, cause in limits:
        value = b.get(name)
        if value is not None and value > limit:
            excess[cause] = max(excess.get(cause, 0.0), value / limit)
    return tuple(sorted(excess, key=lambda c: -excess[c]))


def faq_checks(a: Observation, b: Observation) -> Guess:  # noqa: ARG001
    """Return the causes by the FAQ's troubleshooter: processor above 90 %, memory above 90 %, GPU above 95 %, in this order."""
    checks = (
        ("host.cpu_percent", 90.0, "processor taken by others"),
        ("memory_used_fraction", 0.9, "memory pressure"),
        ("gpu0.utilisation_percent", 95.0, "GPU shared"),
    )
    return tuple(cause for name, limit, cause in checks if (b.get(name) or 0.0) > limit)


SIGNALS = {
    "surge": ("offered_per_s", "engine.num_requests_waiting"),
    "longer prompts": ("input_tokens",),
    "longer answers": ("output_tokens",),
    "prefix cache missed": ("engine.prefix_cache_hits_total.per_s", "hit_fraction"),
    "KV cache too small": ("engine.kv_cache_usage_perc", "engine.num_preemptions_total.per_s"),
    "batch limit raised": ("tpot_s", "engine.num_requests_running"),
    "batch limit lowered": ("engine.request_queue_time_seconds_sum.per_s",),
    "processor taken by others": ("host.cpu_percent", "host.cpu_stalled_s.per_s", "others_cores"),
    "server has fewer cores": ("server.allowed_cores", "server.cpu_percent", "host.throttled_s.per_s"),
    "memory pressure": ("host.memory_used_bytes", "host.memory_stalled_s.per_s"),
    "slow network": ("probe.health_s", "outside_ttft_s"),
    "packets lost": ("host.retransmitted_segments.per_s", "stalls_per_answer"),
    "slow tokenizer": ("tokenizing_s", "front_s"),
    "server errors": ("failed_fraction", "engine.request_failure_total.per_s"),
    "server pauses": ("longest_metrics_gap_s",),
    "model or precision changed": ("server.memory_bytes",),
    "GPU shared": ("gpu0.processes",),
    "GPU clocks held down": ("gpu0.sm_clock_mhz",),
}
"""Signals by the cause that they stand for."""
UNKNOWN_SPREAD = 0.1  # of the value, where the baseline has one sample
LEAST_SPREAD = 0.01


def n_sigma(a: Observation, b: Observation) -> Guess:
    """Return the causes by the signal that is farthest from its baseline in standard deviations."""
    distance: dict[str, float] = {}
    for cause, names in SIGNALS.items():
        for name in names:
            before, after = a.get(name), b.get(name)
            if before is None or after is None:
                continue
            spread = max(a.spreads.get(name, UNKNOWN_SPREAD * abs(before)), LEAST_SPREAD * abs(before), 1e-9)
            distance[cause] = max(distance.get(cause, 0.0), abs(after - before) / spread)
    return tuple(c for c in sorted(distance, key=lambda c: -distance[c]) if distance[c] > SIGMAS)


METHODS: dict[str, Callable[[Observation, Observation], Guess]] = {
    gettext_noop("static thresholds"): static_thresholds,
    gettext_noop("FAQ's checks"): faq_checks,
    "N-sigma": n_sigma,
}
