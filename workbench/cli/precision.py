"""Commands about precision, layer by layer and in vLLM."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import located
from workbench.cli import runs
from workbench.cli.follow import measured
from workbench.cli.readable import ReadableErrors, numbers
from workbench.core.checkpoints import FORMATS, MIXED, SCHEMES, CheckpointSpec, recipe
from workbench.core.errors import InvalidSpec
from workbench.core.evaluation import EvaluationSpec
from workbench.core.plan_damage import PlanDamageSpec
from workbench.core.runs import Run
from workbench.core.sensitivity import SensitivitySpec
from workbench.core.serving_speed import SERVED, GemmSpec, ServingSpeedSpec
from workbench.core.units import shown_duration
from workbench.experiments.serving_speed import with_roofline

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
        run = replace(run, results=list(with_roofline(run)))
        columns = (
            "label",
            "batch",
            "context_tokens",
            "tpot_p50_s",
            "step_roofline_fraction",
            "prefill_tokens_per_s",
            "prefill_roofline_fraction",
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


def sensitivity(
    model: Model,
    formats: Annotated[str, typer.Option(help="Comma-separated: " + ", ".join(FORMATS))] = "",
    text: Annotated[str | None, typer.Option(help="UTF-8 file to measure damage on.")] = None,
    calibration: Annotated[str | None, typer.Option(help="UTF-8 file that GPTQ sees.")] = None,
    windows: Annotated[int, typer.Option(help="Windows of text; every other one verifies.")] = 32,
    random_plans: Annotated[int, typer.Option(help="Random plans for comparison.")] = 50,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure what each format costs in each layer alone, and verify the best plans at several budgets."""
    with ReadableErrors():
        model_spec_from(model)
        chosen = tuple(f.strip() for f in formats.split(",") if f.strip())
        spec = SensitivitySpec(
            model=model,
            text=text,
            calibration=calibration,
            n_windows=windows,
            n_random=random_plans,
            device=device,  # type: ignore[arg-type]
            **({"formats": chosen} if chosen else {}),  # type: ignore[arg-type]
        )
        run = measured("sensitivity", spec.to_dict(), can_resume=True)
        columns = (
            "group",
            "format",
            "stored_bits",
            "kl_nat_per_token",
            "fisher_kl_nat_per_token",
            "origin",
            "predicted_kl_nat_per_token",
            "verified_kl_nat_per_token",
        )
        printed(run, columns, as_json=as_json)


def verify_plan(
    model: Model,
    plan: Annotated[str, typer.Option(help="JSON, or a file with it: formats by layer group or role.")],
    samples: Annotated[str, typer.Option(help="Windows of calibration text, one measurement each; 0: rounded.")] = "64",
    text: Annotated[str | None, typer.Option(help="UTF-8 file to measure damage on.")] = None,
    calibration: Annotated[str | None, typer.Option(help="UTF-8 file that GPTQ sees.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure the divergence of a whole plan, for one or several amounts of calibration text."""
    with ReadableErrors():
        model_spec_from(model)
        spec = PlanDamageSpec(
            model=model,
            plan=read_plan(plan) or {},
            n_samples=numbers(samples, int),
            text=text,
            calibration=calibration,
            device=device,  # type: ignore[arg-type]
        )
        run = measured("plan_damage", spec.to_dict(), can_resume=True)
        columns = ("calibration_tokens", "stored_bits", "mean_kl_nat_per_token", "make_s")
        printed(run, columns, as_json=as_json)


def checkpoints(
    model: Model,
    schemes: Annotated[str, typer.Option(help="Comma-separated: " + ", ".join((*SCHEMES, MIXED)))] = "",
    plan: Annotated[str | None, typer.Option(help="JSON, or a file with it, for the scheme mixed.")] = None,
    text: Annotated[str | None, typer.Option(help="UTF-8 file for calibration.")] = None,
    samples: Annotated[int, typer.Option(help="Windows of calibration text.")] = 64,
    sample_tokens: Annotated[int, typer.Option(help="Tokens in a window.")] = 512,
    out_folder: Annotated[str | None, typer.Option("--out", help="Folder for the checkpoints.")] = None,
    recipe_only: Annotated[bool, typer.Option("--recipe", help="Print llm-compressor's recipe of the plan.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make quantized checkpoints that vLLM loads (needs `workbench engines install llmcompressor`)."""
    with ReadableErrors():
        model_spec_from(model)
        given = read_plan(plan)
        if recipe_only:
            from workbench.compress.folder import linear_groups

            if given is None:
                raise InvalidSpec("A recipe is made from a plan.", remedy="Give one with --plan.")
            print(recipe(given, linear_groups(located(model))))
            return
        chosen = tuple(s.strip() for s in schemes.split(",") if s.strip())
        spec = CheckpointSpec(
            model=model,
            schemes=chosen or ((MIXED,) if given else tuple(SCHEMES)),
            plan=given,
            text=str(Path(text).expanduser().resolve()) if text else None,
            n_samples=samples,
            sample_tokens=sample_tokens,
            out=str(Path(out_folder).expanduser().resolve()) if out_folder else None,
        )
        run = measured("checkpoint", spec.to_dict(), can_resume=True)
        printed(run, ("label", "weight_bytes", "calibration_tokens", "make_s", "folder"), as_json=as_json)


def evaluate(
    model: Annotated[str, typer.Argument(help="Folder of the reference.")],
    candidates: Annotated[
        list[str], typer.Argument(help="Folders of checkpoints, or cache formats such as kv:int8-token.")
    ],
    text: Annotated[str | None, typer.Option(help="UTF-8 file that both read.")] = None,
    windows: Annotated[int, typer.Option(help="Windows of text.")] = 64,
    passkeys: Annotated[int, typer.Option(help="Pass-key questions; 0: none.")] = 100,
    completions: Annotated[int, typer.Option(help="Lines to complete; 0: none.")] = 200,
    in_vllm: Annotated[bool, typer.Option(help="Compare with vLLM's most likely tokens too.")] = False,
    tasks: Annotated[str, typer.Option(help="Comma-separated tasks of lm-eval whose data is on disk.")] = "",
    task_folder: Annotated[str | None, typer.Option(help="Folder with your own tasks for lm-eval (YAML).")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Compare checkpoints with the model they were made from: divergence, pass keys, completed lines."""
    with ReadableErrors():
        model_spec_from(model)
        spec = EvaluationSpec(
            model=model,
            candidates=tuple(str(Path(c).expanduser().resolve()) if Path(c).exists() else c for c in candidates),
            text=str(Path(text).expanduser().resolve()) if text else None,
            n_windows=windows,
            n_passkeys=passkeys,
            n_completions=completions,
            in_vllm=in_vllm,
            tasks=tuple(t.strip() for t in tasks.split(",") if t.strip()),
            task_folder=str(Path(task_folder).expanduser().resolve()) if task_folder else None,
            device=device,  # type: ignore[arg-type]
        )
        run = measured("evaluation", spec.to_dict(), can_resume=True)
        columns = (
            "folder",
            "mean_kl_nat_per_token",
            "kl_band",
            "top1_agreement_fraction",
            "perplexity_change_fraction",
            "passkey_right_fraction",
            "completion_right_fraction",
            "completion_mcnemar_p",
            "vllm_top1_agreement_fraction",
            *(["tasks"] if spec.tasks else []),
        )
        printed(run, columns, as_json=as_json)
