"""The command that measures accuracy, memory and speed of several precisions."""

from rich.table import Table

from workbench.catalog.models import model_spec_from
from workbench.compress.methods import METHODS
from workbench.compress.rows import VariantResult, coverage_text, quantized_cell, quantized_fraction
from workbench.compress.spec import QuantizationSpec
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.core.units import shown_bytes, shown_duration, three_digits
from workbench.interface.command import measures
from workbench.interface.readable import out


@measures(QuantizationSpec, can_resume=True, check=lambda spec: model_spec_from(spec.model))
def quantize(run: Run) -> None:
    """Measure accuracy, memory, speed and quantization time of each precision."""
    results = run.rows(VariantResult)
    measured = [r for r in results if r.status == "measured"]
    out.print(_accuracy_table(measured, title=f"● measured on {run.environment.device}, {run.day}, run {run.id}"))
    out.print(_speed_table(measured))
    for r in measured:
        if quantized_fraction(r.coverage):
            out.print(f"{METHODS[r.method].label} quantized {coverage_text(r.coverage)}.")
    for r in results:
        if r.status != "measured":
            out.print(f"{METHODS[r.method].label}: {r.status}: {r.reason}")


def _accuracy_table(results: list[VariantResult], *, title: str) -> Table:
    table = Table("method", "KL, nat/token", "p99 KL", "top-1, %", "perplexity", "Δ perplexity, %")
    table.title = f"{title} (95 % intervals)"
    for r in results:
        accuracy = r.accuracy
        if accuracy is None:
            table.add_row(METHODS[r.method].label, *["–"] * 5)
            continue
        table.add_row(
            METHODS[r.method].label,
            _interval(accuracy.mean_kl_nat_per_token),
            _interval(accuracy.p99_kl_nat_per_token),
            _interval(accuracy.top1_agreement_fraction, 100),
            three_digits(accuracy.perplexity),
            _interval(accuracy.perplexity_change_fraction, 100),
        )
    return table


def _speed_table(results: list[VariantResult]) -> Table:
    batches = sorted({d.batch for r in results for d in r.decode})
    steps = [f"step p50 / p99, batch {b}" for b in batches]
    table = Table(
        "method", "execution", "quantized", "weights", "peak memory", "quantization time", "prefill, tok/s", *steps
    )
    for r in results:
        times = [r.decode_at(b) for b in batches]
        table.add_row(
            METHODS[r.method].label,
            r.execution,
            quantized_cell(r),
            shown_bytes(r.weight_bytes or 0),
            shown_bytes(r.peak_memory_bytes or 0),
            shown_duration(r.quantize_s) if r.quantize_s else "–",
            three_digits(r.prefill_tokens_per_s or 0),
            *(f"{shown_duration(t.p50_s)} / {shown_duration(t.p99_s)}" if t else "–" for t in times),
        )
    return table


def _interval(value: Interval | None, factor: float = 1.0) -> str:
    if value is None:
        return "–"
    low, high = three_digits(value.low * factor), three_digits(value.high * factor)
    return f"{three_digits(value.value * factor)} [{low}, {high}]"


COMMANDS = (quantize,)
