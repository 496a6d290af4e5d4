"""What is sent to vLLM's worker, which must be able to import it: random bits for packed weights, the cache's size."""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from vllm.v1.worker.worker_base import WorkerBase


def fill_packed_weights(model: torch.nn.Module) -> None:
    """Replace large integer parameters, which vLLM's dummy loader leaves as the memory was."""
    for parameter in model.parameters():
        if not parameter.is_floating_point() and parameter.numel() > 1000:
            limits = torch.iinfo(parameter.dtype)
            parameter.data.random_(limits.min, limits.max)


def cache_bytes(worker: "WorkerBase") -> int:
    """Return the bytes of the tensors of vLLM's KV cache on one worker."""
    seen: dict[int, int] = {}
    for entry in worker.model_runner.kv_caches:
        for x in entry if isinstance(entry, list | tuple) else [entry]:
            seen[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
    return sum(seen.values())
