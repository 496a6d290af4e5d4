"""The command that compares quantized checkpoints and KV cache formats with the original model."""

from workbench.catalog.models import model_spec_from
from workbench.core.runs import Run
from workbench.interface.command import measures, print_table
from workbench.interface.readable import out
from workbench.questions.quantization.evaluation.findings import candidate_label, comparison, per_byte_text
from workbench.questions.quantization.evaluation.rows import per_byte_of
from workbench.questions.quantization.evaluation.spec import EvaluationSpec


@measures(EvaluationSpec, can_resume=True, check=lambda spec: model_spec_from(spec.model))
def evaluate(run: Run) -> None:
    """Compare checkpoints and KV cache formats with the original model: KL divergence, pass keys, completed lines."""
    head, lines = comparison(run)
    for columns in (slice(1, 5), slice(5, None)):  # all in one table are too wide for a terminal
        print_table((head[0], *head[columns]), [(x[0], *x[columns]) for x in lines if len(x) == len(head)])
    for row in per_byte_of(run):
        out.print(f"{candidate_label(row.folder)} has another tokenizer: {per_byte_text(row)}.")
    for failure in run.failures:
        out.print(f"{failure}")


COMMANDS = (evaluate,)
