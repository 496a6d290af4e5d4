"""The quantized weights that the files of a checkpoint hold, read from their headers alone."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from safetensors import safe_open

from workbench.catalog.formats import EXPERT
from workbench.compress.layers import Layers
from workbench.compress.rows import Coverage
from workbench.core.errors import WorkbenchError

SCALE = re.compile(r"^(?P<module>.+)\.weight_scale(_inv)?$")
TOLERANCE = 0.001  # of the counted weights


class IncompleteCheckpoint(WorkbenchError):
    """A checkpoint that holds fewer quantized weights than its plan."""


def _shapes(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Yield the shapes of all tensors; of packed weights the shape that was packed."""
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - the file is no mapping
                if name.endswith(".weight_shape"):
                    yield name, [int(n) for n in tensors.get_tensor(name)]
                else:
                    yield name, list(tensors.get_slice(name).get_shape())


def quantized_weights(folder: Path) -> dict[str, int]:
    """Return the number of weights of each module that a compressed-tensors checkpoint holds quantized: those that have scales."""
    shapes = dict(_shapes(folder))
    counts = {}
    for name in shapes:
        match = SCALE.match(name)
        if match is None:
            continue
        module = match["module"]
        if f"{module}.weight_shape" in shapes:
            rows, columns = shapes[f"{module}.weight_shape"]
        elif f"{module}.weight_packed" in shapes:
            rows, packed = shapes[f"{module}.weight_packed"]
            columns = 2 * packed  # two 4-bit floats in a byte
        else:
            rows, columns = shapes[f"{module}.weight"]
        counts[module] = rows * columns
    return counts


def stored_coverage(folder: Path, layers: Layers) -> Coverage:
    """Return by kind of layer the weights of a model that its checkpoint holds quantized; empty where its format is another one.

    Args:
        folder: Checkpoint in compressed-tensors' format, or unquantized.
        layers: Layers of the original model.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    quantized = config.get("quantization_config", {}).get("quant_method")
    if quantized not in {None, "compressed-tensors"} or not list(folder.glob("*.safetensors")):
        return ()
    by_kind: dict[str, int] = {}
    for module, n in quantized_weights(folder).items():
        kind = "experts" if EXPERT.match(module) else "head" if module in layers.kept else "linear"
        by_kind[kind] = by_kind.get(kind, 0) + n
    rows = []
    for row in layers.coverage(()):
        n = by_kind.get("linear" if row.kind == "conv1d" else row.kind, 0)
        share = min(1.0, n / row.n_weights) if row.n_weights else 0.0
        rows.append(replace(row, n_quantized=n, n_quantized_read_per_token=share * row.n_read_per_token))
    return tuple(rows)


def require_stored(folder: Path, expected: int) -> None:
    """Raise ``IncompleteCheckpoint`` where a checkpoint holds fewer quantized weights than its plan; it is removed."""
    stored = sum(quantized_weights(folder).values())
    if expected and abs(stored - expected) <= TOLERANCE * expected:
        return
    kept = folder.with_name(folder.name + ".incomplete")
    folder.rename(kept)
    raise IncompleteCheckpoint(
        f"llm-compressor quantized {stored:,} weights where the plan asks for {expected:,}; the folder is kept as {kept.name}.",
        remedy="Choose another scheme, or leave the layer groups that it cannot quantize in bf16.",
    )
