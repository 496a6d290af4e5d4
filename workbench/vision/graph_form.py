"""What a graph asks for and is made of: its inputs, whether its batch is free, and whether it is quantized already."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from workbench.core.errors import InvalidSpec, NotAModel
from workbench.core.language import gettext, ngettext

Examples: TypeAlias = npt.NDArray[Any]
"""Inputs of a graph, one element each; a structured array has a field for each input of the graph."""
FREE_SIDE, FREE_IMAGE_SIDE = 64, 224
"""Length of free sides other than the batch: of images, and of all else."""
MOST_BYTES = 1e9  # of inputs that are drawn
_QUANTIZED = (
    "QLinearConv QLinearMatMul QLinearAdd QGemm QAttention MatMulInteger MatMulIntegerToFloat DynamicQuantizeMatMul ConvInteger "
    "QuantizeLinear DequantizeLinear DynamicQuantizeLinear MatMulNBits GatherBlockQuantized QMoE"
)
QUANTIZED = frozenset(_QUANTIZED.split())
"""Operations of a graph that is quantized already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphInput:
    """One input of a graph."""

    name: str
    dtype: np.dtype[Any]
    sides: tuple[int | str | None, ...]
    """Sides with the batch; a name or None is free."""
    n_rows: int | None = None
    """Rows of the stored table that an integer input chooses from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphForm:
    """The inputs of a graph, how many examples it takes at once, and the kind of its weights."""

    inputs: tuple[GraphInput, ...]
    batch: int | None
    """Examples in a batch where that is fixed; None where it is free."""
    is_whole: bool
    """Whether an example is all of a call, because the inputs have no first side in common."""
    quantized: tuple[str, ...]
    """Operations of a graph that is quantized already."""
    precision: str
    """Data type that holds most of the weights."""

    def example_type(self, length: int | None = None) -> np.dtype[Any]:
        """Return the type of one example; ``length`` is that of all free sides, instead of the usual ones.

        Raises:
            NotAModel: an example would be larger than 1 GB.
        """
        fields = []
        for given in self.inputs:
            sides = [s if isinstance(s, int) else free_side(given, at, s, length) for at, s in enumerate(given.sides)]
            sides = sides if self.is_whole else sides[1:]
            _require_room(1, math.prod(sides) * given.dtype.itemsize)
            fields.append((given.name, given.dtype, tuple(sides)))
        return np.dtype(fields)


def free_side(given: GraphInput, at: int, side: str | None, length: int | None) -> int:
    """Return the length of a free side where no data tells it: none of a past, one of a batch, the usual ones of images and texts."""
    name = (side or "").lower()
    if "batch" in name or (at == 0 and not _has_later_batch(given.sides)):
        return 1
    if "past" in name and "total" not in name and "+" not in name:
        return 0
    return length or (FREE_IMAGE_SIDE if len(given.sides) == 4 and given.dtype.kind == "f" and at > 1 else FREE_SIDE)


def _has_later_batch(sides: Sequence[int | str | None]) -> bool:
    """Return whether another side than the first is named as the batch, as in time-major recurrent networks."""
    first, *others = [str(s or "").lower() for s in sides] or [""]
    return "batch" not in first and any("batch" in name for name in others)


def _require_room(n: int, example_bytes: int) -> None:
    if n * example_bytes > MOST_BYTES:
        raise NotAModel(
            ngettext(
                "{n} input of the graph would be {size} GB.", "{n} inputs of the graph would be {size} GB.", n
            ).format(n=n, size=f"{n * example_bytes / 1e9:.1f}"),
            remedy=gettext("Give a file with fewer or smaller inputs."),
        )


def graph_form(model: onnx.ModelProto) -> GraphForm:
    """Return the form of a graph; raises ``NotAModel`` for inputs that cannot be made up, and where there is no answer."""
    if not model.graph.output:
        raise NotAModel(gettext("The graph has no outputs."), remedy=gettext("Name a graph that answers something."))
    stored = {t.name: t for t in model.graph.initializer}
    inputs = tuple(_input(i, model.graph, stored) for i in model.graph.input if i.name not in stored)
    if not inputs:
        raise NotAModel(
            gettext("The graph has no inputs."), remedy=gettext("Name a graph that computes something from inputs.")
        )
    firsts = [i.sides[0] if i.sides else 0 for i in inputs]
    same = len({f if isinstance(f, int) else "free" for f in firsts}) == 1 and firsts[0] != 0
    same = same and not any(_has_later_batch(i.sides) for i in inputs)
    kinds: dict[str, int] = {}
    for tensor in model.graph.initializer:
        name = TensorProto.DataType.Name(tensor.data_type).lower()
        kinds[name] = kinds.get(name, 0) + int(np.prod(tensor.dims, dtype=np.int64))
    weights = {name: n for name, n in kinds.items() if "float" in name or "double" in name}
    precision = {"float": "float32", "double": "float64"}.get(
        main := max(weights, key=lambda k: weights[k], default="float"), main
    )
    return GraphForm(
        inputs=inputs,
        batch=1 if not same else firsts[0] if isinstance(firsts[0], int) else None,
        is_whole=not same,
        quantized=tuple(sorted({n.op_type for n in all_nodes(model.graph)} & QUANTIZED)),
        precision=precision,
    )


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the operations of a graph and of its branches and loops."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from all_nodes(attribute.g)


def _input(info: onnx.ValueInfoProto, graph: onnx.GraphProto, stored: Mapping[str, onnx.TensorProto]) -> GraphInput:
    kind = info.type.tensor_type
    if not info.type.HasField("tensor_type") or kind.elem_type == TensorProto.STRING:
        raise NotAModel(
            gettext("The input {name} is no tensor of numbers.").format(name=info.name),
            remedy=gettext("Name a graph whose inputs are tensors of numbers."),
        )
    if not kind.HasField("shape"):
        raise NotAModel(
            gettext("The input {name} has no shape.").format(name=info.name),
            remedy=gettext("Export the graph with the shapes of its inputs."),
        )
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
    if dtype.kind not in "iufb":
        raise NotAModel(
            gettext("The input {name} has the type {dtype}, which ONNX Runtime does not take from Python.").format(
                name=info.name, dtype=dtype.name
            ),
            remedy=gettext("Export the graph with inputs of float32 or of integers."),
        )
    sides = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim)
    return GraphInput(
        name=info.name,
        dtype=dtype,
        sides=tuple(None if isinstance(s, int) and s < 0 else s for s in sides),
        n_rows=_rows_chosen_by(info.name, graph, stored),
    )


def _rows_chosen_by(name: str, graph: onnx.GraphProto, stored: Mapping[str, onnx.TensorProto]) -> int | None:
    """Return the length of the smallest stored table that a tensor indexes, through casts and rearrangements."""
    names, rows = {name}, []
    for node in graph.node:  # nodes are in the order in which they run
        if node.op_type == "Gather" and len(node.input) > 1 and node.input[1] in names and node.input[0] in stored:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            rows.append(int(stored[node.input[0]].dims[axis]))
        elif (
            node.input
            and node.input[0] in names
            and node.op_type in {"Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Slice"}
        ):
            names.update(node.output)
    return min(rows, default=None)


def random_examples(form: GraphForm, n: int, *, seed: int, length: int | None = None) -> Examples:
    """Return examples drawn at random: masks of ones, indices within their tables, all other numbers normal.

    Raises:
        NotAModel: they would be larger than 1 GB.
    """
    rng = np.random.default_rng(seed)
    kind = form.example_type(length)
    _require_room(n, kind.itemsize)
    examples = np.zeros(n, kind)
    for given in form.inputs:
        shape, low_name = examples[given.name].shape, given.name.lower()
        if "mask" in low_name:
            examples[given.name] = 1
        elif given.dtype.kind == "f":
            examples[given.name] = rng.standard_normal(shape)
        elif given.dtype.kind == "b":
            examples[given.name] = True
        elif "position" in low_name and shape:
            examples[given.name] = np.arange(shape[-1])
        elif "type" in low_name or "segment" in low_name:
            examples[given.name] = 0
        else:
            most = given.n_rows or (256 if given.dtype.name == "uint8" else 2)
            examples[given.name] = rng.integers(0, most, shape)
    return examples


def read_examples(form: GraphForm, arrays: Mapping[str, npt.NDArray[Any]], file: Path) -> Examples:
    """Return the examples of a file: arrays by the name of the input, or ``x`` for the only one.

    Raises:
        InvalidSpec: an input is missing, has another shape or type, or indexes beyond its table.
    """
    named = {i.name: arrays.get(i.name, arrays.get("x") if len(form.inputs) == 1 else None) for i in form.inputs}
    missing = [name for name, array in named.items() if array is None]
    if missing:
        names = ", ".join(named) if len(named) > 1 else "x"
        raise InvalidSpec(
            gettext("{file} has no inputs {names}.").format(file=file, names=", ".join(missing)),
            remedy=gettext("Give an .npz with {names}, and y if classes are known.").format(names=names),
        )
    given = {name: np.asarray(array) for name, array in named.items()}
    counts = {len(a) if a.ndim else 0 for a in given.values()}
    if len(counts) != 1 or not min(counts):
        raise InvalidSpec(
            gettext("The inputs of {file} have {counts} examples.").format(file=file, counts=sorted(counts)),
            remedy=gettext("Give as many of each input, one or more."),
        )
    fields = []
    for i in form.inputs:
        own = given[i.name]
        asked = i.sides if form.is_whole else i.sides[1:]
        if own.ndim - 1 != len(asked) or any(
            isinstance(s, int) and s != o for s, o in zip(asked, own.shape[1:], strict=True)
        ):
            raise InvalidSpec(
                gettext("The inputs {name} have the shape {shape}, the graph asks for {asked}.").format(
                    name=i.name, shape=own.shape[1:], asked=asked
                ),
                remedy=gettext("Give them in the graph's shape."),
            )
        _check_values(i, own)
        fields.append((i.name, i.dtype, own.shape[1:]))
    examples = np.zeros(min(counts), np.dtype(fields))
    for name, own in given.items():
        examples[name] = own
    return examples


def _check_values(given: GraphInput, own: npt.NDArray[Any]) -> None:
    if given.dtype.kind in "iub" and own.dtype.kind == "f" and not np.array_equal(own, np.trunc(own)):
        raise InvalidSpec(
            gettext("The inputs {name} are fractions, the graph asks for whole numbers.").format(name=given.name),
            remedy=gettext("Give whole numbers."),
        )
    if own.dtype.kind not in "iufb" or (own.dtype.kind == "f" and not np.isfinite(own).all()):
        raise InvalidSpec(
            gettext("The inputs {name} are not all finite numbers.").format(name=given.name),
            remedy=gettext("Give numbers only."),
        )
    if given.n_rows is not None and own.size and (own.max() >= given.n_rows or own.min() < -given.n_rows):
        raise InvalidSpec(
            gettext("The inputs {name} lie between {least} and {most}; the graph's table has {n} rows.").format(
                name=given.name, least=own.min(), most=own.max(), n=given.n_rows
            ),
            remedy=gettext("Give indices within the table."),
        )
