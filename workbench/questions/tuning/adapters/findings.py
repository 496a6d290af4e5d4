"""What a run of adapters says: what they cost beside the base model, what misses of slots add, and the price of a tenant; and their memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.catalog.models import language_model_from
from workbench.catalog.prices import median_price
from workbench.catalog.tables import device_named
from workbench.core.columns import Columns
from workbench.core.errors import DoesNotFit, NotAvailable
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.core.units import shown_bytes, shown_duration, shown_p99, shown_percent, shown_usd, three_digits
from workbench.core.verdict import Answer, Verdict, objections
from workbench.estimate.adapters import adapter_bytes
from workbench.estimate.precision import chosen_precision, weight_bits_of
from workbench.estimate.serving_memory import (
    USABLE_FRACTION,
    MemorySettings,
    batched_sequences,
    batched_tokens,
    context_plan,
)
from workbench.measuring.machine import BUSY
from workbench.questions.tuning.adapters.rows import AdapterLoad, AdapterServer
from workbench.questions.tuning.adapters.spec import AdapterMemorySpec, AdaptersSpec

LITTLE = 0.05
"""Share of the throughput that may be lost without a word."""
CONTEXT_TOKENS = 4096
"""Of each sequence, for which the room of the cache is counted."""


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
        raise NotAvailable("No load on adapters was measured.", remedy="Measure again.")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RankMemory:
    """Adapters of one rank on a device."""

    rank: int
    adapter_bytes: float
    slots_bytes: float
    cache_tokens: int
    """Tokens of the KV cache that are left beside the slots."""
    cache_fraction: float
    """Share of the cache without adapters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterMemoryAnswer:
    """Memory of adapters by rank on one device, and the price of a tenant."""

    about: str
    tenants: int
    slots: int
    cache_tokens: int
    """Without adapters."""
    ranks: Sequence[RankMemory]
    usd_per_hour: float | None
    """Price of the device; None where none is known."""
    tenant_usd_per_hour: float | None
    provenance: Provenance = Provenance.ESTIMATED


def adapter_memory(spec: AdapterMemorySpec) -> AdapterMemoryAnswer:
    """Return the memory of slots by rank, what it leaves of the KV cache, and the price of a tenant.

    Raises:
        DoesNotFit: The device does not hold the model.
        NotAvailable: The device is not in the catalogue, or its memory is not.
    """
    model, device = language_model_from(spec.model), device_named(spec.device)
    memory = device.memory_bytes
    if memory is None:
        raise NotAvailable(f"The memory of {device.name} is not in the catalogue.", remedy="Choose another device.")
    bits = weight_bits_of(model, chosen_precision(model, spec.precision))

    limits = MemorySettings(chunk_tokens=batched_tokens(memory), max_sequences=batched_sequences(memory))

    def room(taken_bytes: float) -> int:
        return context_plan(
            model,
            memory_bytes=max(0.0, memory - taken_bytes / USABLE_FRACTION),
            weight_bits=bits,
            kv_bits=spec.kv_bits,
            context_tokens=CONTEXT_TOKENS,
            settings=limits,
        ).room_tokens

    alone = room(0.0)
    if not alone:
        raise DoesNotFit(
            f"{model.name} leaves no room for a cache on {device.name}.",
            remedy="Choose a larger device, or fewer bits.",
        )
    found = []
    for rank in sorted(set(spec.ranks)):
        one = adapter_bytes(model, rank=rank)
        left = room(spec.slots * one)
        found.append(
            RankMemory(
                rank=rank,
                adapter_bytes=one,
                slots_bytes=spec.slots * one,
                cache_tokens=left,
                cache_fraction=left / alone,
            )
        )
    listed = median_price(spec.device)
    usd = spec.usd_per_hour or (listed.usd_per_gpu_hour if listed else None)
    return AdapterMemoryAnswer(
        about=gettext("{model} on one {device}, {slots} slots").format(
            model=model.name, device=device.name, slots=spec.slots
        ),
        tenants=spec.tenants,
        slots=spec.slots,
        cache_tokens=alone,
        ranks=found,
        usd_per_hour=usd,
        tenant_usd_per_hour=None if usd is None else usd / spec.tenants,
    )


def memory_verdict(answer: AdapterMemoryAnswer) -> Verdict:
    """Return what the slots of the largest rank that fits take, and what a tenant pays."""
    fitting = [r for r in answer.ranks if r.cache_tokens]
    if not fitting:
        headline = gettext("No rank fits: {slots} slots leave no KV cache.").format(slots=answer.slots)
    else:
        r = fitting[-1]
        headline = gettext("{slots} slots of rank {rank} take {bytes} and leave {share} of the KV cache.").format(
            slots=answer.slots, rank=r.rank, bytes=shown_bytes(r.slots_bytes), share=shown_percent(r.cache_fraction)
        )
    price = (
        gettext("no price of the device is known")
        if answer.usd_per_hour is None or answer.tenant_usd_per_hour is None
        else gettext("each of {n} tenants pays {tenant} USD/h instead of {device}").format(
            n=answer.tenants, tenant=shown_usd(answer.tenant_usd_per_hour), device=shown_usd(answer.usd_per_hour)
        )
    )
    return Verdict(
        headline=headline,
        evidence=gettext("An adapter takes {bytes}; {price}.").format(
            bytes=", ".join(
                gettext("{bytes} at rank {rank}").format(bytes=shown_bytes(r.adapter_bytes), rank=r.rank)
                for r in answer.ranks
            ),
            price=price,
        ),
        objection=gettext(
            "Adapters for all linear layers are counted, without the output head and routed experts; what the server allocates beside "
            "them, such as CUDA graphs, is not. What adapters cost in time is measured by `workbench adapters`."
        ),
        answer="yes" if fitting else "no",
        provenance=answer.provenance,
    )


MEMORY_COLUMNS: Columns[RankMemory] = {
    gettext("Rank ◌"): lambda r: str(r.rank),
    gettext("one adapter"): lambda r: shown_bytes(r.adapter_bytes),
    gettext("all slots"): lambda r: shown_bytes(r.slots_bytes),
    gettext("KV cache left, tokens"): lambda r: f"{r.cache_tokens:,}",
    gettext("share of the cache"): lambda r: shown_percent(r.cache_fraction),
}
