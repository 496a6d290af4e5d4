"""Quantized copies of an exported language model: which layers, with what, and whether they really were replaced."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

from workbench.compress.onnx_graph import LinearLayers
from workbench.core.errors import NotAvailable
from workbench.vision.sessions import sums_of_bytes_saturate

Arrays: TypeAlias = Mapping[str, npt.NDArray[np.int64] | npt.NDArray[np.float32]]
"""Inputs of a graph by name."""


class _Calibration:
    """Windows of text as inputs of the graph, with an empty past (the form that onnxruntime asks for)."""

    def __init__(self, windows: npt.NDArray[np.int64], empty: Arrays) -> None:
        self._rows: Iterator[Arrays] = iter([{"input_ids": w[None], **empty} for w in windows])

    def get_next(self) -> Arrays | None:
        """Return the next input of the graph; None after the last."""
        return next(self._rows, None)

    def __iter__(self) -> Iterator[Arrays]:
        return self._rows


def quantize_graph(source: Path, target: Path, method: str, *, windows: npt.NDArray[np.int64], empty: Arrays) -> None:
    """Write the quantized copy of an exported graph.

    Args:
        source: Float graph.
        target: Where to write.
        method: One of the ``onnx-`` methods.
        windows: (windows, tokens) of calibration text; only static quantization reads it.
        empty: Past of length zero, by input name.

    Raises:
        NotAvailable: no layer can be quantized so, or not all that were chosen were replaced.
    """
    layers = LinearLayers(onnx.load(str(source), load_external_data=False))
    chosen = layers.names if method == "onnx-int4-g32" else layers.for_int8_activations
    if not chosen:
        raise NotAvailable(
            f"{method} finds no linear layer in the graph that it could quantize.", remedy="Leave this method out."
        )
    if method == "onnx-int8-dynamic":
        _int8_dynamic(source, target, chosen)
    elif method == "onnx-int4-g32":
        _int4(source, target, chosen)
    else:
        _int8_static(source, target, chosen, _Calibration(windows, empty))
    replaced = _replaced(target)
    if replaced != len(chosen):
        raise NotAvailable(
            f"{method} replaced {replaced} of {len(chosen)} linear layers.", remedy="Leave this method out."
        )


def _int8_dynamic(source: Path, target: Path, chosen: list[str]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=sums_of_bytes_saturate(),
        op_types_to_quantize=["MatMul"],
        nodes_to_quantize=chosen,
        use_external_data_format=True,
        extra_options={"MatMulConstBOnly": True},
    )


def _int4(source: Path, target: Path, chosen: list[str]) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    model = onnx.load(str(source))
    quantizer = MatMulNBitsQuantizer(
        model,
        bits=4,
        block_size=32,
        is_symmetric=True,
        accuracy_level=4,
        nodes_to_exclude=[n.name for n in model.graph.node if n.name not in set(chosen)],
    )
    quantizer.process()
    quantizer.model.save_model_to_file(str(target), use_external_data_format=True)


def _int8_static(source: Path, target: Path, chosen: list[str], calibration: _Calibration) -> None:
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    CalibrationDataReader.register(_Calibration)
    quantize_static(
        source,
        target,
        calibration,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
        per_channel=True,
        reduce_range=sums_of_bytes_saturate(),
        op_types_to_quantize=["MatMul"],
        nodes_to_quantize=chosen,
        use_external_data_format=True,
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
    )


def _replaced(graph: Path) -> int:
    """Return how many products read a quantized matrix."""
    model = onnx.load(str(graph), load_external_data=False)
    stored = {t.name for t in model.graph.initializer}
    dequantized = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in stored}
    return sum(
        node.op_type in {"MatMulNBits", "MatMulInteger"} or (node.op_type == "MatMul" and node.input[1] in dequantized)
        for node in model.graph.node
    )
