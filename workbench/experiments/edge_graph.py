"""Someone's own graph as a subject: its inputs, and what can be made of it without its training."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workbench.core.edge import GRAPH_TECHNIQUES, EdgeSpec
from workbench.core.errors import InvalidSpec, NotAModel
from workbench.vision.graphs import input_shape, quantized
from workbench.vision.sessions import Graph
from workbench.vision.variants import Variant

N_INPUTS = 64  # made up where no data is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A graph with its quantized copies, and what to ask them."""

    variants: Mapping[str, Variant]
    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64] | None
    failures: list[dict[str, str]]


def graph_subject(spec: EdgeSpec, folder: Path) -> Subject:
    """Copies of a graph by method; raises ``NotAModel`` for what is none, a method that fails is told with its reason."""
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
    failures: list[dict[str, str]] = []
    for technique in spec.techniques:
        if technique not in GRAPH_TECHNIQUES or technique == "fp32":
            continue
        target = folder / f"{technique}.onnx"
        try:
            quantized(base, target, technique, examples=inputs)
            variants[technique] = Variant(
                technique=technique, runner=Graph(target, threads=spec.threads), graphs=(target,)
            )
        except Exception as error:  # what a quantizer raises is the result for its method
            failures.append(
                {
                    "cause": f"{technique} failed: {str(error).splitlines()[0][:200]}",
                    "remedy": "Leave this technique out.",
                }
            )
    return Subject(variants=variants, inputs=inputs, labels=labels, failures=failures)


def _data(spec: EdgeSpec, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64] | None]:
    if spec.data is None:
        rng = np.random.default_rng(spec.seed)
        return rng.standard_normal((N_INPUTS, *shape)).astype(np.float32), None
    try:
        with np.load(Path(spec.data).expanduser()) as held:
            inputs = held["x"].astype(np.float32)
            labels = held["y"].astype(np.int64) if "y" in held else None
    except (OSError, ValueError, KeyError) as error:
        raise InvalidSpec(
            f"{spec.data} has no inputs: {error}.", remedy="Give an .npz with x, and y if classes are known."
        ) from error
    if inputs.shape[1:] != shape:
        raise InvalidSpec(
            f"The inputs have the shape {inputs.shape[1:]}, the graph asks for {shape}.",
            remedy="Give x in the graph's shape.",
        )
    if labels is not None and len(labels) != len(inputs):
        raise InvalidSpec(f"{len(inputs)} inputs and {len(labels)} classes.", remedy="Give one class for each input.")
    return inputs, labels
