"""The table of the quantization panel: one row for each method, with the reason where it did not run."""

from workbench.compress.methods import METHODS, shown_reason
from workbench.compress.rows import VariantResult, coverage_text, quantized_cell
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.units import shown_bytes, shown_duration, shown_usd, three_digits
from workbench.interface.html import hint, joined, small, with_interval

LEAST_S = 1e-4  # a shorter time means that nothing was quantized


STATUSES = {
    "measured": gettext("measured"),
    "not available": gettext("not available"),
    "failed": gettext("failed"),
}


def method_head(batch: int) -> tuple[str, ...]:
    """Return the column titles above ``method_cells``."""
    return (
        gettext("Method {mark}").format(mark=Provenance.MEASURED.mark),
        gettext("step at batch {batch}, p50 / p99").format(batch=batch),
        gettext("USD / M tokens {mark}").format(mark=Provenance.ESTIMATED.mark),
        gettext("KL, nat/token"),
        gettext("p99 KL"),
        gettext("same top-1"),
        gettext("Δ perplexity"),
        gettext("quantized"),
        gettext("weights"),
        gettext("peak memory"),
        gettext("quantization time"),
        gettext("prefill, tok/s"),
    )


def method_cells(r: VariantResult, *, batch: int, usd_per_million: float | None) -> tuple[str, ...]:
    """Return the cells of one method; for a method that did not run, its reason."""
    label = hint(METHODS[r.method].label, title=METHODS[r.method].note)
    if r.status != "measured":
        return label, gettext("{status}: {reason}").format(
            status=STATUSES[r.status], reason=shown_reason(r.reason or "")
        )
    if r.execution == "eager":
        eager = small(
            "eager", title=gettext("PyTorch without torch.compile, which torchao's kernels need to reach their speed")
        )
        label = joined(label, " ", eager)
    if not r.interleaved:
        label = joined(
            label,
            " ",
            small(gettext("alone"), title=gettext("not timed interleaved with the other methods, for lack of memory")),
        )
    time, accuracy = r.decode_at(batch), r.accuracy
    return (
        label,
        f"{shown_duration(time.p50_s)} / {shown_duration(time.p99_s)}" if time else "–",
        "–" if usd_per_million is None else shown_usd(usd_per_million),
        with_interval(accuracy.mean_kl_nat_per_token if accuracy else None),
        with_interval(accuracy.p99_kl_nat_per_token if accuracy else None),
        with_interval(accuracy.top1_agreement_fraction if accuracy else None, 100, " %"),
        with_interval(accuracy.perplexity_change_fraction if accuracy else None, 100, " %", sign=True),
        small(quantized_cell(r), title=coverage_text(r.coverage)),
        shown_bytes(r.weight_bytes or 0),
        shown_bytes(r.peak_memory_bytes or 0),
        shown_duration(r.quantize_s) if r.quantize_s and r.quantize_s > LEAST_S else "–",
        three_digits(r.prefill_tokens_per_s or 0),
    )
