"""What each layer of a model keeps of a token, from a row of the catalogue or from a config.json."""

import re
from collections.abc import Mapping
from typing import Any

from workbench.core.models import KvLayers


def kv_layers_of_row(row: Mapping[str, str]) -> tuple[KvLayers, ...]:
    """Layers by what they keep, read from the column ``sliding_window`` ("1024, local:global 5:1", ...)."""
    n_layers, elements = int(row["layers"]), int(row["kv_bytes_per_token_bf16"]) // 2
    text = row["sliding_window"]
    found = re.match(r"\d+", text)
    if found is None and (chunk := re.search(r"chunked attention (\d+) on (\d+) of (\d+) layers", text)):
        share = int(chunk[2]) / int(chunk[3])
        return _split(n_layers, elements, n_local=round(n_layers * share), window=int(chunk[1]))
    if found is None:
        return _split(n_layers, elements, n_local=0, window=0)
    window = int(found[0])
    if ratio := re.search(r"(\d+):(\d+)$", text):
        local, whole = int(ratio[1]), int(ratio[1]) + int(ratio[2])
        return _split(
            n_layers, elements, n_local=n_layers - n_layers // whole if local > 1 else n_layers // 2, window=window
        )
    if part := re.search(r"on (\d+) of \d+ layers", text):
        return _split(n_layers, elements, n_local=int(part[1]), window=window)
    return _split(n_layers, elements, n_local=n_layers, window=window)


def _split(n_layers: int, elements: int, *, n_local: int, window: int) -> tuple[KvLayers, ...]:
    """Some layers with a window, the others without; ``elements`` are of all layers together."""
    groups = (
        KvLayers(n_layers=n_layers - n_local, elements_per_token=elements // n_layers),
        KvLayers(n_layers=n_local, elements_per_token=elements // n_layers, window_tokens=window),
    )
    return tuple(g for g in groups if g.n_layers)


def kv_layers_of_config(text: Mapping[str, Any], *, elements: int) -> tuple[KvLayers, ...]:
    """Layers by what they keep, from ``layer_types``, ``sliding_window`` and ``sliding_window_pattern``.

    Args:
        text: Fields of the text model.
        elements: Numbers that one layer stores for a token.
    """
    n_layers, window = int(text["num_hidden_layers"]), text.get("sliding_window")
    kinds = text.get("layer_types")
    if window is None or text.get("use_sliding_window") is False:
        n_local = 0
    elif kinds:
        n_local = sum("sliding" in kind for kind in kinds)
    elif text.get("sliding_window_pattern"):
        n_local = n_layers - n_layers // int(text["sliding_window_pattern"])
    elif text.get("model_type") == "gemma2":
        n_local = (n_layers + 1) // 2
    else:
        n_local = n_layers
    return _split(n_layers, elements * n_layers, n_local=n_local, window=int(window or 0))
