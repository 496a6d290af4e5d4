"""Commands about precision in vLLM: ``workbench serving-speed`` and ``workbench gemm``."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workbench.catalog.models import model_spec_from
from workbench.cli import runs
from workbench.cli.follow import measured
from workbench.cli.readable import ReadableErrors, numbers
from workbench.core.checkpoints import FORMATS, MIXED
from workbench.core.errors import InvalidSpec
from workbench.core.runs import Run
from workbench.core.serving_speed import SERVED, GemmSpec, ServingSpeedSpec
from workbench.core.units import shown_duration

out = Console()
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
Model = Annotated[str, typer.Argument(help="Folder with a transformers model.")]


def read_plan(text: str | None) -> dict[str, str] | None:
    """A plan from JSON, or from a file that holds it; raises ``InvalidSpec`` when it is neither."""
    if text is None:
        return None
    try:
        content = text if text.lstrip().startswith("{") else Path(text).expanduser().read_text(encoding="utf-8")
        plan = json.loads(content)
        plan = plan.get("plan", plan)
        return {str(k): str(v) for k, v in plan.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise InvalidSpec(
            f"The plan {text} cannot be read: {error}.", remedy='Give JSON such as {"qkv": "fp8", "gate_up": "w4a16"}.'
        ) from error


def printed(run: Run, columns: Sequence[str], *, as_json: bool) -> None:
    """A run as JSON, or as a table of some columns of its results."""
    if as_json:
        print(json.dumps(runs.summary(run), indent=1))
        return
    table = Table(*columns)
    for row in run.results:
        table.add_row(*(_cell(name, row) for name in columns))
    out.print(table)
    for failure in run.failures:
        out.print(f"{failure['method']}: {failure['cause']}", highlight=False)


def _cell(name: str, row: Mapping[str, Any]) -> str:
    value = row.get(name)
    if value is None:
        return "–"
    if name.endswith("_s") and not name.endswith("_per_s"):
        return shown_duration(float(value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def serving_speed(
    model: Model,
    served: Annotated[str, typer.Option(help="Comma-separated formats or checkpoint folders.")] = "",
    plan: Annotated[str | None, typer.Option(help="JSON, or a file with it, for the format mixed.")] = None,
    batches: Annotated[str, typer.Option(help="Sequences decoded together.")] = "1,8,32,64,128,256",
    contexts: Annotated[str, typer.Option(help="Tokens of each prompt.")] = "128,1024,8192",
    decode_steps: Annotated[int, typer.Option(help="Timed steps of each cell.")] = 32,
    as_json: AsJson = False,
) -> None:
    """Time vLLM's prefill and steps by precision, batch and context, with random weights or a checkpoint's."""
    with ReadableErrors():
        model_spec_from(model)
        given = read_plan(plan)
        chosen = tuple(s.strip() for s in served.split(",") if s.strip())
        spec = ServingSpeedSpec(
            model=model,
            served=chosen or tuple(s for s in SERVED if given or s != MIXED),
            plan=given,
            batches=numbers(batches, int),
            contexts=numbers(contexts, int),
            decode_steps=decode_steps,
        )
        run = measured("serving_speed", spec.to_dict(), can_resume=True)
        columns = (
            "label",
            "batch",
            "context_tokens",
            "tpot_p50_s",
            "prefill_tokens_per_s",
            "kv_capacity_tokens",
            "status",
        )
        printed(run, columns, as_json=as_json)


def gemm(
    model: Model,
    formats: Annotated[str, typer.Option(help="Comma-separated: " + ", ".join(FORMATS))] = "",
    batches: Annotated[str, typer.Option(help="Tokens that are worked on together.")] = "",
    rounds: Annotated[int, typer.Option(help="Rounds in random order.")] = 15,
    as_json: AsJson = False,
) -> None:
    """Time the products of a model's linear layers with vLLM's kernels, by format and number of tokens."""
    with ReadableErrors():
        chosen: dict[str, Any] = {}
        if formats:
            chosen["formats"] = tuple(f.strip() for f in formats.split(",") if f.strip())
        if batches:
            chosen["batches"] = numbers(batches, int)
        spec = GemmSpec(model=model, rounds=rounds, **chosen)
        run = measured("gemm", spec.to_dict(), can_resume=True)
        printed(run, ("format", "role", "kernel", "batch", "p50_s", "n"), as_json=as_json)
