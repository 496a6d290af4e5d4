"""Random bits for packed weights. A module of its own, since vLLM's worker must import what it is sent."""

from typing import Any

import torch


def fill_packed_weights(model: Any) -> None:
    """Replace large integer parameters, which vLLM's dummy loader leaves as the memory was."""
    for parameter in model.parameters():
        if not parameter.is_floating_point() and parameter.numel() > 1000:
            limits = torch.iinfo(parameter.dtype)
            parameter.data.random_(limits.min, limits.max)
