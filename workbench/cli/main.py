"""The command ``workbench``."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from workbench.catalog.models import model_spec_from
from workbench.cli import engines, estimate, images, jobs, long_context, precision, runs
from workbench.cli.cost import cost
from workbench.cli.diagnose import diagnose
from workbench.cli.edge import edge
from workbench.cli.encoders import encode
from workbench.cli.faults import faults
from workbench.cli.follow import measured
from workbench.cli.fusion import fusion
from workbench.cli.gateway import gateway
from workbench.cli.load import load
from workbench.cli.monitoring import lint_metrics, monitor, rules
from workbench.cli.readable import ReadableErrors, numbers
from workbench.cli.redaction import redact
from workbench.cli.release import release, sign, trust, verify
from workbench.cli.rollout import rollout
from workbench.cli.surge import scaling, surge
from workbench.cli.tables import quantization_tables
from workbench.cli.techniques import techniques
from workbench.cli.utilisation import batch_size, record, why_idle
from workbench.core.quantization import METHODS, QuantizationSpec
from workbench.experiments.examination import examine_all
from workbench.jobs.manager import workbench_home

app = typer.Typer(
    help="Deployment questions about language models, answered by measurement.",
    no_args_is_help=True,
    add_completion=False,
)
app.add_typer(runs.app, name="runs")
app.add_typer(jobs.app, name="jobs")
app.command()(load)
app.command()(precision.serving_speed)
app.command()(precision.gemm)
app.command()(precision.checkpoints)
app.command()(precision.evaluate)
app.command()(precision.sensitivity)
app.command()(precision.verify_plan)
app.command()(long_context.long_context)
app.command()(long_context.attention)
app.command()(long_context.context_quality)
app.command()(long_context.ring_attention)
app.command()(estimate.estimate)
app.command()(estimate.plan)
app.command()(estimate.simulate)
app.command()(estimate.calibrate)
app.command()(cost)
app.command()(record)
app.command()(why_idle)
app.command()(diagnose)
app.command()(faults)
app.command()(batch_size)
app.command()(techniques)
app.command()(monitor)
app.command()(rules)
app.command()(lint_metrics)
app.command()(gateway)
app.command()(surge)
app.command()(scaling)
app.command()(redact)
app.command()(rollout)
app.add_typer(images.app, name="images")
app.command()(fusion)
app.command()(edge)
app.command()(encode)
app.command()(sign)
app.command()(verify)
app.command()(release)
app.command()(trust)
app.command()(engines.serve)
app.add_typer(engines.app, name="engines")
out = Console()


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List GPUs, engines, versions and every problem with its remedy."""
    findings = examine_all(workbench_home())
    if as_json:
        keys = ("topic", "state", "value", "remedy")
        print(json.dumps([{k: getattr(f, k) for k in keys} for f in findings], indent=1))
        return
    table = Table("", "what", "found", "remedy")
    for f in findings:
        table.add_row({"ok": "✓", "missing": "–", "problem": "✗"}[f.state], f.topic, f.value, f.remedy)
    out.print(table)


@app.command()
def quantize(
    model: Annotated[str, typer.Argument(help="Folder with a transformers model, or a hub id.")],
    methods: Annotated[str, typer.Option(help="Comma-separated: " + ", ".join(METHODS))] = ",".join(METHODS),
    text: Annotated[str | None, typer.Option(help="UTF-8 file for the accuracy check.")] = None,
    windows: Annotated[int, typer.Option(help="Windows of text.")] = 64,
    window_tokens: Annotated[int, typer.Option(help="Tokens in a window.")] = 512,
    batches: Annotated[str, typer.Option(help="Batch sizes for decoding.")] = "1,8",
    rounds: Annotated[int, typer.Option(help="Rounds of the speed measurement.")] = 7,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    compile_: Annotated[str, typer.Option("--compile", help="torch.compile: auto (on CUDA only), on or off.")] = "auto",
    random_weights: Annotated[bool, typer.Option(help="Only the shape counts: speed and memory, no accuracy.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure what each precision costs in accuracy, memory, speed and time to make."""
    with ReadableErrors():
        spec = QuantizationSpec(
            model=model,
            methods=tuple(m.strip() for m in methods.split(",") if m.strip()),
            text=str(Path(text).expanduser().resolve()) if text else None,
            n_windows=windows,
            window_tokens=window_tokens,
            batches=numbers(batches, int),
            rounds=rounds,
            device=device,  # type: ignore[arg-type]
            compile=compile_,  # type: ignore[arg-type]
            random_weights=random_weights,
        )
        model_spec_from(model)
        run = measured("quantization", spec.to_dict(), can_resume=True)
        if as_json:
            print(json.dumps(runs.summary(run), indent=1))
        else:
            for part in quantization_tables(run):
                out.print(part)


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="workbench")
