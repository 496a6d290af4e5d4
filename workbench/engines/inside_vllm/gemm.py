"""Times linear layers with the kernels that vLLM chooses. Runs in vLLM's own environment, so it imports nothing of the workbench.

    python gemm.py REQUEST.json

The request (JSON): ``model`` (whose configuration vLLM reads), ``formats`` (name to ``scheme``, ``format`` and
``bits`` of a compressed-tensors configuration; no scheme for plain layers), ``shapes`` (pairs of output and input
width), ``batches``, ``rounds`` and ``device``. Lines on standard output that begin with "{" are JSON
objects: one for each format and shape, with the times of each batch in turn, and two of the device itself.
"""

import json
import logging
import os
import random
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

COLD_BYTES = 256e6  # as many copies of a layer are used in turn as it takes to be well above a cache of 50 MB


def tell(**values: object) -> None:
    """One line for the process that waits."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


class Clock:
    """Time of one call of many, replayed as a CUDA graph on a GPU."""

    def __init__(self, device: str) -> None:
        self.device = device

    def prepared(self, calls: list[Any]) -> Any:
        """Return a function that runs all calls once and returns the seconds of one."""
        if self.device != "cuda":

            def on_cpu() -> float:
                started = time.perf_counter()
                for call in calls:
                    call()
                return (time.perf_counter() - started) / len(calls)

            for call in calls:
                call()
            return on_cpu
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            for call in calls:
                call()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for call in calls:
                call()
        graph.replay()

        def on_gpu() -> float:
            begin = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            begin.record()
            graph.replay()
            end.record()
            torch.cuda.synchronize()
            milliseconds: float = begin.elapsed_time(end)
            return milliseconds / 1e3 / len(calls)

        return on_gpu


def layer(form: dict[str, Any], *, rows: int, columns: int, device: str) -> Any:
    """Return a linear layer of vLLM with random weights in a format: (rows, columns)."""
    from vllm.model_executor.layers.linear import ReplicatedLinear
    from vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors import CompressedTensorsConfig

    config = None
    if form["scheme"] is not None:
        groups = {"group_0": form["scheme"] | {"targets": ["Linear"]}}
        config = CompressedTensorsConfig.from_config(
            {"quant_method": "compressed-tensors", "format": form["format"], "config_groups": groups, "ignore": []}
        )
    with torch.device(device):
        made = ReplicatedLinear(
            columns, rows, bias=False, quant_config=config, params_dtype=torch.bfloat16, prefix="model.layers.0.part"
        )
    for name, parameter in made.named_parameters():
        if parameter.dtype == torch.float8_e4m3fn:
            parameter.data.copy_(torch.randn(parameter.shape, device=device).to(parameter.dtype))
        elif parameter.is_floating_point():
            parameter.data.normal_(std=0.02)
            if "scale" in name:
                parameter.data.abs_().add_(1e-3)
        elif name == "weight_shape":
            parameter.data.copy_(torch.tensor([rows, columns]))
        else:
            limits = torch.iinfo(parameter.dtype)
            parameter.data.random_(limits.min, limits.max)
    made.quant_method.process_weights_after_loading(made)
    return made


def measure_shape(request: SimpleNamespace, name: str, rows: int, columns: int, clock: Clock) -> None:
    """All batches of one format and shape, in turn."""
    form, device = request.formats[name], request.device
    try:
        n_copies = max(2, round(COLD_BYTES / (rows * columns * form["bits"] / 8))) if device == "cuda" else 2
        copies = [layer(form, rows=rows, columns=columns, device=device) for _ in range(n_copies)]
        runs = {}
        for batch in request.batches:
            x = torch.randn(batch, columns, device=device, dtype=torch.bfloat16)
            runs[batch] = clock.prepared([lambda made=made, x=x: made(x) for made in copies])
        times: dict[int, list[float]] = {batch: [] for batch in runs}
        rng = random.Random(0)
        for _ in range(request.rounds):
            for batch in rng.sample(list(runs), len(runs)):
                times[batch].append(runs[batch]())
    except Exception as error:
        tell(format=name, rows=rows, columns=columns, error=f"{type(error).__name__}: {error}"[:300])
        return
    kernel = type(getattr(getattr(copies[0], "scheme", None), "kernel", None)).__name__
    tell(
        format=name,
        rows=rows,
        columns=columns,
        kernel=kernel,
        seconds={str(batch): values for batch, values in times.items()},
    )


def measure_ceilings(device: str, clock: Clock) -> None:
    """Copy bandwidth and BF16 rate of a large square product."""
    n = 8192 if device == "cuda" else 1024
    size = 2**31 if device == "cuda" else 2**27
    source = torch.ones(size // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    # Not ``copy_``: inside a graph that is a job for the copy engine, which moves 2.8 of an H200's 4.3 TB/s.
    copy = clock.prepared([lambda: torch.mul(source, 1.0, out=target)])
    product = clock.prepared([lambda: a @ b])
    tell(
        copy_bytes_per_s=2 * size / min(copy() for _ in range(20)),
        bf16_flop_per_s=2 * n**3 / min(product() for _ in range(20)),
    )


def main() -> None:
    """Read the request and time every format and shape."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    request = SimpleNamespace(**json.loads(Path(sys.argv[1]).read_text()))
    logging.disable(logging.WARNING)
    from vllm.config import set_current_vllm_config
    from vllm.distributed import init_distributed_environment, initialize_model_parallel
    from vllm.engine.arg_utils import EngineArgs

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    clock = Clock(request.device)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    arguments = EngineArgs(model=request.model, skip_tokenizer_init=True, load_format="dummy", max_model_len=1024)
    with set_current_vllm_config(arguments.create_engine_config()), torch.inference_mode():
        init_distributed_environment(
            1, 0, distributed_init_method=f"file://{sys.argv[1]}.rendezvous", backend="gloo", local_rank=0
        )
        initialize_model_parallel()
        measure_ceilings(request.device, clock)
        for rows, columns in request.shapes:
            for name in request.formats:
                measure_shape(request, name, rows, columns, clock)


if __name__ == "__main__":
    main()
