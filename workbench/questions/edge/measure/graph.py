"""A user's own graph: its inputs, and the compressions that need no training."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workbench.core.errors import InvalidSpec, NotAModel
from workbench.core.rows import Failure
from workbench.questions.edge.spec import GRAPH_TECHNIQUES, EdgeSpec
from workbench.vision.graphs import input_shape, quantize_graph
from workbench.vision.sessions import Graph
from workbench.vision.variants import Variant

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
N_INPUTS = 64  # random ones, where no data is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A graph with its quantized copies, and the inputs that they answer."""

    variants: Mapping[str, Variant]
    inputs: Floats
    labels: Labels | None
    failures: list[Failure]


def graph_subject(spec: EdgeSpec, folder: Path) -> Subject:
    """Return the copies of a graph by technique, and the techniques that failed; raises ``NotAModel`` for what is no graph."""
    source = Path(spec.model).expanduser()
    if not source.is_file():
        raise NotAModel(f"There is no graph at {source}.", remedy="Name an .onnx file.")
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / "fp32.onnx"
    shutil.copy(source, base)
    try:
        shape = input_shape(base)
        opened = Graph(base, threads=spec.threads)
    except Exception as error:
        raise NotAModel(
            f"{source} cannot be run: {str(error).splitlines()[0][:200]}",
            remedy="Name a graph with one float32 input and its weights inside.",
        ) from error
    inputs, labels = _data(spec, shape)
    variants = {"fp32": Variant(technique="fp32", runner=opened, graphs=(base,))}
    failures: list[Failure] = []
    for technique in spec.techniques:
        if technique not in GRAPH_TECHNIQUES or technique == "fp32":
            continue
        target = folder / f"{technique}.onnx"
        try:
            quantize_graph(base, target, technique, examples=inputs)
            runner = Graph(target, threads=spec.threads)
            variants[technique] = Variant(technique=technique, runner=runner, graphs=(target,))
        except Exception as error:  # what a quantizer raises is the result for its technique
            cause = f"{technique} failed: {str(error).splitlines()[0][:200]}"
            failures.append(Failure(cause=cause, remedy="Leave this technique out."))
    return Subject(variants=variants, inputs=inputs, labels=labels, failures=failures)


def inputs_of(file: Path) -> tuple[Floats, Labels | None]:
    """Return the inputs of an .npz, and their classes where it has them; raises ``InvalidSpec`` where it has no inputs."""
    try:
        with np.load(file.expanduser()) as arrays:
            labels = arrays["y"].astype(np.int64) if "y" in arrays else None
            return arrays["x"].astype(np.float32), labels
    except (OSError, ValueError, KeyError) as error:
        raise InvalidSpec(
            f"{file} has no inputs: {error}.", remedy="Give an .npz with x, and y if classes are known."
        ) from error


def _data(spec: EdgeSpec, shape: tuple[int, ...]) -> tuple[Floats, Labels | None]:
    if spec.data is None:
        rng = np.random.default_rng(spec.seed)
        return rng.standard_normal((N_INPUTS, *shape)).astype(np.float32), None
    inputs, labels = inputs_of(Path(spec.data))
    if inputs.shape[1:] != shape:
        raise InvalidSpec(
            f"The inputs have the shape {inputs.shape[1:]}, the graph asks for {shape}.",
            remedy="Give x in the graph's shape.",
        )
    if labels is not None and len(labels) != len(inputs):
        raise InvalidSpec(f"{len(inputs)} inputs and {len(labels)} classes.", remedy="Give one class for each input.")
    return inputs, labels
