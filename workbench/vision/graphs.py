"""Networks as ONNX graphs: exported, quantized, and run in ONNX Runtime."""

import gzip
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.vision.graph_form import all_nodes
from workbench.vision.sessions import Examples, Graph, sums_of_bytes_saturate

Floats = npt.NDArray[np.float32]
BATCH_AXIS = "batch"
PER_CHANNEL_OPSET = 13
"""First opset whose DequantizeLinear has a scale for each channel."""


def fix_sides(source: Path, target: Path, shapes: Mapping[str, Sequence[int]]) -> None:
    """Write a graph with the sides of inputs fixed, as one is compiled for a chip; weights in other files stay where they are.

    Args:
        source: The graph.
        target: Of the new graph, in the same folder.
        shapes: Sides by name of the input, with the batch.
    """
    from onnxruntime.tools.onnx_model_utils import make_dim_param_fixed  # slow to import

    model = onnx.load(str(source), load_external_data=False)
    for given in (i for i in model.graph.input if i.name in shapes):
        for side, size in zip(given.type.tensor_type.shape.dim, shapes[given.name], strict=True):
            if side.HasField("dim_param"):
                make_dim_param_fixed(model.graph, side.dim_param, size)
            else:
                side.dim_value = size
    onnx.save(model, str(target))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings that exporter and quantizer give for every graph, and restore them at the end."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def export(net: torch.nn.Module, example: torch.Tensor, target: Path, *, outputs: Sequence[str] = ("logits",)) -> Path:
    """Write a network with one input as a graph whose batch is free; weights lie inside."""
    net.eval()
    batch = torch.export.Dim(BATCH_AXIS)
    with quiet():
        program = torch.onnx.export(
            net,
            (torch.cat([example, example])[:2],),
            input_names=["input"],
            output_names=list(outputs),
            dynamic_shapes=({0: batch},),
            dynamo=True,
            opset_version=20,
            verbose=False,
        )
    assert program is not None
    program.save(str(target), external_data=False)
    return target


def example(inputs: Floats) -> torch.Tensor:
    """Return two inputs that a network can be traced with."""
    return torch.from_numpy(inputs[:2])


class _Feeds:
    """Calibration inputs in batches, as ONNX Runtime asks for them."""

    def __init__(self, graph: Path, examples: Examples, batch: int) -> None:
        opened = Graph(graph, threads=1)
        self._rows = (opened.feed(examples[i : i + batch]) for i in range(0, len(examples), batch))

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        """Return the next batch, or None at the end."""
        return next(self._rows, None)

    def __iter__(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        return self._rows


def quantize_graph(source: Path, target: Path, method: str, *, examples: Examples, batch: int = 32) -> Path:
    """Write a quantized copy of a graph.

    Args:
        source: Float graph.
        target: Where to write.
        method: ``int8-static`` (QDQ, signed, by channel), ``int8-dynamic``, ``int8-dynamic-dense`` (convolutions stay in
            float) or ``int4`` (weights of dense layers, 32 to a scale).
        examples: Inputs that static quantization learns ranges from.
        batch: How many of them the graph takes at once.

    Raises:
        NotAvailable: nothing was quantized.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with quiet():
        if method == "int4":
            _int4(source, target)
        else:
            prepared = target.with_suffix(".prepared.onnx")
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            model = onnx.load(str(prepared))
            for i, node in enumerate(model.graph.node):  # nodes are left out by name
                node.name = node.name or f"node_{i}"
            if method == "int8-static":
                _static(model, target, _Feeds(prepared, examples, min(batch, len(examples))))
            else:
                _dynamic(model, target, only_dense=method == "int8-dynamic-dense")
            prepared.unlink()
    if not _has_quantized_weights(target):
        raise NotAvailable(
            gettext("It finds no layer in this graph whose weights it could quantize."),
            remedy=gettext("Leave this technique out."),
        )
    return target


def _static(model: onnx.ModelProto, target: Path, feeds: _Feeds) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    stored = {t.name for t in model.graph.initializer}
    CalibrationDataReader.register(_Feeds)
    quantize_static(
        model,
        target,
        feeds,
        quant_format=QuantFormat.QDQ,
        per_channel=_opset(model) >= PER_CHANNEL_OPSET,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QInt8,
        reduce_range=sums_of_bytes_saturate(),
        calibrate_method=CalibrationMethod.MinMax,
        # Products of two activations are attention; one scale for all of a score matrix ruins it.
        nodes_to_exclude=[n.name for n in model.graph.node if n.op_type == "MatMul" and n.input[1] not in stored],
    )


def _dynamic(model: onnx.ModelProto, target: Path, *, only_dense: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    dense = (
        {"op_types_to_quantize": ["MatMul", "Gemm"], "extra_options": {"MatMulConstBOnly": True}} if only_dense else {}
    )
    # Dynamic quantization of convolutions exists for unsigned weights only.
    kind = QuantType.QInt8 if only_dense else QuantType.QUInt8
    # ONNX Runtime's quantizer takes Attention of ONNX itself for its own of the same name, which holds the matrices.
    attention = [n.name for n in model.graph.node if n.op_type == "Attention" and not n.domain]
    quantize_dynamic(
        model,
        target,
        weight_type=kind,
        reduce_range=only_dense and sums_of_bytes_saturate(),
        nodes_to_exclude=attention,
        **dense,
    )


def _int4(source: Path, target: Path) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        as_products(onnx.load(str(source))), bits=4, block_size=32, is_symmetric=True, accuracy_level=4
    )
    quantizer.process()
    quantizer.model.save_model_to_file(str(target))


def _opset(model: onnx.ModelProto) -> int:
    return int(next(o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}))


def _has_quantized_weights(graph: Path) -> bool:
    """Return whether a graph holds a matrix or a kernel in few bits."""
    model = onnx.load(str(graph), load_external_data=False)
    few = {onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT4, onnx.TensorProto.UINT4}
    return any(t.data_type in few and len(t.dims) > 1 for t in model.graph.initializer)


def as_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with dense layers (Gemm with a stored matrix) as a product and a sum, which the 4-bit kernel replaces."""
    graph = model.graph
    stored = {t.name: t for t in graph.initializer}
    nodes = []
    for node in graph.node:
        flags = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        plain = flags.get("alpha", 1.0) == 1.0 and flags.get("beta", 1.0) == 1.0 and not flags.get("transA")
        if node.op_type != "Gemm" or node.input[1] not in stored or not plain:
            nodes.append(node)
            continue
        weight, bias = node.input[1], node.input[2] if len(node.input) > 2 else ""
        if flags.get("transB"):
            turned = np.ascontiguousarray(onnx.numpy_helper.to_array(stored[weight]).T)
            weight = f"{node.output[0]}_matrix"
            graph.initializer.append(onnx.numpy_helper.from_array(turned, weight))
        product = f"{node.output[0]}_product" if bias else node.output[0]
        make = onnx.helper.make_node
        nodes.append(make("MatMul", [node.input[0], weight], [product], name=f"{node.output[0]}_product"))
        if bias:
            nodes.append(make("Add", [product, bias], [node.output[0]], name=f"{node.output[0]}_sum"))
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    return model


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in all_nodes(graph) for name in node.input} | {o.name for o in graph.output}
    kept = [t for t in graph.initializer if t.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def compressed_bytes(graph: Path) -> int:
    """Return the size after gzip at its best level, as in a download or a firmware image."""
    return len(gzip.compress(graph.read_bytes(), 9))


def input_shape(graph: Path) -> tuple[int, ...]:
    """Return the shape of one input without the batch; raises ``ValueError`` where the graph has several inputs or a free side."""
    inputs = onnx.load(str(graph), load_external_data=False).graph.input
    if len(inputs) != 1:
        raise ValueError(f"the graph has {len(inputs)} inputs")
    sides = inputs[0].type.tensor_type.shape.dim[1:]
    if any(not d.dim_value for d in sides):
        raise ValueError("a side other than the batch is free")
    return tuple(d.dim_value for d in sides)
