"""Graphs that are open in ONNX Runtime. Imports nothing of PyTorch, so that a process that only runs one stays small."""

import platform
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

Floats = npt.NDArray[np.float32]
Examples = npt.NDArray[Any]
"""Inputs, one element each; a structured array has a field for each input of the graph."""


def session(graph: Path, *, threads: int) -> onnxruntime.InferenceSession:
    """Return a session that runs a graph on the processor with ``threads`` threads of its own."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def sums_of_bytes_saturate() -> bool:
    """Return whether this processor adds products of 8-bit numbers in 16 bits (x86 without VNNI), so that large ones are cut off.

    ONNX Runtime's remedy is weights in 7 bits (``reduce_range``), see "When and why do I need to try U8U8?" in its
    documentation of quantization. On a small transformer here, the error of dynamic INT8 was 10.8 % without and 1.1 % with it.
    """
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_vnni" not in flags and "avx_vnni" not in flags


def graph_bytes(graph: Path) -> int:
    """Return the size of a graph with the files beside it that hold its weights and are named after it."""
    return sum(f.stat().st_size for f in graph.parent.glob(f"{graph.name}*"))


class Graph:
    """A graph that is open in ONNX Runtime, and its size."""

    def __init__(self, path: Path, *, threads: int) -> None:
        self.path = path
        self.n_bytes = graph_bytes(path)
        self._session = session(path, threads=threads)
        self._inputs = {i.name: len(i.shape) for i in self._session.get_inputs()}

    def __call__(self, inputs: Examples) -> list[Floats]:
        """Return all outputs of a batch; an example that is all of a call is answered alone."""
        return list(self._session.run(None, self.feed(inputs)))

    def feed(self, inputs: Examples) -> dict[str, npt.NDArray[Any]]:
        """Return the inputs of a batch by name, as ONNX Runtime takes them."""
        if inputs.dtype.names is None:
            return {next(iter(self._inputs)): inputs}
        arrays = {name: np.ascontiguousarray(inputs[name]) for name in self._inputs}
        return {name: np.asarray(a[0]) if a.ndim > self._inputs[name] else a for name, a in arrays.items()}

    def logits(self, inputs: Examples) -> Floats:
        """Return the first output of a batch."""
        return self(inputs)[0]
