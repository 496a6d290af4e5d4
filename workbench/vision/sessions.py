"""Graphs that are open in ONNX Runtime. Imports nothing of PyTorch, so that a process that only runs one stays small."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

Floats = npt.NDArray[np.float32]


def session(graph: Path, *, threads: int) -> onnxruntime.InferenceSession:
    """Return a session that runs a graph on the processor with ``threads`` threads of its own."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


class Graph:
    """A graph that is open in ONNX Runtime, and its size."""

    def __init__(self, path: Path, *, threads: int) -> None:
        self.path = path
        self.n_bytes = path.stat().st_size
        self._session = session(path, threads=threads)
        self._name = self._session.get_inputs()[0].name

    def __call__(self, inputs: Floats) -> list[Floats]:
        """Return all outputs of a batch."""
        return list(self._session.run(None, {self._name: inputs}))

    def logits(self, inputs: Floats) -> Floats:
        """Return the first output of a batch."""
        return self(inputs)[0]
