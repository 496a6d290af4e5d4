"""What the slots of adapters take of a device by rank, and the price of a tenant."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.catalog.models import language_model_from
from workbench.catalog.prices import median_price
from workbench.catalog.tables import device_named
from workbench.core.columns import Columns
from workbench.core.errors import DoesNotFit, NotAvailable
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.units import shown_bytes, shown_percent, shown_usd
from workbench.core.verdict import Verdict
from workbench.estimate.adapters import adapter_bytes
from workbench.estimate.precision import chosen_precision, weight_bits_of
from workbench.estimate.serving_memory import (
    USABLE_FRACTION,
    MemorySettings,
    batched_sequences,
    batched_tokens,
    context_plan,
)
from workbench.questions.tuning.adapter_memory.spec import AdapterMemorySpec

CONTEXT_TOKENS = 4096
"""Of each sequence, for which the room of the cache is counted."""


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
        raise NotAvailable(
            gettext("The memory of {device} is not in the catalogue.").format(device=device.name),
            remedy=gettext("Choose another device."),
        )
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
            gettext("{model} leaves no room for a cache on {device}.").format(model=model.name, device=device.name),
            remedy=gettext("Choose a larger device, or fewer bits."),
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


def verdict(answer: AdapterMemoryAnswer) -> Verdict:
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
