"""Other runtimes for the same network: measured where they are installed, named with what installs them elsewhere."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from workbench.core.language import gettext_noop
from workbench.vision.graphs import input_shape
from workbench.vision.sessions import Floats, Graph

Answer = Callable[[Floats], Floats]
Network: TypeAlias = torch.nn.Module


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A runtime that can run a network, and what installs it."""

    name: str
    package: str
    """Package that can be imported where the runtime is installed."""
    open: Callable[[Network | None, Path, int], Answer] | None
    """Opens a network, from its graph and a number of threads; None where the workbench cannot run networks in it."""
    remedy: str


def _torch(net: Network | None, _graph: Path, threads: int) -> Answer:
    assert net is not None
    model = net.eval()

    def answer(inputs: Floats) -> Floats:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                out = model(torch.from_numpy(inputs))
        finally:
            torch.set_num_threads(before)
        return np.asarray((out[0] if isinstance(out, tuple) else out).numpy())

    return answer


def _onnx(_net: Network | None, graph: Path, threads: int) -> Answer:
    return Graph(graph, threads=threads).logits


def _openvino(_net: Network | None, graph: Path, threads: int) -> Answer:
    import openvino

    core = openvino.Core()
    # In float32 as the others: on processors with bfloat16 it would take that by default.
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(str(graph)), "CPU", settings)
    first = compiled.output(0)
    return lambda inputs: np.asarray(compiled(inputs)[first])


def _executorch(net: Network | None, graph: Path, _threads: int) -> Answer:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime as Executor

    assert net is not None
    example = torch.zeros(1, *input_shape(graph))
    lowered = to_edge_transform_and_lower(
        torch.export.export(net.eval(), (example,)), partitioner=[XnnpackPartitioner()]
    )
    place = graph.with_suffix(".pte")
    place.write_bytes(lowered.to_executorch().buffer)
    method = Executor.get().load_program(str(place)).load_method("forward")

    def answer(inputs: Floats) -> Floats:  # a program has one shape: a batch goes one by one
        rows: list[torch.Tensor] = [method.execute([torch.from_numpy(row[None])])[0] for row in inputs]
        return np.asarray(torch.cat(rows).numpy())

    return answer


RUNTIMES = (
    Runtime(name="PyTorch", package="torch", open=_torch, remedy=""),
    Runtime(name="ONNX Runtime", package="onnxruntime", open=_onnx, remedy=""),
    Runtime(name="OpenVINO", package="openvino", open=_openvino, remedy="pip install openvino (59 MB)"),
    Runtime(name="ExecuTorch", package="executorch", open=_executorch, remedy="pip install executorch (19 MB)"),
    *(
        Runtime(name=name, package=package, open=None, remedy=why)
        for name, package, why in (
            ("LiteRT", "ai_edge_litert", gettext_noop("LiteRT reads .tflite files, which nothing here writes")),
            ("TensorRT", "tensorrt", gettext_noop("TensorRT runs on NVIDIA GPUs; no engine is built here")),
            ("llama.cpp", "llama_cpp", gettext_noop("llama.cpp runs language models in GGUF, not this network")),
        )
    ),
)


def is_installed(runtime: Runtime) -> bool:
    """Return whether the runtime's package can be found."""
    return importlib.util.find_spec(runtime.package) is not None
