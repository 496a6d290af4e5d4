"""Rules for vLLM's metrics, made from what was promised."""

from workbench.alerts.rules import Absent, Least, Quantile, Rate, Ratio, Rule, SlowShare, Value
from workbench.core.errors import InvalidSpec

# Window pairs and burn rates of Google's SRE workbook for 30 days: share of the budget that is gone when it fires is
# factor x long window / 30 days (2 %, 5 %, 10 %).
BURN_RATES = (
    ("Fast", 3600.0, 300.0, 14.4, "page"),
    ("Middle", 6 * 3600.0, 1800.0, 6.0, "page"),
    ("Slow", 3 * 86400.0, 6 * 3600.0, 1.0, "ticket"),
)
TTFT_BOUNDS = (
    "0.001",
    "0.005",
    "0.01",
    "0.02",
    "0.04",
    "0.06",
    "0.08",
    "0.1",
    "0.25",
    "0.5",
    "0.75",
    "1.0",
    "2.5",
    "5.0",
)
"""Bounds of vLLM's histogram of first tokens, as it writes them; longer ones are left out."""


def vllm_rules(
    *,
    ttft_bound: str = "0.5",
    objective: float = 0.99,
    itl_p99_s: float = 0.1,
    patience_s: float = 120.0,
    prefix: str = "vllm:",
) -> list[Rule]:
    """Alerts for a vLLM server: outage, waiting, cache, errors, and how fast the promise on first tokens is used up.

    Args:
        ttft_bound: The promise on first tokens, one of ``TTFT_BOUNDS`` (seconds).
        objective: Share of requests that must keep it.
        itl_p99_s: Between tokens, at the 99th percentile.
        patience_s: How long a condition must last before it is told; half of it for an outage and a full cache.
        prefix: Of the metrics' names.
    """
    if ttft_bound not in TTFT_BOUNDS or not 0 < objective < 1:
        raise InvalidSpec(
            f"A promise of {ttft_bound} s for {objective} of the requests.",
            remedy=f"Choose a bound of vLLM's histogram: {', '.join(TTFT_BOUNDS)}; and a share below 1.",
        )
    budget = 1 - objective
    rules = [
        Rule(
            name="NoMetrics",
            expression=Absent(metric=f"{prefix}num_requests_running"),
            compare=">",
            threshold=0.0,
            for_s=patience_s / 2,
            severity="page",
            summary="The server shows no metrics: it is down, or cannot be reached.",
        ),
        Rule(
            name="FirstTokensLate",
            expression=Quantile(histogram=f"{prefix}time_to_first_token_seconds", q=0.99),
            compare=">",
            threshold=float(ttft_bound),
            for_s=patience_s,
            keep_firing_for_s=patience_s,
            summary=f"The 99th percentile of the time to the first token is above {ttft_bound} s.",
        ),
        Rule(
            name="TokensSlow",
            expression=Quantile(histogram=f"{prefix}inter_token_latency_seconds", q=0.99),
            compare=">",
            threshold=itl_p99_s,
            for_s=patience_s,
            keep_firing_for_s=patience_s,
            summary=f"The 99th percentile of the time between tokens is above {itl_p99_s:g} s.",
        ),
        Rule(
            name="RequestsWait",
            expression=Value(metric=f"{prefix}num_requests_waiting"),
            compare=">",
            threshold=0.0,
            for_s=patience_s,
            keep_firing_for_s=patience_s / 2,
            summary="Requests wait all the time: more comes in than is served.",
        ),
        Rule(
            name="CacheFull",
            expression=Value(metric=f"{prefix}kv_cache_usage_perc"),
            compare=">",
            threshold=0.95,
            for_s=patience_s / 2,
            keep_firing_for_s=patience_s / 2,
            summary="The KV cache is full: sequences will be thrown out.",
        ),
        Rule(
            name="Preemptions",
            expression=Rate(metric=f"{prefix}num_preemptions_total"),
            compare=">",
            threshold=0.1,
            for_s=patience_s,
            summary="Sequences are thrown out of the cache and read again.",
        ),
        Rule(
            name="AnswersCutOff",
            expression=Ratio(
                part=Rate(metric=f"{prefix}request_success_total", matchers={"finished_reason": "abort"}),
                whole=Rate(metric=f"{prefix}request_success_total"),
            ),
            compare=">",
            threshold=0.05,
            for_s=patience_s,
            summary="More than 5 % of the requests are given up by their clients or by the server.",
        ),
    ]
    for name, long_s, short_s, factor, severity in BURN_RATES:
        windows = [
            SlowShare(histogram=f"{prefix}time_to_first_token_seconds", bound=ttft_bound, window_s=w)
            for w in (long_s, short_s)
        ]
        rules.append(
            Rule(
                name=f"PromiseUsedUp{name}",
                expression=Least(first=windows[0], second=windows[1]),
                compare=">",
                threshold=round(min(0.999, factor * budget), 6),
                severity=severity,  # type: ignore[arg-type]
                summary=f"First tokens come later than {ttft_bound} s {factor:g} times as often as {100 * objective:g} % allow.",
            )
        )
    return rules


def gold_rule(*, every_s: float, most_wrong: float = 0.1, prefix: str = "workbench_gold_") -> Rule:
    """An alert on wrong answers to the gold set, from the counts of what is asked on a schedule.

    Args:
        every_s: Seconds between rounds; three rounds are looked at.
        most_wrong: Share of wrong answers from which on it is told.
        prefix: Of the counters ``wrong_total`` and ``asked_total``.
    """
    window = max(300.0, 3 * every_s + 30.0)
    return Rule(
        name="AnswersWrong",
        expression=Ratio(
            part=Rate(metric=f"{prefix}wrong_total", window_s=window),
            whole=Rate(metric=f"{prefix}asked_total", window_s=window),
            least_events=4.0,
        ),
        compare=">",
        threshold=most_wrong,
        severity="page",
        summary=f"More than {100 * most_wrong:g} % of the answers to the gold set are wrong: another model or precision may answer.",
    )
