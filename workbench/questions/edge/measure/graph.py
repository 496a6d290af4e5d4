"""A user's own graph: its inputs, and the compressions that need no training."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.inliner

from workbench.catalog.checkpoint import LFS_POINTER
from workbench.core.errors import InvalidSpec, NotAModel, NotAvailable, WorkbenchError, first_line
from workbench.core.language import gettext_noop
from workbench.core.rows import Failure
from workbench.questions.edge.measure.answers import Outputs, all_outputs
from workbench.questions.edge.spec import GRAPH_TECHNIQUES, EdgeSpec
from workbench.vision.graph_form import GraphForm, graph_form, random_examples, read_examples
from workbench.vision.graphs import quantize_graph
from workbench.vision.sessions import Examples, Graph, sums_of_bytes_saturate
from workbench.vision.variants import Variant

Labels = npt.NDArray[np.int64]
N_INPUTS = 64  # random ones, where no data is given
LEAST_INPUTS = 8  # of a file, to calibrate on a quarter and test on the rest
FREE_LENGTHS = (None, 16, 8, 32, 128, 224, 1)
"""Lengths of free sides that are tried one after the other until the graph runs; None is the usual ones."""
SIGNED_WEIGHTS = ("int8-static", "int8-dynamic-dense")
SEVEN_BITS = gettext_noop(
    "weights in 7 bits, because this processor adds products of 8-bit numbers in 16 bits (no VNNI)"
)
NEAR = 0.05
"""Largest difference that rounding explains, as a share of the largest output: dynamic INT8 rounds by what else is in a batch."""
MOST_INSIDE_BYTES = 1_500_000_000  # a graph file holds 2 GB at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A graph with its quantized copies, and the inputs that they answer."""

    variants: Mapping[str, Variant]
    inputs: Examples
    labels: Labels | None
    batch: int | None
    """Examples in a batch where that is fixed."""
    failures: list[Failure]
    reference: Outputs | None = None
    """Answers that all graphs are judged by, where they are not those of the float graph."""
    varied: Examples | None = None
    """Inputs at their own lengths with an attention mask; None where inputs are drawn at random."""
    source: str = ""
    """Description of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Inputs to be answered, and others to calibrate on."""

    tested: Examples
    calibration: Examples
    labels: Labels | None = None


def graph_subject(spec: EdgeSpec, folder: Path) -> Subject:
    """Return the copies of a graph by technique, and the techniques that failed; raises ``NotAModel`` for what is no graph."""
    source = Path(spec.model).expanduser()
    model = loaded_graph(source)
    form = graph_form(model)
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / "fp32.onnx"
    save_graph(model, base)
    try:
        opened = Graph(base, threads=spec.threads)
    except Exception as error:  # whatever ONNX Runtime raises is the reason why it does not run
        raise _not_run(source, error, "Check it with onnx.checker, or export it again.") from error
    form, length = _runnable(form, opened, spec, source)
    inputs = _inputs(spec, form, length)
    failures: list[Failure] = []
    if form.quantized:
        failures.append(_quantized_already(form))
    note = _note(form, inputs.tested)
    variants = {"fp32": Variant(technique="fp32", runner=opened, graphs=(base,), note=note)}
    subject = Subject(
        variants=variants,
        inputs=inputs.tested,
        labels=inputs.labels,
        batch=form.batch,
        failures=failures,
        varied=None if spec.data is None else inputs.tested,
        source=gettext_noop("inputs of {file}").format(file=Path(spec.data or "").name),
    )
    return subject if form.quantized else with_quantized(spec, subject, inputs.calibration)


def with_quantized(spec: EdgeSpec, subject: Subject, calibration: Examples) -> Subject:
    """Return the subject with a quantized copy for each technique of the spec that a graph can have."""
    base, failures = subject.variants["fp32"].graphs[0], [*subject.failures, *needs_training(spec, GRAPH_TECHNIQUES)]
    variants = dict(subject.variants)
    for technique in (t for t in spec.techniques if t in GRAPH_TECHNIQUES and t != "fp32"):
        try:
            if technique == "int8-static" and not len(calibration):
                raise NotAvailable(
                    f"Its file has fewer than {LEAST_INPUTS} inputs, too few to calibrate on some and test on others.",
                    remedy="Give more inputs, or none.",
                )
            target = base.with_name(f"{technique}.onnx")
            quantize_graph(base, target, technique, examples=calibration, batch=subject.batch or 32)
            runner = Graph(target, threads=spec.threads)
            if not _is_finite(all_outputs(runner, subject.inputs[: subject.batch or 1], subject.batch)):
                raise NotAvailable("It answers with NaN or infinity.", remedy="Leave this technique out.")
            note = SEVEN_BITS if technique in SIGNED_WEIGHTS and sums_of_bytes_saturate() else ""
            variants[technique] = Variant(technique=technique, runner=runner, graphs=(target,), note=note)
        except WorkbenchError as error:
            failures.append(Failure(cause=f"{technique} is left out: {error.cause}", remedy=error.remedy))
        except Exception as error:  # what a quantizer raises is the result for its technique
            failures.append(Failure(cause=f"{technique} failed: {_cause(error)}", remedy="Leave this technique out."))
    return replace(subject, variants=variants, failures=failures)


def needs_training(spec: EdgeSpec, possible: Collection[str]) -> Iterator[Failure]:
    """Yield that techniques were chosen which the model cannot have without its training."""
    if others := spec.left_out(possible):
        remedy = f"Choose from: {', '.join(possible)}."
        yield Failure(cause=f"{', '.join(others)} cannot be applied to this model and were left out.", remedy=remedy)


BEFORE_CAUSE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .+? failed: ?|/onnxruntime_src/\S+:\d+ .*?\) (?=[A-Z])|"
    r"This is an invalid model\. |(Type )?Error: (?=[A-Z])|ONNX Runtime only \*guarantees\* support .*?\. (?=Opset)"
)
"""What ONNX Runtime puts before the cause: codes, a path of any length, a place in its own source."""


def loaded_graph(source: Path) -> onnx.ModelProto:
    """Return a graph with its weights; raises ``NotAModel`` where a file is missing, damaged or no graph."""
    if not source.is_file():
        raise NotAModel(f"There is no graph at {source}.", remedy="Name an .onnx file.")
    try:
        model = onnx.load(str(source))
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
    except Exception as error:  # protobuf and the loader of weights raise many kinds
        if _is_pointer(source):
            raise NotAModel(
                f"{source} is a pointer of Git LFS, not the file itself.", remedy="Run `git lfs pull`."
            ) from error
        raise _not_run(source, error, "Name an .onnx file, with the files of its weights beside it.") from error
    if not model.graph.node:
        raise NotAModel(
            f"{source} cannot be run: it has no operations.", remedy="Name an .onnx file that was written whole."
        )
    _store_constants(model.graph)
    return model


def _is_pointer(source: Path) -> bool:
    with source.open("rb") as stream:
        return stream.read(len(LFS_POINTER)) == LFS_POINTER


def _store_constants(graph: onnx.GraphProto) -> None:
    """Make stored tensors of the constants of a graph, in place: quantizers look for weights there."""
    answers, kept = {o.name for o in graph.output}, []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None) if node.op_type == "Constant" else None
        if value is None or node.output[0] in answers:
            kept.append(node)
            continue
        graph.initializer.add().CopyFrom(value)
        graph.initializer[-1].name = node.output[0]
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)


def save_graph(model: onnx.ModelProto, target: Path) -> None:
    """Write a graph with its weights inside, or beside it where they are too large for that."""
    outside = sum(t.ByteSize() for t in model.graph.initializer) > MOST_INSIDE_BYTES
    onnx.save_model(
        model, str(target), save_as_external_data=outside, location=f"{target.name}.data" if outside else None
    )


def _not_run(source: Path, error: Exception, remedy: str) -> NotAModel:
    return NotAModel(f"{source} cannot be run: {_cause(error)}.", remedy=remedy)


def _cause(error: Exception) -> str:
    said = BEFORE_CAUSE.sub("", str(error)).replace("following indices\n", "following indices:\n")
    return first_line(RuntimeError(said))


def _is_finite(outputs: Outputs) -> bool:
    return all(np.isfinite(o).all() for o in outputs if o.dtype.kind == "f")


def _runnable(form: GraphForm, opened: Graph, spec: EdgeSpec, source: Path) -> tuple[GraphForm, int | None]:
    """Return the form with the batch that really runs, and the length of the free sides; raises ``NotAModel`` where none runs."""
    reason: Exception = ValueError("no inputs were tried")
    rows = [form.batch] if form.batch else [2, 1]
    for length in (None,) if spec.data else FREE_LENGTHS:
        for n in rows:
            try:
                drawn = max(n, N_INPUTS)
                examples = (
                    _data(spec, form)[0] if spec.data else random_examples(form, drawn, seed=spec.seed, length=length)
                )[:n]
                outputs = all_outputs(opened, examples, n)
            except InvalidSpec:
                raise
            except Exception as error:  # ONNX Runtime raises many kinds for shapes that do not fit
                reason = error
                continue
            _require_answers(outputs, all_outputs(opened, examples, n), source)
            free = form.batch is None and n > 1 and _alike(outputs, all_outputs(opened, examples, 1))
            return (form if form.batch or free else replace(form, batch=1)), length
    if isinstance(reason, WorkbenchError):
        raise reason
    raise _not_run(source, reason, "Give inputs that it takes with --data, or export it with the shapes of its inputs.")


def _require_answers(outputs: Outputs, again: Outputs, source: Path) -> None:
    """Raise ``NotAModel`` where answers are not finite, empty, or others when the same inputs are given again."""
    remedy = "Check its weights, or give its own inputs with --data."
    if not _is_finite(outputs):
        raise NotAModel(f"{source} answers with NaN or infinity.", remedy=remedy)
    if not any(o.size for o in outputs):
        raise NotAModel(f"{source} answers nothing: all its outputs are empty.", remedy=remedy)
    if not _alike(outputs, again):
        raise NotAModel(
            f"{source} answers otherwise when it is given the same inputs again, so that nothing can be compared.",
            remedy="Export it in evaluation mode, without operations that draw random numbers.",
        )


def _alike(outputs: Outputs, others: Outputs) -> bool:
    """Return whether two answers to the same inputs differ by no more than rounding explains."""
    return all(
        a.shape == b.shape
        and (a.dtype.kind != "f" or np.allclose(a, b, rtol=0, atol=NEAR * np.abs(a).max(initial=1e-30)))
        for a, b in zip(outputs, others, strict=True)
    )


def _quantized_already(form: GraphForm) -> Failure:
    return Failure(
        cause=f"The graph is quantized already ({', '.join(form.quantized)}), so it is measured as it is and not quantized again.",
        remedy="Name the float graph that it was made from to compare the two.",
    )


def _note(form: GraphForm, tested: Examples) -> str:
    parts = []
    if form.quantized:
        parts.append(gettext_noop("quantized already ({operators})").format(operators=", ".join(form.quantized)))
    if form.precision != "float32":
        parts.append(gettext_noop("weights in {precision}").format(precision=form.precision))
    if form.batch:
        parts.append(gettext_noop("fixed batch of {batch}").format(batch=form.batch))
    free = [i.name for i in form.inputs if any(not isinstance(s, int) for s in i.sides[0 if form.is_whole else 1 :])]
    if free:
        sides = ", ".join(f"{name} {list(tested.dtype[name].shape)}" for name in free)
        parts.append(gettext_noop("free sides measured as {sides}").format(sides=sides))
    return "; ".join(parts)


def read_arrays(file: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Return the arrays of an .npz; raises ``InvalidSpec`` where it cannot be read."""
    try:
        with np.load(file.expanduser()) as arrays:
            return dict(arrays)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise InvalidSpec(
            f"{file} has no inputs: {first_line(error)}.", remedy="Give an .npz with x, and y if classes are known."
        ) from error


def _data(spec: EdgeSpec, form: GraphForm) -> tuple[Examples, Labels | None]:
    assert spec.data is not None
    file = Path(spec.data)
    arrays = read_arrays(file)
    examples = read_examples(form, arrays, file)
    labels = None if "y" not in arrays or "y" in {i.name for i in form.inputs} else arrays["y"]
    if labels is not None and (labels.ndim != 1 or len(labels) != len(examples)):
        raise InvalidSpec(
            f"{len(examples)} inputs and {labels.shape} classes.", remedy="Give one class for each input."
        )
    return examples, None if labels is None else labels.astype(np.int64)


def _inputs(spec: EdgeSpec, form: GraphForm, length: int | None) -> Inputs:
    """Return the inputs that are tested, and others that quantizers are calibrated on."""
    rows = form.batch or 1
    if spec.data is None:
        n = -(-N_INPUTS // rows) * rows
        drawn = [random_examples(form, n, seed=seed, length=length) for seed in (spec.seed, spec.seed + 1)]
        return Inputs(tested=drawn[0], calibration=drawn[1])
    examples, labels = _data(spec, form)
    whole = len(examples) // rows * rows
    if not whole:
        raise InvalidSpec(f"{len(examples)} inputs; the graph takes {rows} at once.", remedy="Give more inputs.")
    n = max(rows, whole // 4 // rows * rows) if whole >= max(LEAST_INPUTS, 2 * rows) else 0
    return Inputs(
        tested=examples[n:whole], calibration=examples[:n], labels=None if labels is None else labels[n:whole]
    )


def exported_inputs(spec: EdgeSpec, graph: Path, n: int) -> Examples:
    """Return inputs that a graph was tested with, at most ``n`` and whole batches."""
    form, length = _runnable(graph_form(loaded_graph(graph)), Graph(graph, threads=1), spec, graph)
    tested = _inputs(spec, form, length).tested
    return tested[: max(form.batch or 1, n // (form.batch or 1) * (form.batch or 1))]
