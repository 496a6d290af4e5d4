"""Operations of the process of a variant, and their results; light, so that the parent does not load torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from workbench.compress.rows import Coverage

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Properties of a variant after it was loaded and quantized."""

    quantize_s: float
    weight_bytes: int
    execution: str
    """See ``VariantResult``."""
    held_weight_bytes: int | None = None
    coverage: Coverage = ()


@dataclass(frozen=True, slots=True)
class WindowQuality:
    """Divergence, negative log-likelihood and agreement of each scored token of a window; arrays have shape (tokens,)."""

    kl_nat: npt.NDArray[np.float64]
    nll_nat: npt.NDArray[np.float64]
    agrees: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenValues:
    """Values of every scored token, as a finished part keeps them: (windows, tokens) each."""

    kl_nat: Sequence[Sequence[float]]
    nll_nat: Sequence[Sequence[float]]
    agrees: Sequence[Sequence[bool]]

    @classmethod
    def of(cls, windows: Sequence[WindowQuality]) -> "TokenValues":
        """Return the values of all windows."""
        return cls(
            kl_nat=[w.kl_nat.tolist() for w in windows],
            nll_nat=[w.nll_nat.tolist() for w in windows],
            agrees=[w.agrees.tolist() for w in windows],
        )


class VariantOperations(Protocol):
    """Operations of the process of a variant, which ``VariantProcess`` calls."""

    def windows(self, text: str) -> tuple[Ids, Ids]:
        """Return all token ids of a text, (tokens,), and the special tokens that the tokenizer sets before a text."""

    def open(self, windows: Ids | None) -> Opened:
        """Load and quantize the variant; return what that took."""

    def write_reference(self, index: int, n_windows: int, window: Ids) -> None:
        """Keep this model's logits of one window on disk, for the variants to be compared with."""

    def evaluate(self, index: int, window: Ids) -> WindowQuality:
        """Return the divergence from the reference on one window: (tokens + 1,) ids."""

    def prefill_s(self) -> float:
        """Return the time of one prefill of ``prefill_tokens``."""

    def decode_s(self, batch: int) -> list[float]:
        """Return the time of each of ``decode_tokens`` steps after a prompt of ``prompt_tokens``."""

    def peak_memory_bytes(self) -> int:
        """Return the most memory held since loading (CUDA: allocated; CPU: resident, over that before loading)."""
