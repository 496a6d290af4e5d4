"""Networks as ONNX graphs: exported, quantized, and run in ONNX Runtime."""

import gzip
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch

Floats = npt.NDArray[np.float32]
BATCH_AXIS = "batch"


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


class _Examples:
    """Calibration inputs in batches, as ONNX Runtime asks for them."""

    def __init__(self, name: str, inputs: Floats, batch: int = 32) -> None:
        self._rows: Iterator[dict[str, Floats]] = ({name: inputs[i : i + batch]} for i in range(0, len(inputs), batch))

    def get_next(self) -> dict[str, Floats] | None:
        """Return the next batch, or None at the end."""
        return next(self._rows, None)

    def __iter__(self) -> Iterator[dict[str, Floats]]:
        return self._rows


def quantize_graph(source: Path, target: Path, method: str, *, examples: Floats) -> Path:
    """Write a quantized copy of a graph.

    Args:
        source: Float graph with one input.
        target: Where to write.
        method: ``int8-static`` (QDQ, signed, by channel), ``int8-dynamic``, ``int8-dynamic-dense`` (convolutions stay in
            float) or ``int4`` (weights of dense layers, 32 to a scale).
        examples: Inputs that static quantization learns ranges from.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = input_of(source)
    if method == "int4":
        return _int4(source, target)
    prepared = target.with_suffix(".prepared.onnx")
    with quiet():
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    if method == "int8-static":
        CalibrationDataReader.register(_Examples)
        quantize_static(
            prepared,
            target,
            _Examples(name, examples),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    else:
        dense = {"op_types_to_quantize": ["MatMul", "Gemm"]} if method == "int8-dynamic-dense" else {}
        # Dynamic quantization of convolutions exists for unsigned weights only.
        kind = QuantType.QInt8 if dense else QuantType.QUInt8
        quantize_dynamic(prepared, target, weight_type=kind, **dense)
    prepared.unlink()
    return target


def _int4(source: Path, target: Path) -> Path:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        as_products(onnx.load(str(source))), bits=4, block_size=32, is_symmetric=True, accuracy_level=4
    )
    quantizer.process()
    quantizer.model.save_model_to_file(str(target))
    return target


def as_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with dense layers (Gemm with a transposed weight) as a product and a sum, which the 4-bit kernel replaces."""
    stored = {t.name: t for t in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        flags = {a.name: a for a in node.attribute}
        weight = stored.get(node.input[1]) if node.op_type == "Gemm" else None
        if weight is None or "transB" not in flags or not flags["transB"].i:
            nodes.append(node)
            continue
        turned = onnx.numpy_helper.to_array(weight).T.copy()
        model.graph.initializer.append(onnx.numpy_helper.from_array(turned, f"{weight.name}_turned"))
        model.graph.initializer.remove(weight)
        product = f"{node.output[0]}_product"
        make = onnx.helper.make_node
        nodes.append(make("MatMul", [node.input[0], f"{weight.name}_turned"], [product], name=f"{node.name}_product"))
        nodes.append(make("Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}_sum"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def input_of(graph: Path) -> str:
    """Return the name of the graph's only input."""
    return str(onnx.load(str(graph), load_external_data=False).graph.input[0].name)


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
