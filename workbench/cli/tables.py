"""Runs as text tables."""

from collections.abc import Iterator

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


def quantization_tables(run: Run) -> Iterator[Table | str]:
    """Accuracy, then memory and speed, then what did not run and why."""
    results = [VariantResult.from_dict(row) for row in run.results]
    measured = [r for r in results if r.status == "measured"]
    accuracy = Table("method", "KL, nat/token", "p99 KL", "top-1, %", "perplexity", "Δ perplexity, %")
    accuracy.title = f"● measured on {run.environment.device}, {run.day}, run {run.id} (95 % intervals)"
    for r in measured:
        accuracy.add_row(
            METHODS[r.method].label,
            _interval(r.mean_kl_nat_per_token),
            _interval(r.p99_kl_nat_per_token),
            _interval(r.top1_agreement_fraction, 100),
            three_digits(r.perplexity) if r.perplexity else "–",
            _interval(r.perplexity_change_fraction, 100),
        )
    yield accuracy
    batches = sorted({d.batch for r in measured for d in r.decode})
    steps = [f"step p50 / p99, batch {b}" for b in batches]
    speed = Table("method", "runs as", "weights", "peak memory", "made in", "prefill, tok/s", *steps)
    for r in measured:
        times = [r.decode_at(b) for b in batches]
        speed.add_row(
            METHODS[r.method].label,
            r.execution,
            shown_bytes(r.weight_bytes or 0),
            shown_bytes(r.peak_memory_bytes or 0),
            shown_duration(r.quantize_s) if r.quantize_s else "–",
            three_digits(r.prefill_tokens_per_s or 0),
            *(f"{shown_duration(t.p50_s)} / {shown_duration(t.p99_s)}" if t else "–" for t in times),
        )
    yield speed
    for r in results:
        if r.status != "measured":
            yield f"{METHODS[r.method].label}: {r.status}: {r.reason}"
