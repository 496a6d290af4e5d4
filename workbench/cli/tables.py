"""Runs as text tables."""

from rich.table import Table

from workbench.core.quantization import METHODS, VariantResult
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.core.units import shown_bytes, shown_duration, three_digits


def _interval(value: Interval | None, factor: float = 1.0) -> str:
    if value is None:
        return "–"
    low, high = three_digits(value.low * factor), three_digits(value.high * factor)
    return f"{three_digits(value.value * factor)} [{low}, {high}]"


def quantization_table(run: Run) -> Table:
    """One row per method; what did not run says why."""
    columns = (
        "method",
        "KL, nat/token",
        "p99 KL",
        "top-1, %",
        "perplexity",
        "Δ perplexity, %",
        "weights",
        "peak memory",
        "made in",
    )
    batches = sorted({d["batch"] for row in run.results for d in row["decode"]})
    table = Table(*columns, "prefill, tok/s", *(f"step at batch {b}, p50 / p99" for b in batches))
    table.title = f"● measured on {run.environment.device}, {run.day}, run {run.id}"
    for row in run.results:
        r = VariantResult.from_dict(row)
        if r.status != "measured":
            table.add_row(METHODS[r.method].label, f"{r.status}: {r.reason}")
            continue
        times = [r.decode_at(b) for b in batches]
        table.add_row(
            METHODS[r.method].label,
            _interval(r.mean_kl_nat_per_token),
            _interval(r.p99_kl_nat_per_token),
            _interval(r.top1_agreement_fraction, 100),
            three_digits(r.perplexity) if r.perplexity else "–",
            _interval(r.perplexity_change_fraction, 100),
            shown_bytes(r.weight_bytes or 0),
            shown_bytes(r.peak_memory_bytes or 0),
            shown_duration(r.quantize_s or 0),
            three_digits(r.prefill_tokens_per_s or 0),
            *(f"{shown_duration(t.p50_s)} / {shown_duration(t.p99_s)}" if t else "–" for t in times),
        )
    return table
