"""What a surge says: the verdict, and the rows of its tables."""

from collections.abc import Sequence

from workbench.core.language import gettext, pgettext
from workbench.core.runs import Run
from workbench.core.units import shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict, objections
from workbench.questions.surge.rows import SurgeResult, SurgeSamples, without_controls
from workbench.questions.surge.spec import CONTROLS, SurgeSpec

LEAST_GOODPUT, LEAST_SHARE = 0.9, 0.5
WATCHED_TO_THE_END_S = 1.0
NEAR = 0.9
BEYOND = {
    "cache": gettext("answers from the cache"),
    "shorter": gettext("shorter answers"),
    "all": gettext("answers from the cache and shorter answers"),
}
"""Controls with which more requests than the engine's own capacity can be answered, and how."""
RESULT_HEAD = (
    gettext("Controls"),
    gettext("goodput / capacity"),
    "TTFT p50",
    "TTFT p99",
    gettext("refused"),
    pgettext("requests", "late"),
    gettext("timed out"),
    gettext("shortened"),
    gettext("lowest fair share"),
    gettext("recovered after"),
)
TENANT_HEAD = (
    gettext("Controls"),
    gettext("tenant"),
    gettext("sent/s"),
    gettext("fair share/s"),
    gettext("goodput/s"),
    gettext("goodput / fair share"),
)


def shown_controls(name: str) -> str:
    """Return what a reader sees of a set of controls."""
    return gettext(CONTROLS[name])


def verdict(run: Run) -> Verdict:
    """Return the set of controls with the highest goodput, compared with no gateway."""
    rows, spec, samples = run.rows(SurgeResult), run.asked(SurgeSpec), run.sampled(SurgeSamples)
    best = max(rows, key=lambda r: (r.goodput_fraction, -(r.ttft_p99_s or 0)))
    bare, capacity_per_s = without_controls(run), samples.capacity.requests_per_s
    fair = [shown_controls(r.controls) for r in rows if (r.least_fair_share_fraction or 0) >= LEAST_SHARE]
    near = [
        shown_controls(r.controls) for r in rows if r is not best and r.goodput_fraction >= NEAR * best.goodput_fraction
    ]
    headline = gettext(
        "With “{controls}”, goodput is {goodput} of the engine's own capacity at a request rate of {factor} times that capacity."
    ).format(
        controls=shown_controls(best.controls),
        goodput=shown_percent(best.goodput_fraction),
        factor=f"{spec.overload:g}",
    )
    if bare is not None and bare is not best:
        headline = gettext("{first} {second}").format(first=headline, second=_without_gateway(bare, spec.after_s))
    points = []
    if (best.least_fair_share_fraction or 0) < LEAST_SHARE:
        points.append(gettext("some tenant gets less than half of its fair share with it"))
    if near and best.goodput_fraction > 0:
        points.append(gettext("within a tenth of it: {controls}").format(controls=gettext("; ").join(near)))
    if best.goodput_fraction < LEAST_GOODPUT:
        points.append(gettext("it is below 90 % of the engine's capacity"))
    if best.degraded_fraction > 0:
        points.append(
            gettext("{share} of the requests got a shorter answer than they asked for").format(
                share=shown_percent(best.degraded_fraction)
            )
        )
    is_gain = bare is None or best.goodput_fraction > bare.goodput_fraction
    return Verdict(
        headline=headline,
        evidence=gettext("{first} {second}").format(first=_capacity_text(best, capacity_per_s), second=_refused(best)),
        objection=objections(points, most=4),
        scope=gettext(
            "Every tenant gets at least half of its fair share with: {controls}. The SLO is a TTFT of at most {ttft_s} s and a TPOT of at most {tpot_ms} ms."
        ).format(
            controls=gettext("; ").join(fair) or gettext("none of the controls"),
            ttft_s=f"{spec.slo_ttft_s:g}",
            tpot_ms=f"{1e3 * samples.slo_tpot_s:.0f}",
        ),
        answer="yes" if is_gain and best.goodput_fraction > 0 else "no",
        best=best.controls,
    )


def _refused(best: SurgeResult) -> str:
    if best.refused_fraction is None:
        return gettext("How many requests were refused is not known.")
    return gettext("Of all requests of the surge, {share} were refused with a Retry-After header.").format(
        share=shown_percent(best.refused_fraction)
    )


def _capacity_text(best: SurgeResult, capacity_per_s: float) -> str:
    """Return the capacity, which is of full answers by the engine alone, and what lets goodput exceed it where it does."""
    rate = three_digits(capacity_per_s)
    if best.goodput_fraction <= 1:
        return gettext("The capacity is {rate} requests/s.").format(rate=rate)
    return gettext(
        "The capacity is {rate} requests/s with full answers and without a cache; beyond it go {answers}."
    ).format(rate=rate, answers=BEYOND.get(best.controls) or gettext("requests that were shorter by chance"))


def _is_recovered(row: SurgeResult, after_s: float) -> bool:
    """Return whether recovery was seen: no request missed the SLO at the end of the observation."""
    return row.recovery_s <= after_s - WATCHED_TO_THE_END_S


def _without_gateway(bare: SurgeResult, after_s: float) -> str:
    """Return the goodput without a gateway, and when the last request missed the SLO."""
    goodput = shown_percent(bare.goodput_fraction)
    if _is_recovered(bare, after_s):
        return gettext("Without a gateway it is {goodput}; the engine recovered after {seconds} s.").format(
            goodput=goodput, seconds=f"{bare.recovery_s:.1f}"
        )
    return gettext("Without a gateway it is {goodput}; the engine had not recovered after {seconds} s.").format(
        goodput=goodput, seconds=f"{after_s:g}"
    )


def _recovery(row: SurgeResult, after_s: float) -> str:
    """Return the cell of the recovery."""
    if _is_recovered(row, after_s):
        return f"{row.recovery_s:.1f} s"
    return gettext("had not recovered after {seconds} s").format(seconds=f"{after_s:g}")


def result_rows(rows: Sequence[SurgeResult], after_s: float) -> list[tuple[str, ...]]:
    """Return the cells of ``RESULT_HEAD`` for each set of controls."""
    return [
        (
            shown_controls(r.controls),
            shown_percent(r.goodput_fraction),
            shown_duration(r.ttft_p50_s),
            shown_duration(r.ttft_p99_s),
            shown_percent(r.refused_fraction),
            shown_percent(r.late_fraction),
            shown_percent(r.timed_out_fraction),
            shown_percent(r.degraded_fraction),
            shown_percent(r.least_fair_share_fraction),
            _recovery(r, after_s),
        )
        for r in rows
    ]


def tenant_rows(rows: Sequence[SurgeResult]) -> list[tuple[str, ...]]:
    """Return the cells of ``TENANT_HEAD`` for each set of controls and tenant."""
    return [
        (
            shown_controls(r.controls),
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
    derived = gettext(
        "Derived from the measured capacity ({requests} requests/s and {tokens} prompt tokens/s) and an SLO of {ttft_s} s for TTFT."
    ).format(
        requests=three_digits(capacity.requests_per_s),
        tokens=f"{capacity.prompt_tokens_per_s:,.0f}",
        ttft_s=f"{slo_ttft_s:g}",
    )
    versions = gettext(
        "The two queue limits exist from vLLM 0.33 on; older versions need a gateway. vLLM refuses with status 503, without regard to tenants and without a Retry-After header."
    )
    for more in filter(None, (_limits_text(samples, slo_ttft_s), versions)):
        derived = gettext("{first} {second}").format(first=derived, second=more)
    return line, derived


def _limits_text(samples: SurgeSamples, slo_ttft_s: float) -> str:
    """Return what was simulated to find the limits; empty for older runs, whose limits were shares of the SLO."""
    limits = samples.limits
    if limits is None:
        return ""
    if limits.ttft_p99_s > slo_ttft_s:
        return gettext(
            "In a simulation of the surge with these step times a first token takes up to {ttft} (p99) even where nobody waits: the SLO needs a faster engine, shorter prompts or smaller batches."
        ).format(ttft=shown_duration(limits.ttft_p99_s))
    return gettext(
        "In a simulation of the surge with these step times, {waiting} requests may wait so that 99 % of those that are let in meet it (TTFT p99 {ttft}); a gateway that refuses by time keeps a request for {wait}."
    ).format(waiting=f"{limits.waiting:,}", ttft=shown_duration(limits.ttft_p99_s), wait=shown_duration(limits.wait_s))
