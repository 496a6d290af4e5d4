"""The commands that time vLLM's decode steps and the products inside a model."""

from collections.abc import Callable, Mapping

from workbench.calibrate.gemm.spec import GemmSpec
from workbench.calibrate.serving_speed.rows import with_roofline
from workbench.calibrate.serving_speed.spec import ServingSpeedSpec
from workbench.catalog.models import model_spec_from
from workbench.core.columns import cells, cells_of
from workbench.core.rows import plain
from workbench.core.runs import Run
from workbench.core.units import NOT_KNOWN, shown_duration, three_digits
from workbench.estimate.rows import ProductTime, StepCell, StepTime
from workbench.interface.command import measures, print_table
from workbench.interface.readable import out
from workbench.questions.quantization.serving_speed.findings import shown_share

PRODUCT_COLUMNS: Mapping[str, Callable[[ProductTime], str]] = {
    "format": lambda r: r.format,
    "role": lambda r: r.role,
    "kernel": lambda r: r.kernel,
    "tokens": lambda r: f"{r.batch:,}",
    "time, p50": lambda r: shown_duration(r.p50_s.value),
    "timings": lambda r: str(r.n),
}
STEP_COLUMNS: Mapping[str, Callable[[StepTime], str]] = {
    "time per token, p50": lambda r: shown_duration(r.tpot_p50_s.value),
    "of roofline": lambda r: shown_share(r.roofline.step_fraction if r.roofline else None),
    "prefill, tok/s": lambda r: three_digits(r.prefill_tokens_per_s),
    "prefill, of roofline": lambda r: shown_share(r.roofline.prefill_fraction if r.roofline else None),
    "KV cache, tokens": lambda r: f"{r.kv_capacity_tokens:,}" if r.kv_capacity_tokens else NOT_KNOWN,
}


@measures(
    ServingSpeedSpec,
    can_resume=True,
    check=lambda spec: model_spec_from(spec.model),
    also=lambda run: {"results": plain(with_roofline(run))},
)
def serving_speed(run: Run) -> None:
    """Measure vLLM's prefill and decode steps by precision, batch size and context length."""
    print_table(
        ("precision", "batch size", "context, tokens", *STEP_COLUMNS),
        [(r.label, str(r.batch), str(r.context_tokens), *_times(r)) for r in with_roofline(run)],
    )
    _print_failures(run)


def _times(cell: StepCell) -> tuple[str, ...]:
    return cells(STEP_COLUMNS, cell) if isinstance(cell, StepTime) else ("does not fit",)


@measures(GemmSpec, can_resume=True, check=lambda spec: model_spec_from(spec.model))
def gemm(run: Run) -> None:
    """Measure the products of a model's linear layers with vLLM's kernels, by format and number of tokens."""
    print_table(PRODUCT_COLUMNS, cells_of(PRODUCT_COLUMNS, run.rows(ProductTime)))
    _print_failures(run)


def _print_failures(run: Run) -> None:
    for failure in run.failures:
        out.print(f"{failure}")


COMMANDS = (serving_speed, gemm)
