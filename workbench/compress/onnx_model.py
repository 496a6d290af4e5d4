"""Variants that run in ONNX Runtime: one export, then a quantized copy of it per method."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch

from workbench.compress.onnx_export import cache_names, export_onnx
from workbench.compress.spec import QuantizationSpec
from workbench.compress.torch_model import load_model

if TYPE_CHECKING:
    from transformers import PretrainedConfig

CALIBRATION_WINDOWS = 8
Arrays: TypeAlias = dict[str, npt.NDArray[np.int64] | npt.NDArray[np.float32]]
"""Inputs of a graph by name."""


def linear_nodes(model: onnx.ModelProto) -> list[str]:
    """Return the names of the products of an activation with a stored matrix, without the output head.

    Attention products have no stored operand and the rotary product has it on the left: quantizing those
    clips positions at the calibration length and ruins the model (static QDQ's defaults do both).
    """
    stored = {t.name for t in model.graph.initializer}
    head = model.graph.output[0].name
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul"
        and node.input[1] in stored
        and node.input[0] not in stored
        and head not in node.output
    ]


def nodes_for_int8_activations(model: onnx.ModelProto, *, intermediate: int) -> list[str]:
    """Return the linear nodes whose inputs can share one scale for the whole tensor.

    Leaves out the down projections: their input, the product of two activations, has outliers that a
    single scale cannot hold. On the reference model, 24 windows, leaving them in float takes dynamic INT8 from
    0.96 % to 0.14 % and static INT8 from 1.9 % to 0.16 % of added perplexity; a decoding step took 0.96 instead
    of 0.62 ms (two cores of an AMD EPYC, one series each).
    """
    width = {t.name: t.dims[0] for t in model.graph.initializer if len(t.dims) == 2}
    matrix = {node.name: node.input[1] for node in model.graph.node if node.op_type == "MatMul"}
    return [name for name in linear_nodes(model) if width[matrix[name]] != intermediate]


def products_except(model: onnx.ModelProto, chosen: list[str]) -> list[str]:
    """Return the names of all other matrix products, which stay in float."""
    return [n.name for n in model.graph.node if n.op_type in {"MatMul", "Gemm"} and n.name not in set(chosen)]


class _Calibration:
    """Windows of text as inputs of the graph, with an empty past (the form that onnxruntime asks for)."""

    def __init__(self, windows: npt.NDArray[np.int64], empty: Arrays) -> None:
        self._rows: Iterator[Arrays] = iter([{"input_ids": w[None], **empty} for w in windows])

    def get_next(self) -> Arrays | None:
        """Return the next input of the graph; None after the last."""
        return next(self._rows, None)

    def __iter__(self) -> Iterator[Arrays]:
        return self._rows


def quantize_graph(
    source: Path, target: Path, method: str, *, intermediate: int, windows: npt.NDArray[np.int64], empty: Arrays
) -> None:
    """Write the quantized copy of an exported graph.

    Args:
        source: Float graph.
        target: Where to write.
        method: One of the ``onnx-`` methods.
        intermediate: Width of the feed-forward layer.
        windows: (windows, tokens) of calibration text; only static quantization reads it.
        empty: Past of length zero, by input name.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    graph = onnx.load(str(source), load_external_data=False)
    narrow = nodes_for_int8_activations(graph, intermediate=intermediate)
    if method == "onnx-int8-dynamic":
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=narrow,
            use_external_data_format=True,
            extra_options={"MatMulConstBOnly": True},
        )
    elif method == "onnx-int4-g32":
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        quantizer = MatMulNBitsQuantizer(
            onnx.load(str(source)),
            bits=4,
            block_size=32,
            is_symmetric=True,
            accuracy_level=4,
            nodes_to_exclude=products_except(graph, linear_nodes(graph)),
        )
        quantizer.process()
        quantizer.model.save_model_to_file(str(target), use_external_data_format=True)
    else:
        CalibrationDataReader.register(_Calibration)
        quantize_static(
            source,
            target,
            _Calibration(windows[:CALIBRATION_WINDOWS], empty),
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=narrow,
            use_external_data_format=True,
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )


class OnnxModel:
    """A variant in ONNX Runtime with an incremental key-value cache."""

    execution = "onnxruntime"

    def __init__(
        self, spec: QuantizationSpec, method: str, *, folder: Path, windows: npt.NDArray[np.int64], threads: int
    ) -> None:
        self.spec = spec
        base = folder / "onnx-fp32" / "model.onnx"
        if not base.exists():
            self._export(spec, base.parent)
        config = spec_config(spec)
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._cache_shape = (config.num_key_value_heads, 0, head_dim)
        self._names = cache_names(config.num_hidden_layers, "past")
        self.vocabulary = config.vocab_size
        self.quantize_s = 0.0
        path = base
        if method != "onnx-fp32":
            started = time.perf_counter()
            path = folder / method / "model.onnx"
            shutil.rmtree(path.parent, ignore_errors=True)
            path.parent.mkdir()
            quantize_graph(
                base, path, method, intermediate=config.intermediate_size, windows=windows, empty=self._empty(1)
            )
            self.quantize_s = time.perf_counter() - started
        self.weight_bytes = sum(f.stat().st_size for f in path.parent.iterdir())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    @staticmethod
    def _export(spec: QuantizationSpec, folder: Path) -> None:
        unfinished = folder.with_name(folder.name + ".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        export_onnx(load_model(spec, dtype=torch.float32, device="cpu"), unfinished / "model.onnx")
        unfinished.rename(folder)

    def _empty(self, batch: int) -> Arrays:
        return {name: np.zeros((batch, *self._cache_shape), np.float32) for name in self._names}

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits, (tokens, vocabulary), of ids: (tokens,)."""
        out = self._session.run(["logits"], {"input_ids": ids[None].numpy(), **self._empty(1)})[0]
        return torch.from_numpy(np.asarray(out)[0])

    def _prompt(self, batch: int, n_tokens: int) -> npt.NDArray[np.int64]:
        rng = np.random.default_rng(self.spec.seed)
        return rng.integers(0, self.vocabulary, (batch, n_tokens))

    def prefill_s(self) -> float:
        """Return the time of one prefill of ``prefill_tokens``."""
        feed = {"input_ids": self._prompt(1, self.spec.prefill_tokens), **self._empty(1)}
        started = time.perf_counter()
        self._session.run(None, feed)
        return time.perf_counter() - started

    def decode_s(self, batch: int) -> list[float]:
        """Return the time of each of ``decode_tokens`` steps after a prompt of ``prompt_tokens``."""
        out = self._session.run(None, {"input_ids": self._prompt(batch, self.spec.prompt_tokens), **self._empty(batch)})
        times = []
        for _ in range(self.spec.decode_tokens):
            ids = np.asarray(out[0])[:, -1:].argmax(-1)
            started = time.perf_counter()
            out = self._session.run(None, {"input_ids": ids, **dict(zip(self._names, out[1:], strict=True))})
            times.append(time.perf_counter() - started)
        return times


def spec_config(spec: QuantizationSpec) -> "PretrainedConfig":
    """Return the transformers configuration of a spec's model."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(spec.model)
