"""The command that makes quantized checkpoints, or prints the recipe of one."""

from typing import Annotated

import typer

from workbench.catalog.formats import recipe
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import located
from workbench.compress.rows import coverage_text
from workbench.core.errors import InvalidSpec
from workbench.interface.command import AsJson, printed
from workbench.interface.follow import measured
from workbench.interface.knobs import asks_for
from workbench.interface.readable import out
from workbench.questions.quantization.checkpoint.rows import CheckpointResult
from workbench.questions.quantization.checkpoint.spec import CheckpointSpec, require_float_weights


@asks_for(CheckpointSpec)
def checkpoints(
    spec: CheckpointSpec,
    *,
    recipe_only: Annotated[bool, typer.Option("--recipe", help="Print llm-compressor's recipe of the plan.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make quantized checkpoints that vLLM loads (needs `workbench engines install llmcompressor`)."""
    require_float_weights(model_spec_from(spec.model))
    if recipe_only:
        from workbench.compress.folder import planned_layers

        if spec.plan is None:
            raise InvalidSpec("A recipe needs a plan.", remedy="Give one with --plan.")
        layers, groups = planned_layers(located(spec.model))
        print(recipe(spec.plan, groups, kept=layers.kept or ("lm_head",)))
        return
    run = measured(spec.kind, spec.to_dict(), can_resume=True)
    printed(run, ("label", "weight_bytes", "calibration_tokens", "make_s", "folder"), as_json=as_json)
    if not as_json:
        for row in run.rows(CheckpointResult):
            out.print(f"{row.label} quantized {coverage_text(row.coverage)}.")


COMMANDS = (checkpoints,)
