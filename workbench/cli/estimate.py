"""Commands that predict, and that fit predictions to a device."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import MEASURED
from workbench.catalog.tables import devices
from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors
from workbench.core.checkpoints import FORMATS
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.core.units import shown_bytes, shown_duration, three_digits
from workbench.estimate.prediction import LEVEL, Prediction, Question, predicted
from workbench.experiments.device_calibration import from_runs, machine_of
from workbench.jobs.manager import JobManager, workbench_home
from workbench.store.runs import runs_in_folder

out = Console()
CALIBRATIONS = "calibrations"


def estimate(
    model: Annotated[str, typer.Argument(help="Folder, or a name in the catalogue.")],
    device: Annotated[str, typer.Argument(help="Row of the hardware catalogue, such as h200-sxm.")],
    tp: Annotated[int, typer.Option(help="Devices of a tensor-parallel group.")] = 1,
    precision: Annotated[str, typer.Option(help=", ".join(FORMATS))] = "bf16",
    kv_bits: Annotated[int, typer.Option(help="8 or 16.")] = 16,
    input_tokens: Annotated[int, typer.Option(help="Of each prompt.")] = 1024,
    output_tokens: Annotated[int, typer.Option(help="Of each answer.")] = 128,
    concurrency: Annotated[int, typer.Option(help="Sequences at once.")] = 1,
    arrival: Annotated[str, typer.Option(help="static or steady.")] = "static",
    as_json: AsJson = False,
) -> None:
    """Predict waiting times, throughput and memory, with intervals."""
    with ReadableErrors():
        spec, row = model_spec_from(model), devices().get(device)
        if row is None or not row.memory_bytes:
            known = ", ".join(d.id for d in devices().values() if d.bf16_flop_per_s)
            raise InvalidSpec(f"Unknown device {device!r}.", remedy=f"Use: {known}.")
        if tp < 1 or spec.n_heads % tp:
            raise InvalidSpec(
                f"{spec.n_heads} heads cannot be divided over {tp} devices.", remedy="Give a divisor of the heads."
            )
        if spec.n_params != spec.n_active_params:
            raise NotAvailable(
                f"{spec.name} has experts; their times are not predicted yet.", remedy="Choose a dense model."
            )
        question = Question(
            precision=precision,
            kv_bits=kv_bits,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            concurrency=concurrency,
            arrival=arrival,  # type: ignore[arg-type]
        )
        machine, is_own = machine_of(device, n_devices=tp, own=workbench_home() / CALIBRATIONS)
        found = predicted(spec, machine, question, memory_bytes=row.memory_bytes, is_own=is_own)
        if as_json:
            print(json.dumps({"model": spec.name, "device": device, "tp": tp, **found.to_dict()}, indent=1))
            return
        _print(found)


def _print(found: Prediction) -> None:
    table = Table("◌", "estimated", f"{100 * LEVEL:.0f} % interval")
    for name, label in (("ttft_s", "first token"), ("prefill_s", "prompts read"), ("tpot_s", "time per token")):
        v = getattr(found, name)
        table.add_row(label, shown_duration(v.value), f"{shown_duration(v.low)} to {shown_duration(v.high)}")
    rate = found.output_tokens_per_s
    table.add_row("output tokens/s", three_digits(rate.value), f"{three_digits(rate.low)} to {three_digits(rate.high)}")
    m = found.memory
    for label, value in (("weights", m.weight_bytes), ("cache", m.cache_bytes), ("workspace", m.workspace_bytes)):
        table.add_row(label, shown_bytes(value), "")
    table.add_row("usable memory", shown_bytes(m.usable_bytes), "fits" if m.does_fit else "does not fit")
    out.print(table)
    if not found.is_calibrated:
        out.print("Not calibrated: constants of another device or of one device alone, so the intervals are wide.")


def calibrate(as_json: AsJson = False) -> None:
    """Fit the predictions' constants to this machine's stored runs, else to those that ship, and keep them."""
    with ReadableErrors():
        store = JobManager().store
        own = [r for kind in ("gemm", "serving_speed") for r in store.newest(kind) if r.environment.device_id != "cpu"]
        runs = own or [
            r
            for r in runs_in_folder(MEASURED)
            if r.kind in {"gemm", "serving_speed"} and r.environment.device_id != "cpu"
        ]
        known = from_runs(runs)
        folder = workbench_home() / CALIBRATIONS
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{known.device_id}.json").write_text(known.to_json())
        if as_json:
            print(known.to_json())
            return
        out.print(f"{known.device_id}, from runs {', '.join(known.sources)}:")
        out.print(
            f"steps of unseen precisions off by {100 * known.log_error_unseen_step:.1f} % (rms), "
            f"prompts by {100 * known.log_error_unseen_prompt:.1f} %"
        )
