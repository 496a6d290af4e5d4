"""Judges of the claims about long contexts, each at lengths for which it is made."""

from collections.abc import Callable, Sequence

import numpy as np

from workbench.attention.rows import Cell, ComparedCache, MissingCell
from workbench.catalog.ledger import (
    Decision,
    Evidence,
    Judge,
    Judgement,
    Judges,
    compared,
    first_of,
    quotient,
    untested,
    with_note,
)
from workbench.catalog.models import language_model_from
from workbench.catalog.tables import Claim, devices
from workbench.core.errors import WorkbenchError
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.statistics import Interval, median_over_rounds
from workbench.core.units import shown_bytes, three_digits
from workbench.questions.long_context.attention.rows import is_exact
from workbench.questions.long_context.claims.kernels import (
    FLASH,
    FROM_TOKENS,
    SPARSE,
    STANDARD,
    WINDOW,
    Pair,
    exact_techniques,
    latest_by_place,
    pairs,
)
from workbench.questions.long_context.ring_attention.rows import RingTime
from workbench.questions.long_context.rows import Limit, Served

FAQ_WINDOW_TOKENS = 4096
"""Window of the FAQ's own code."""
MEASURE = "workbench attention MODEL --techniques {} --lengths 65536,131072 --device cuda"


def _faster(claim: Claim, found: list[Pair]) -> Judgement | None:
    """Return the largest speed-up, at the length where the best implementation was measured, and those at the others."""
    if not found:
        return None
    best = max(found, key=lambda p: p.other.p50_s.value / p.own.p50_s.value)
    value, interval = quotient(best.other.p50_s, best.own.p50_s)
    rest = (p for p in found if p is not best)
    others = gettext(", ").join(
        gettext("{factor}× at {n}").format(
            factor=f"{p.other.p50_s.value / p.own.p50_s.value:.3g}", n=f"{p.own.length_tokens:,}"
        )
        for p in rest
    )
    how = (gettext("{pair}. Other lengths: {others}.") if others else gettext("{pair}.")).format(
        pair=best.words, others=others
    )
    return compared(claim, value, how, runs=best.runs, interval=interval)


def flash_speedup(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the speed-up over written-out attention in decode; in prefill that does not fit at these lengths."""
    judgement = _faster(claim, pairs(claim, evidence, FLASH, STANDARD, phases=("decode",)))
    if judgement is None:
        return None
    note = gettext("In prefill, written-out attention does not fit into memory at 32,768 tokens.")
    return with_note(judgement, note)


def flash_memory(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return a lower bound of the memory saved in prefill: written-out attention needs more than the whole device."""
    for cells in latest_by_place(evidence):
        run = cells[0][0]
        device = devices().get(run.environment.device_id)
        full = {
            c.length_tokens: r
            for r, c in cells
            if isinstance(c, MissingCell)
            and c.technique in STANDARD
            and c.phase == "prefill"
            and c.status == "out of memory"
        }
        own = [
            (r, c) for r, c in cells
            if isinstance(c, Cell) and c.technique in FLASH and c.phase == "prefill" and c.peak_bytes
            and c.length_tokens in full and c.length_tokens >= FROM_TOKENS[claim.technique]
        ]  # fmt: skip
        if not own or device is None or device.memory_bytes is None:
            continue
        run, cell = min(own, key=lambda p: (p[1].length_tokens, p[1].peak_bytes or 0))
        saved = 100 * (1 - (cell.peak_bytes or 0) / device.memory_bytes)
        how = gettext(
            "At least: prefill of {n} tokens peaks at {peak} with {technique}; written-out attention ran out "
            "of the {memory} of the device."
        ).format(
            n=f"{cell.length_tokens:,}",
            peak=shown_bytes(cell.peak_bytes),
            technique=cell.label,
            memory=shown_bytes(device.memory_bytes),
        )
        return compared(claim, saved, how, runs=(run,))
    return None


def window_speedup(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the speed-up of the fastest window over the fastest full attention in prefill."""
    return _faster(claim, pairs(claim, evidence, WINDOW, exact_techniques(evidence), phases=("prefill",)))


def sparse_speedup(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the speed-up of the fastest sparse attention over the fastest full attention in prefill."""
    return _faster(claim, pairs(claim, evidence, SPARSE, exact_techniques(evidence), phases=("prefill",)))


def sparse_memory(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the peak of the sparse call that needs least beside that of the full one that needs least; the cache stays whole."""
    best: tuple[float, str, tuple[Run, Run]] | None = None
    for cells in latest_by_place(evidence):
        for length in {c.length_tokens for _, c in cells if c.length_tokens >= FROM_TOKENS[claim.technique]}:
            here = [
                (c.peak_bytes, c, r)
                for r, c in cells
                if isinstance(c, Cell) and c.is_at("prefill", length) and c.peak_bytes
            ]
            own = min((p for p in here if p[1].technique in SPARSE), key=lambda p: p[0], default=None)
            full = min((p for p in here if is_exact(p[1])), key=lambda p: p[0], default=None)
            if own and full and (best is None or 1 - own[0] / full[0] > best[0]):
                words = gettext(
                    "Peak of a call: {own} {own_peak}, {other} {other_peak}, prefill of {n} tokens. The cache is not "
                    "smaller: any key may be chosen later."
                ).format(
                    own=own[1].label,
                    own_peak=shown_bytes(own[0]),
                    other=full[1].label,
                    other_peak=shown_bytes(full[0]),
                    n=f"{length:,}",
                )
                best = 1 - own[0] / full[0], words, (own[2], full[2])
    if best is None:
        return None
    return compared(claim, 100 * best[0], best[1], runs={r.id: r for r in best[2]}.values())


def window_memory(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the part of the cache that the FAQ's window saves at the shortest context that the FAQ advises it for."""
    for run in evidence.of("long_context", on_gpu=True):
        caches = {r.cache: r for r in run.rows(ComparedCache)}
        own, whole = caches.get("sliding"), caches.get("dynamic")
        if own is None or whole is None or not own.window_tokens:
            continue
        measured = 100 * (1 - own.kv_held_bytes / whole.kv_held_bytes)
        at = FROM_TOKENS["Flash Attention"]  # "longer than 32K: sliding window", FAQ 12.2 Q5
        saved = 100 * (1 - FAQ_WINDOW_TOKENS / at)
        how = gettext(
            "A window of {window} of {at} tokens, the shortest context that the FAQ advises it for; the saving "
            "grows with the context. Measured with {measured_window} of {n} tokens: {share} %, as computed."
        ).format(
            window=f"{FAQ_WINDOW_TOKENS:,}",
            at=f"{at:,}",
            measured_window=f"{own.window_tokens:,}",
            n=f"{own.length_tokens:,}",
            share=three_digits(measured),
        )
        return compared(claim, saved, how, runs=(run,), provenance=Provenance.ESTIMATED)
    return None


def paged_speedup(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return how vLLM's paged kernel reads a long cache, beside the fastest kernel on a contiguous one.

    The time of attention is the growth of vLLM's decode step from its shortest to a long context, over the layers.
    """
    contiguous = {
        c.length_tokens: (r, c)
        for cells in latest_by_place(evidence)
        for r, c in sorted(cells, key=lambda p: -p[1].p50_s.value if isinstance(p[1], Cell) else 0)
        if isinstance(c, Cell) and c.phase == "decode" and is_exact(c) and not c.technique.startswith("paged")
    }
    for run in evidence.of("long_context", on_gpu=True):
        rows = sorted(run.rows(Served), key=lambda r: r.length_tokens)
        long = [r for r in rows if r.length_tokens >= 0.99 * FROM_TOKENS[claim.technique]]
        n_layers = _layers(run)
        if not long or n_layers is None or rows[0].length_tokens > 4096:
            continue
        served = long[-1]
        near = min(contiguous, key=lambda n: abs(n - served.length_tokens), default=None)
        if (
            near is None
            or abs(near / served.length_tokens - 1) > 0.05
            or contiguous[near][0].environment.device != run.environment.device
        ):
            continue
        short, steps = (median_over_rounds(np.array(r.step_s[2:])) for r in (rows[0], served))
        paged = Interval(
            (steps.value - short.value) / n_layers,
            (steps.low - short.high) / n_layers,
            (steps.high - short.low) / n_layers,
        )
        other_run, other = contiguous[near]
        scale = served.length_tokens / near
        flat = Interval(*(scale * x for x in (other.p50_s.value, other.p50_s.low, other.p50_s.high)))
        value, interval = quotient(flat, paged)
        how = gettext(
            "vLLM's paged kernel takes {own} µs a layer for {n} tokens (growth of its decode step from {short} "
            "tokens), {other} on a contiguous cache {other_time} µs. The kernel alone: that more sequences fit "
            "is not in it."
        ).format(
            own=f"{1e6 * paged.value:.0f}",
            n=f"{served.length_tokens:,}",
            short=f"{rows[0].length_tokens:,}",
            other=other.label,
            other_time=f"{1e6 * flat.value:.0f}",
        )
        return compared(claim, value, how, runs=(run, other_run), interval=interval)
    return None


def _layers(run: Run) -> int | None:
    """Return the layers of a run's model; None where its files are gone."""
    try:
        return language_model_from(run.model or "").n_layers
    except WorkbenchError:
        return None


def paged_memory(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the largest part of a reserved context that pages save for sequences of the claim's length."""
    for run in evidence.of("long_context", on_gpu=True):
        limit = run.row(Limit)
        if limit is None or not limit.model_limit_tokens:
            continue
        least = FROM_TOKENS[claim.technique]
        saved = 100 * (1 - least / limit.model_limit_tokens)
        how = gettext(
            "At most: pages for {n} tokens, the shortest sequence of the claim, instead of the {limit} that "
            "the model allows; longer sequences save less, shorter ones more."
        ).format(n=f"{least:,}", limit=f"{limit.model_limit_tokens:,}")
        return compared(claim, saved, how, runs=(run,), provenance=Provenance.ESTIMATED)
    return None


def _rings(evidence: Evidence) -> list[tuple[Run, RingTime, RingTime]]:
    """Return the rows of several devices with those of one at the same length, shortest first."""
    found = []
    for run, rows in evidence.with_rows("ring_attention", RingTime, on_gpu=True):
        one = {r.length_tokens: r for r in rows if r.n_devices == 1}
        found += [(run, r, one[r.length_tokens]) for r in rows if r.n_devices > 1 and r.length_tokens in one]
    return sorted(found, key=lambda f: f[1].length_tokens)


def _over_rings(rings: Sequence[tuple[Run, RingTime, str]]) -> str:
    """Return what each length, kind and number of GPUs gave, as words."""
    return gettext(", ").join(
        gettext("{figure} at {n} tokens on {devices} × {device}").format(
            figure=figure, n=f"{r.length_tokens:,}", devices=r.n_devices, device=run.environment.device
        )
        for run, r, figure in rings
    )


def ring_speedup(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the smallest speed-up over lengths and numbers of GPUs, since the claim is made for any."""
    rings = [(run, own, quotient(one.p50_s, own.p50_s)) for run, own, one in _rings(evidence)]
    if not rings:
        return None
    run, _, (value, interval) = min(rings, key=lambda r: r[2][0])
    how = gettext(
        "Ring attention of one layer, prefill: {words}. The smallest counts, since the claim is made for any length."
    ).format(words=_over_rings([(made, own, f"{factor:.2f}×") for made, own, (factor, _) in rings]))
    return compared(claim, value, how, runs=(run,), interval=interval)


def ring_memory(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the peak of the fullest of several devices beside that of one, where it saves least."""
    rings = [
        (run, own, 100 * (1 - own.peak_bytes / one.peak_bytes))
        for run, own, one in _rings(evidence)
        if own.peak_bytes and one.peak_bytes
    ]
    if not rings:
        return None
    run, _, value = min(rings, key=lambda r: r[2])
    how = gettext(
        "Peak of the fullest GPU below that of one alone, prefill: {words}. Keys and values are shared out, but partial results "
        "are kept in float32. The smallest counts, since the claim names no number of them."
    ).format(words=_over_rings([(made, own, f"{saved:.0f} %") for made, own, saved in rings]))
    return compared(claim, value, how, runs=(run,))


def _at_length(judge: Callable[[Claim, Evidence], Judgement | None], techniques: str) -> Judge:
    return first_of(
        judge, untested(MEASURE.format(techniques), gettext("No run on a GPU measured it at these lengths."))
    )


ADVISED = (
    (4096, gettext("standard attention"), STANDARD),
    (16384, gettext("Flash Attention"), FLASH),
    (65536, gettext("sliding window or sparse attention"), (*WINDOW, *SPARSE)),
)
"""Length, the FAQ's advice for it (12.2 Q5), and the techniques that it means."""


def decisions(evidence: Evidence) -> list[Decision]:
    """Return the FAQ's advice by length beside the technique that was fastest there in prefill."""
    rows = []
    for cells in latest_by_place(evidence):
        for length, words, techniques in ADVISED:
            here = [(r, c) for r, c in cells if isinstance(c, Cell) and c.is_at("prefill", length)]
            if len(here) < 2:
                continue
            run, best = min(here, key=lambda p: p[1].p50_s.value)
            meant = min((c.p50_s.value for _, c in here if c.technique in techniques), default=None)
            behind = (
                gettext("not measured")
                if meant is None
                else gettext("{factor} times as long").format(factor=f"{meant / best.p50_s.value:.2g}")
            )
            rows.append(
                Decision(
                    rule=gettext("technique by length"),
                    case=gettext("prefill of {n} tokens, {model}, {device}").format(
                        n=f"{length:,}", model=run.model, device=run.environment.device
                    ),
                    faq=words,
                    ours=(
                        gettext("{technique} is the fastest")
                        if best.technique in techniques
                        else gettext("{technique} is the fastest; the FAQ's choice takes {behind}")
                    ).format(technique=best.label, behind=behind),
                    is_same=best.technique in techniques,
                    provenance=Provenance.MEASURED,
                    runs=(run,),
                )
            )
    return rows


JUDGES: Judges = {
    (5, "Flash Attention", "memory_saving"): _at_length(flash_memory, "flash,math"),
    (5, "Flash Attention", "speedup"): _at_length(flash_speedup, "flash,math"),
    (5, "PagedAttention", "memory_saving"): _at_length(paged_memory, "paged-flex,cudnn"),
    (5, "PagedAttention", "speedup"): _at_length(paged_speedup, "paged-flex,cudnn"),
    (5, "sequence parallelism", "memory_saving"): first_of(
        ring_memory, untested("workbench ring-attention MODEL", gettext("No run on several GPUs measured it."))
    ),
    (5, "sequence parallelism", "speedup"): first_of(
        ring_speedup, untested("workbench ring-attention MODEL", gettext("No run on several GPUs measured it."))
    ),
    (5, "sliding window", "memory_saving"): first_of(
        window_memory, untested("workbench long-context MODEL --device cuda", gettext("No run on a GPU measured it."))
    ),
    (5, "sliding window", "speedup"): _at_length(window_speedup, "window-flex,cudnn"),
    (5, "sparse attention", "memory_saving"): _at_length(sparse_memory, "block-sparse-flex,cudnn"),
    (5, "sparse attention", "speedup"): _at_length(sparse_speedup, "block-sparse-flex,cudnn"),
}
"""By question, technique and metric."""
