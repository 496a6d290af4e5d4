"""What a surge says: the verdict, and the rows of its tables."""

from collections.abc import Sequence

from workbench.core.runs import Run
from workbench.core.units import shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict, objections
from workbench.questions.surge.rows import SurgeResult, SurgeSamples, without_controls
from workbench.questions.surge.spec import CONTROLS, SurgeSpec

LEAST_GOODPUT, LEAST_SHARE = 0.9, 0.5
WATCHED_TO_THE_END_S = 1.0
NEAR = 0.9
BEYOND = ((("cache", "all"), "answers from the cache"), (("shorter", "all"), "shorter answers"))
"""Controls with which more requests than the engine's own capacity can be answered, and how."""
RESULT_HEAD = (
    "Controls",
    "goodput / capacity",
    "TTFT p50",
    "TTFT p99",
    "refused",
    "late",
    "timed out",
    "shortened",
    "lowest fair share",
    "recovered after",
)
TENANT_HEAD = ("Controls", "tenant", "sent/s", "fair share/s", "goodput/s", "goodput / fair share")


def verdict(run: Run) -> Verdict:
    """Return the set of controls with the highest goodput, compared with no gateway."""
    rows, spec, samples = run.rows(SurgeResult), run.asked(SurgeSpec), run.sampled(SurgeSamples)
    best = max(rows, key=lambda r: (r.goodput_fraction, -(r.ttft_p99_s or 0)))
    bare, capacity_per_s = without_controls(run), samples.capacity.requests_per_s
    fair = [CONTROLS[r.controls] for r in rows if (r.least_fair_share_fraction or 0) >= LEAST_SHARE]
    near = [CONTROLS[r.controls] for r in rows if r is not best and r.goodput_fraction >= NEAR * best.goodput_fraction]
    without = ""
    if bare is not None and bare is not best:
        without = f" Without a gateway it is {shown_percent(bare.goodput_fraction)}; the engine {_recovery(bare, spec.after_s)}."
    points = []
    if (best.least_fair_share_fraction or 0) < LEAST_SHARE:
        points.append("some tenant gets less than half of its fair share with it")
    if near and best.goodput_fraction > 0:
        points.append(f"within a tenth of it: {'; '.join(near)}")
    if best.goodput_fraction < LEAST_GOODPUT:
        points.append("it is below 90 % of the engine's capacity")
    if best.degraded_fraction > 0:
        points.append(
            f"{shown_percent(best.degraded_fraction)} of the requests got a shorter answer than they asked for"
        )
    is_gain = bare is None or best.goodput_fraction > bare.goodput_fraction
    return Verdict(
        headline=f"With “{CONTROLS[best.controls]}”, goodput is {shown_percent(best.goodput_fraction)} of the engine's own capacity at a request rate "
        f"of {spec.overload:g} times that capacity.{without}",
        evidence=f"The capacity is {three_digits(capacity_per_s)} requests/s{_beyond_capacity(best)}. {_refused(best)}",
        objection=objections(points, most=4),
        scope=f"Every tenant gets at least half of its fair share with: {'; '.join(fair) or 'none of the controls'}. "
        f"The SLO is a TTFT of at most {spec.slo_ttft_s:g} s and a TPOT of at most {1e3 * samples.slo_tpot_s:.0f} ms.",
        answer="yes" if is_gain and best.goodput_fraction > 0 else "no",
        best=best.controls,
    )


def _refused(best: SurgeResult) -> str:
    if best.refused_fraction is None:
        return "How many requests were refused is not known."
    return (
        f"Of all requests of the surge, {shown_percent(best.refused_fraction)} were refused with a Retry-After header."
    )


def _beyond_capacity(best: SurgeResult) -> str:
    """Return what lets goodput exceed the capacity, which is of full answers by the engine alone; empty where it does not."""
    if best.goodput_fraction <= 1:
        return ""
    ways = [text for names, text in BEYOND if best.controls in names]
    return f" with full answers and without a cache; beyond it go {' and '.join(ways) or 'requests that were shorter by chance'}"


def _recovery(row: SurgeResult, after_s: float) -> str:
    """Return when the last request missed the SLO; where one did at the end of the observation, recovery was not seen."""
    if row.recovery_s > after_s - WATCHED_TO_THE_END_S:
        return f"had not recovered after {after_s:g} s"
    return f"recovered after {row.recovery_s:.1f} s"


def result_rows(rows: Sequence[SurgeResult], after_s: float) -> list[tuple[str, ...]]:
    """Return the cells of ``RESULT_HEAD`` for each set of controls."""
    return [
        (
            CONTROLS[r.controls],
            shown_percent(r.goodput_fraction),
            shown_duration(r.ttft_p50_s),
            shown_duration(r.ttft_p99_s),
            shown_percent(r.refused_fraction),
            shown_percent(r.late_fraction),
            shown_percent(r.timed_out_fraction),
            shown_percent(r.degraded_fraction),
            shown_percent(r.least_fair_share_fraction),
            _recovery(r, after_s).removeprefix("recovered after "),
        )
        for r in rows
    ]


def tenant_rows(rows: Sequence[SurgeResult]) -> list[tuple[str, ...]]:
    """Return the cells of ``TENANT_HEAD`` for each set of controls and tenant."""
    return [
        (
            CONTROLS[r.controls],
            name,
            f"{tenant.asked_per_s:.1f}",
            f"{tenant.fair_per_s:.1f}",
            f"{tenant.good_per_s:.1f}",
            shown_percent(tenant.fair_share_fraction),
        )
        for r in rows
        for name, tenant in r.tenants.items()
    ]


def vllm_flags(run: Run) -> tuple[str, str]:
    """Return the vLLM launch command with the same limits, and what they were derived from."""
    samples = run.sampled(SurgeSamples)
    capacity = samples.capacity
    line = "vllm serve MODEL " + " ".join(f"{flag} {limit}" for flag, limit in samples.flags.items())
    slo_ttft_s = run.asked(SurgeSpec).slo_ttft_s
    return line, (
        f"Derived from the measured capacity ({three_digits(capacity.requests_per_s)} requests/s and {capacity.prompt_tokens_per_s:,.0f} prompt tokens/s) and an "
        f"SLO of {slo_ttft_s:g} s for TTFT. {_limits_text(samples, slo_ttft_s)}The two queue limits exist from vLLM 0.33 on; older versions need a "
        "gateway. vLLM refuses with status 503, without regard to tenants and without a Retry-After header."
    )


def _limits_text(samples: SurgeSamples, slo_ttft_s: float) -> str:
    """Return what was simulated to find the limits; empty for older runs, whose limits were shares of the SLO."""
    limits = samples.limits
    if limits is None:
        return ""
    if limits.ttft_p99_s > slo_ttft_s:
        return (
            f"In a simulation of the surge with these step times a first token takes up to {shown_duration(limits.ttft_p99_s)} (p99) even where "
            "nobody waits: the SLO needs a faster engine, shorter prompts or smaller batches. "
        )
    return (
        f"In a simulation of the surge with these step times, {limits.waiting:,} requests may wait so that 99 % of those that are let in meet "
        f"it (TTFT p99 {shown_duration(limits.ttft_p99_s)}); a gateway that refuses by time keeps a request for {shown_duration(limits.wait_s)}. "
    )
