"""Two graphs in a row: the second answers only where the confidence of the first is below a threshold."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workbench.estimate.cascade import softmax_confidence
from workbench.vision.sessions import Floats, Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Answers to a batch. ``logits``: (n, classes); ``is_early``: (n,) whether the first graph's answer was taken."""

    logits: Floats
    is_early: npt.NDArray[np.bool_]


class Cascade:
    """A student in front of a large model, or an exit in front of the layers that follow it."""

    def __init__(self, first: Graph, second: Graph, *, confidence: float, shares_maps: bool) -> None:
        """Take the first graph's answer from a confidence on; with ``shares_maps`` the second graph starts from its second output."""
        self.first, self.second, self.confidence, self.shares_maps = first, second, confidence, shares_maps
        self.n_bytes = first.n_bytes + second.n_bytes

    def answers(self, inputs: Floats) -> Answers:
        """Return the answer to each input, and whether the first graph gave it."""
        out = self.first(inputs)
        logits = out[0]
        early = softmax_confidence(logits) >= self.confidence
        if not early.all():
            late = ~early
            logits = logits.copy()
            logits[late] = self.second.logits((out[1] if self.shares_maps else inputs)[late])
        return Answers(logits=logits, is_early=early)

    def logits(self, inputs: Floats) -> Floats:
        """Return the logits of a batch: (n, classes)."""
        return self.answers(inputs).logits
