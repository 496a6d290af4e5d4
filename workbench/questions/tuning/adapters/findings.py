"""What a run of adapters says: what they cost beside the base model, what misses of slots add, and the price of a tenant."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.catalog.prices import median_price
from workbench.core.columns import Columns
from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.core.units import shown_bytes, shown_duration, shown_p99, shown_percent, shown_usd, three_digits
from workbench.core.verdict import Answer, Verdict, objections
from workbench.measuring.machine import BUSY
from workbench.questions.tuning.adapters.rows import AdapterLoad, AdapterServer
from workbench.questions.tuning.adapters.spec import AdaptersSpec

LITTLE = 0.05
"""Share of the throughput that may be lost without a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """What one of several tenants pays, who each have an adapter on the same device."""

    n: int
    rank: int | None
    slots: int
    share: float
    """Of the device's price."""
    usd_per_hour: float | None
    """None where no price is known."""
    usd_per_million_tokens: float | None
    """With the throughput that was measured with so many adapters."""


def shown_ratio(value: Interval | None) -> str:
    """Return a ratio with its interval."""
    if value is None:
        return "–"
    return f"{three_digits(value.value)} [{three_digits(value.low)}, {three_digits(value.high)}]"


def load_name(row: AdapterLoad) -> str:
    """Return what readers call a row's use of adapters."""
    if not row.n_adapters:
        return gettext("base model")
    if row.n_adapters == 1:
        return gettext("one adapter")
    if not row.skew:
        return gettext("{n} adapters, even use").format(n=row.n_adapters)
    return gettext("{n} adapters, Zipf {skew}").format(n=row.n_adapters, skew=f"{row.skew:g}")


def server_name(row: AdapterLoad | AdapterServer) -> str:
    """Return what readers call a row's server."""
    if row.rank is None:
        return gettext("running server, {slots} slots").format(slots=row.slots)
    return gettext("rank {rank}, {slots} slots").format(rank=row.rank, slots=row.slots)


def loads(run: Run) -> list[AdapterLoad]:
    """Return the loads on adapters, those of the base model left out."""
    return [r for r in run.rows(AdapterLoad) if r.n_adapters and r.throughput_ratio is not None]


def most_that_fit(rows: Sequence[AdapterLoad]) -> AdapterLoad:
    """Return the load with the most adapters that all have a slot, of the smallest rank and the most even use; else the fewest adapters.

    Raises ``NotAvailable`` where nothing was measured.
    """
    if not rows:
        raise NotAvailable(gettext("No load on adapters was measured."), remedy=gettext("Measure again."))
    fitting = [r for r in rows if r.n_adapters <= r.slots]
    if not fitting:
        return min(rows, key=lambda r: (r.n_adapters, r.rank or 0, r.skew))
    return min(fitting, key=lambda r: (-r.n_adapters, r.rank or 0, r.skew))


def cost_answer(ratio: Interval) -> Answer:
    """Return whether adapters leave the throughput as it is: yes within 5 %, no where a loss is shown, else open."""
    if ratio.low > 1 - LITTLE:
        return "yes"
    return "no" if ratio.high < 1 else "open"


def verdict(run: Run) -> Verdict:
    """Return what adapters cost, what misses add, and what speaks against it."""
    rows = loads(run)
    shown = most_that_fit(rows)
    ratio = shown.throughput_ratio
    assert ratio is not None  # loads are those that have one
    answer, values = cost_answer(ratio), {"name": load_name(shown), "server": server_name(shown)}
    if answer == "yes":
        headline = gettext(
            "Adapters cost little: {name} ({server}) keep {share} of the base model's throughput."
        ).format(**values, share=_shown_shares(ratio))
    elif answer == "no":
        headline = gettext(
            "Adapters cost throughput: {name} ({server}) keep {share} of that of the base model."
        ).format(**values, share=_shown_shares(ratio))
    else:
        headline = gettext(
            "What adapters cost is open: {name} ({server}) keep {share} of the base model's throughput."
        ).format(**values, share=_shown_shares(ratio))
    tenant = gettext("a tenant of {n} pays {share} of a device").format(
        n=shown.n_adapters, share=shown_percent(1 / shown.n_adapters, 1)
    )
    return Verdict(
        headline=headline,
        evidence=gettext(
            "TTFT is {ttft} times and TPOT {tpot} times that of the base model; {tenant}. {misses}"
        ).format(
            ttft=shown_ratio(shown.ttft_ratio),
            tpot=shown_ratio(shown.tpot_ratio),
            tenant=tenant,
            misses=" ".join((*_other_rank(rows, shown), _misses(rows))),
        ),
        objection=_objection(run),
        answer=answer,
        best=f"{shown.n_adapters} {shown.skew:g}",
    )


def _shown_shares(value: Interval) -> str:
    return f"{shown_percent(value.value)} [{shown_percent(value.low)}, {shown_percent(value.high)}]"


def _other_rank(rows: Sequence[AdapterLoad], shown: AdapterLoad) -> list[str]:
    """Return what the same adapters of the largest rank keep, in a sentence; nothing where one rank was measured."""
    alike = [r for r in rows if (r.slots, r.n_adapters, r.skew) == (shown.slots, shown.n_adapters, shown.skew)]
    largest = max(alike, key=lambda r: r.rank or 0)
    if largest.rank == shown.rank or largest.throughput_ratio is None:
        return []
    text = gettext("With rank {rank} the same number keep {share}.")
    return [text.format(rank=largest.rank, share=_shown_shares(largest.throughput_ratio))]


def _misses(rows: Sequence[AdapterLoad]) -> str:
    """Return what more adapters than slots do, in a sentence."""
    beyond = [r for r in rows if r.n_adapters > r.slots]
    if not beyond:
        return gettext("More adapters than slots were not measured.")
    worst = max(beyond, key=lambda r: r.missed_fraction)
    text = gettext(
        "With {name} ({server}), {missed} of the requests find their adapter in no slot; {share} of the throughput is left"
    ).format(
        name=load_name(worst),
        server=server_name(worst),
        missed=shown_percent(worst.missed_fraction),
        share=_shown_shares(worst.throughput_ratio) if worst.throughput_ratio else "–",
    )
    extra = worst.missed_extra_s
    if extra is None:
        return text + "."
    if not extra.excludes_zero:
        return gettext("{text}, and no extra TTFT of a miss is shown ({extra}).").format(
            text=text, extra=_shown_extra(extra)
        )
    return gettext("{text}, and a miss adds {extra} of TTFT.").format(text=text, extra=_shown_extra(extra))


def _shown_extra(value: Interval) -> str:
    low, middle, high = (three_digits(1e3 * v) for v in (value.low, value.value, value.high))
    return f"{middle} ms [{low}, {high}]"


def _objection(run: Run) -> str | None:
    spec, points = run.asked(AdaptersSpec), []
    busy = run.environment.other_load_fraction
    if busy is not None and busy > BUSY:
        points.append(
            gettext("other processes took {share} of the processors meanwhile, which widens every interval").format(
                share=shown_percent(busy)
            )
        )
    if failed := sum(r.n_failed for r in run.rows(AdapterLoad)):
        points.append(gettext("{n} requests failed and are left out").format(n=failed))
    if not spec.adapters and spec.url is None:
        points.append(
            gettext("the adapters are random: their speed and memory are measured, their answers mean nothing")
        )
    points.append(
        gettext("the base model was asked on the same server, so that what --enable-lora itself costs is not in it")
    )
    return objections(points)


LOAD_COLUMNS: Columns[AdapterLoad] = {
    gettext("Server ●"): server_name,
    gettext("use"): load_name,
    gettext("TTFT p50"): lambda r: shown_duration(r.ttft_p50_s),
    gettext("p99"): lambda r: shown_p99(r.ttft_p99_s, n=r.n_requests - r.n_failed),
    gettext("TPOT p50"): lambda r: shown_duration(r.tpot_p50_s),
    gettext("tokens/s"): lambda r: three_digits(r.output_tokens_per_s),
    gettext("throughput over base"): lambda r: shown_ratio(r.throughput_ratio),
    gettext("TTFT over base"): lambda r: shown_ratio(r.ttft_ratio),
    gettext("TPOT over base"): lambda r: shown_ratio(r.tpot_ratio),
    gettext("misses"): lambda r: shown_percent(r.missed_fraction) if r.n_adapters else "–",
    gettext("extra TTFT of a miss"): lambda r: _shown_extra(r.missed_extra_s) if r.missed_extra_s else "–",
}
SERVER_COLUMNS: Columns[AdapterServer] = {
    gettext("Server"): server_name,
    gettext("one slot ◌"): lambda r: shown_bytes(r.adapter_bytes),
    gettext("all slots ◌"): lambda r: shown_bytes(None if r.adapter_bytes is None else r.slots * r.adapter_bytes),
    gettext("KV cache, tokens ●"): lambda r: "–" if r.cache_tokens is None else f"{r.cache_tokens:,}",
    gettext("launch ●"): lambda r: shown_duration(r.startup_s),
}
TENANT_COLUMNS: Columns[Tenant] = {
    gettext("Tenants"): lambda t: str(t.n),
    gettext("rank"): lambda t: "–" if t.rank is None else str(t.rank),
    gettext("slots"): lambda t: str(t.slots),
    gettext("share of a device"): lambda t: shown_percent(t.share, 1),
    gettext("USD/h"): lambda t: "–" if t.usd_per_hour is None else shown_usd(t.usd_per_hour),
    gettext("USD per million output tokens"): lambda t: (
        "–" if t.usd_per_million_tokens is None else shown_usd(t.usd_per_million_tokens)
    ),
}


def tenants(run: Run) -> list[Tenant]:
    """Return the price of a tenant by number of adapters with even use, at the measured throughput."""
    spec = run.asked(AdaptersSpec)
    listed = median_price(run.environment.device_id)
    usd = spec.usd_per_hour or (listed.usd_per_gpu_hour if listed else None)
    found = []
    for r in loads(run):
        if r.n_adapters > 1 and r.skew:
            continue
        per_s = r.output_tokens_per_s
        found.append(
            Tenant(
                n=r.n_adapters,
                rank=r.rank,
                slots=r.slots,
                share=1 / r.n_adapters,
                usd_per_hour=None if usd is None else usd / r.n_adapters,
                usd_per_million_tokens=usd / 3600 / per_s * 1e6 if usd is not None and per_s else None,
            )
        )
    return found


def launch_flags(run: Run) -> str:
    """Return vLLM's flags for the adapters that the verdict is about."""
    shown = most_that_fit(loads(run))
    rank, kept = shown.rank or 16, max(shown.slots, shown.n_adapters)
    return (
        f"--enable-lora --max-loras {shown.slots} --max-lora-rank {rank} --max-cpu-loras {kept} "
        "--lora-modules NAME=FOLDER NAME=FOLDER"
    )


def about(run: Run) -> str:
    """Return what the numbers are of."""
    spec = run.asked(AdaptersSpec)
    return gettext(
        "{model}, {n_in} tokens in and {n_out} out, {n} requests a load at {rate}/s and all at once, {rounds} rounds · {device}, "
        "run {run}, {day}"
    ).format(
        model=spec.url or spec.model,
        n_in=spec.input_tokens,
        n_out=spec.output_tokens,
        n=spec.n_requests,
        rate=three_digits(spec.rate_per_s),
        rounds=spec.rounds,
        device=run.environment.device,
        run=run.id,
        day=run.day,
    )
