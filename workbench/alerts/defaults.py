"""Alert rules for vLLM's metrics, made from the SLO."""

from workbench.alerts.rules import Absent, Least, Quantile, Rate, Ratio, Rule, SlowShare, Value
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext

# Window pairs and burn rates of Google's SRE workbook for 30 days: the share of the error budget that is spent when the
# rule fires is factor x long window / 30 days (2 %, 5 %, 10 %).
BURN_RATES = (
    ("Fast", 3600.0, 300.0, 14.4, "page"),
    ("Medium", 6 * 3600.0, 1800.0, 6.0, "page"),
    ("Slow", 3 * 86400.0, 6 * 3600.0, 1.0, "ticket"),
)
TTFT_BOUNDS = tuple("0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1.0 2.5 5.0".split())  # noqa: SIM905
"""Bounds of vLLM's histogram of the TTFT, as vLLM writes them; longer ones are left out."""
ALWAYS_THERE = {"vllm:": "num_requests_running", "workbench:": "num_requests_under_way"}
"""A metric that every running server has, by prefix: the workbench's ONNX server has no queue whose requests it could count."""


def vllm_rules(
    *,
    ttft_bound: str = "0.5",
    objective: float = 0.99,
    itl_p99_s: float = 0.1,
    patience_s: float = 120.0,
    prefix: str = "vllm:",
) -> list[Rule]:
    """Return the alerts for a vLLM server: outage, TTFT, ITL, queue, KV cache, aborted requests, and burn rates of the error budget.

    Args:
        ttft_bound: SLO on the TTFT in seconds, one of ``TTFT_BOUNDS``.
        objective: Share of the requests that must meet the SLO.
        itl_p99_s: Limit on the p99 ITL.
        patience_s: How long a condition must last before its alert fires; half of it for an outage and a full cache.
        prefix: First characters of the metrics' names.
    """
    if ttft_bound not in TTFT_BOUNDS or not 0 < objective < 1:
        raise InvalidSpec(
            gettext("The SLO is a TTFT of {bound} s for {objective} of the requests.").format(
                bound=ttft_bound, objective=objective
            ),
            remedy=gettext("Choose a bound of vLLM's histogram: {names}; and a share below 1.").format(
                names=", ".join(TTFT_BOUNDS)
            ),
        )
    budget, always_there = 1 - objective, prefix + ALWAYS_THERE.get(prefix, ALWAYS_THERE["vllm:"])
    ttft = f"{prefix}time_to_first_token_seconds"
    rules = [
        Rule(
            name="NoMetrics",
            expression=Absent(metric=always_there),
            threshold=0.0,
            for_s=patience_s / 2,
            severity="page",
            summary=gettext(
                "The metric {metric} is absent: the server does not answer, or its metrics have other names."
            ).format(metric=always_there),
        ),
        Rule(
            name="TtftHigh",
            expression=Quantile(histogram=ttft, q=0.99),
            threshold=float(ttft_bound),
            for_s=patience_s,
            keep_firing_for_s=patience_s,
            summary=gettext("The p99 TTFT is above {seconds} s.").format(seconds=ttft_bound),
        ),
        Rule(
            name="ItlHigh",
            expression=Quantile(histogram=f"{prefix}inter_token_latency_seconds", q=0.99),
            threshold=itl_p99_s,
            for_s=patience_s,
            keep_firing_for_s=patience_s,
            summary=gettext("The p99 ITL is above {seconds} s.").format(seconds=f"{itl_p99_s:g}"),
        ),
        Rule(
            name="RequestsQueued",
            expression=Value(metric=f"{prefix}num_requests_waiting"),
            threshold=0.0,
            for_s=patience_s,
            keep_firing_for_s=patience_s / 2,
            summary=gettext("The queue is never empty: more requests arrive than the server completes."),
        ),
        Rule(
            name="KvCacheFull",
            expression=Value(metric=f"{prefix}kv_cache_usage_perc"),
            threshold=0.95,
            for_s=patience_s / 2,
            keep_firing_for_s=patience_s / 2,
            summary=gettext("The KV cache is full: sequences will be preempted."),
        ),
        Rule(
            name="Preemptions",
            expression=Rate(metric=f"{prefix}num_preemptions_total"),
            threshold=0.1,
            for_s=patience_s,
            summary=gettext("Sequences are preempted, and their prefill is computed again."),
        ),
        Rule(
            name="RequestsAborted",
            expression=Ratio(
                part=Rate(metric=f"{prefix}request_success_total", matchers={"finished_reason": "abort"}),
                whole=Rate(metric=f"{prefix}request_success_total"),
            ),
            threshold=0.05,
            for_s=patience_s,
            summary=gettext("More than 5 % of the requests are aborted by their clients or by the server."),
        ),
    ]
    for name, long_s, short_s, factor, severity in BURN_RATES:
        long, short = (SlowShare(histogram=ttft, bound=ttft_bound, window_s=w) for w in (long_s, short_s))
        rules.append(
            Rule(
                name=f"ErrorBudgetBurn{name}",
                expression=Least(first=long, second=short),
                threshold=round(min(0.999, factor * budget), 6),
                severity=severity,  # type: ignore[arg-type]
                summary=gettext(
                    "The TTFT exceeds {seconds} s {factor} times as often as an SLO attainment of {objective} % allows."
                ).format(seconds=ttft_bound, factor=f"{factor:g}", objective=f"{100 * objective:g}"),
            )
        )
    return rules


def gold_rule(*, every_s: float, most_wrong: float = 0.1, prefix: str = "workbench_gold_") -> Rule:
    """Return an alert on wrong answers to the gold set, from the counts of the scheduled questions.

    Args:
        every_s: Seconds between rounds; the rule covers three rounds.
        most_wrong: Share of wrong answers above which the alert fires.
        prefix: First characters of the counters ``wrong_total`` and ``asked_total``.
    """
    window = max(300.0, 3 * every_s + 30.0)
    return Rule(
        name="AnswersWrong",
        expression=Ratio(
            part=Rate(metric=f"{prefix}wrong_total", window_s=window),
            whole=Rate(metric=f"{prefix}asked_total", window_s=window),
            least_events=4.0,
        ),
        threshold=most_wrong,
        severity="page",
        summary=gettext(
            "More than {share} % of the answers to the gold set are wrong: another model or precision may answer."
        ).format(share=f"{100 * most_wrong:g}"),
    )
