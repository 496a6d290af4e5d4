"""What each layer of a model keeps of a token, from a row of the catalogue."""

import re

from workbench.catalog.model_spec import KvLayers


def kv_layers_of_row(n_layers: int, text: str, *, elements: int) -> tuple[KvLayers, ...]:
    """Return the layers of a row of the catalogue by what they keep.

    Args:
        n_layers: All layers of the model.
        text: The column ``sliding_window``, such as "1024, local:global 5:1".
        elements: Numbers that all layers together store for a token.
    """
    number = re.match(r"\d+", text)
    if number is None and (chunk := re.search(r"chunked attention (\d+) on (\d+) of (\d+) layers", text)):
        share = int(chunk[2]) / int(chunk[3])
        return _split(n_layers, elements, n_local=round(n_layers * share), window=int(chunk[1]))
    if number is None:
        return _split(n_layers, elements, n_local=0, window=0)
    window = int(number[0])
    if ratio := re.search(r"(\d+):(\d+)$", text):
        local, whole = int(ratio[1]), int(ratio[1]) + int(ratio[2])
        n_local = n_layers - n_layers // whole if local > 1 else n_layers // 2
        return _split(n_layers, elements, n_local=n_local, window=window)
    if part := re.search(r"on (\d+) of \d+ layers", text):
        return _split(n_layers, elements, n_local=int(part[1]), window=window)
    return _split(n_layers, elements, n_local=n_layers, window=window)


def _split(n_layers: int, elements: int, *, n_local: int, window: int) -> tuple[KvLayers, ...]:
    """Return some layers with a window, the others without; ``elements`` are of all layers together."""
    groups = (
        KvLayers(n_layers=n_layers - n_local, elements_per_token=elements // n_layers),
        KvLayers(n_layers=n_local, elements_per_token=elements // n_layers, window_tokens=window),
    )
    return tuple(g for g in groups if g.n_layers)
