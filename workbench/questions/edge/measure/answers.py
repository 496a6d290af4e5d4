"""How far the answers of a compression are from those of its reference, for classes, embeddings and any other outputs."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from workbench.core.errors import NotAModel
from workbench.questions.edge.rows import Similarity
from workbench.vision.sessions import Examples, Graph
from workbench.vision.variants import Runner

Outputs: TypeAlias = Sequence[npt.NDArray[Any]]
"""All outputs, each with an element for every input."""
ROWS_AT_ONCE = 32
NEAREST = 10


def all_outputs(runner: Runner, inputs: Examples, batch: int | None) -> Outputs:
    """Return all outputs of all inputs; an output that has none for each input counts as a whole for all of its batch.

    Raises:
        NotAModel: an output has another shape for other inputs.
    """
    rows = batch or ROWS_AT_ONCE
    parts = []
    for at in range(0, len(inputs), rows):
        x = inputs[at : at + rows]
        outputs = runner(x) if isinstance(runner, Graph) else [runner.logits(x)]
        parts.append([_for_each(_array(o), len(x)) for o in outputs])
    columns = list(zip(*parts, strict=True))
    if unlike := [i + 1 for i, column in enumerate(columns) if len({a.shape[1:] for a in column}) > 1]:
        raise NotAModel(
            f"Output {unlike[0]} of the graph has another shape for other inputs, so that its answers cannot be compared.",
            remedy="Export the graph without the part that selects a number of results that depends on the input.",
        )
    return [np.concatenate(column) for column in columns]


def _array(output: object) -> npt.NDArray[Any]:
    """Return an output as an array; a sequence of tensors as one row of numbers, nothing as an empty one."""
    if isinstance(output, list):
        return np.concatenate([np.asarray(part).reshape(1, -1) for part in output], axis=1) if output else np.empty(0)
    return np.empty(0) if output is None else np.asarray(output)


def _for_each(output: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    return output if output.ndim and len(output) == n else np.broadcast_to(output.reshape(1, -1), (n, output.size))


def classes(outputs: Outputs) -> npt.NDArray[np.int64] | None:
    """Return the class of each input: the first output itself, or the largest of its values where it has several; else None."""
    first = outputs[0]
    if first.dtype.kind in "iub" and first.size == len(first):
        return first.reshape(-1).astype(np.int64)
    return first.argmax(1) if first.ndim == 2 and first.shape[1] > 1 and first.dtype.kind == "f" else None


def similarity(own: Outputs, reference: Outputs, *, are_embeddings: bool = False) -> Similarity | None:
    """Return the similarity of the output that differs most; None where no output holds fractions of the same shape."""
    pairs = [
        (o, r) for o, r in zip(own, reference, strict=True) if r.dtype.kind == "f" and o.shape == r.shape and r.size
    ]
    found = [_similarity(o.reshape(len(o), -1), r.reshape(len(r), -1), are_embeddings) for o, r in pairs]
    return max(found, key=lambda s: s.difference_fraction, default=None)


def _similarity(own: npt.NDArray[Any], reference: npt.NDArray[Any], are_embeddings: bool) -> Similarity:
    a, b = own.astype(np.float64), reference.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = np.divide((a * b).sum(1), lengths, out=np.where((a == b).all(1), 1.0, 0.0), where=lengths > 0)
    scale = float(np.sqrt((b**2).mean()))
    nearest = _nearest_kept(a, b) if are_embeddings and len(a) > NEAREST else (None, None)
    return Similarity(
        cosine_mean=float(cosines.mean()),
        cosine_lowest=float(cosines.min()),
        difference_fraction=float(np.sqrt(((a - b) ** 2).mean()) / scale) if scale else 0.0,
        same_nearest_fraction=nearest[0],
        same_ten_nearest_fraction=nearest[1],
    )


def _nearest_kept(own: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return for what share of the inputs the nearest other one is the same, and what share of the ten nearest are."""
    orders = []
    for vectors in (own, reference):
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        cosine = unit @ unit.T
        np.fill_diagonal(cosine, -np.inf)
        orders.append(np.argsort(-cosine, axis=1, kind="stable")[:, :NEAREST])
    own_order, other_order = orders
    shared = [len(set(a) & set(b)) / NEAREST for a, b in zip(own_order.tolist(), other_order.tolist(), strict=True)]
    return float((own_order[:, 0] == other_order[:, 0]).mean()), float(np.mean(shared))
