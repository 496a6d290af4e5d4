"""scikit-learn's pictures of digits: 1797 of 8 x 8 pixels (UCI, Alpaydin and Kaynak 1998), cut into three parts."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as nn

Floats = npt.NDArray[np.float32]
N_TRAIN, N_VALIDATION = 957, 300
"""Of 1797; the other 540 are the test. What is chosen (thresholds, calibration) is chosen on the validation part."""
N_CLASSES = 10
SPLIT_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """Pictures and what they show. ``pictures``: (n, 1, 8, 8) between 0 and 1; ``labels``: (n,)."""

    pictures: Floats
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@cache
def digits() -> dict[str, Digits]:
    """The parts ``train``, ``validation`` and ``test``, always the same."""
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    pictures = (pictures / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    ends = (N_TRAIN, N_TRAIN + N_VALIDATION)
    cuts = {"train": order[: ends[0]], "validation": order[ends[0] : ends[1]], "test": order[ends[1] :]}
    return {name: Digits(pictures=pictures[i], labels=labels[i].astype(np.int64)) for name, i in cuts.items()}


def few_per_class(part: Digits, n: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Indices of ``n`` pictures of each digit."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(part.labels == c))[:n] for c in range(N_CLASSES)])


def moved(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pictures turned by up to 14 degrees, shifted by up to 0.7 pixels and scaled by up to 15 %, at random.

    Args:
        pictures: (n, 1, 8, 8).
        generator: Of the draws.
    """
    n = len(pictures)
    angle = (torch.rand(n, generator=generator) - 0.5) * 0.5
    scale = 1 + (torch.rand(n, generator=generator) - 0.5) * 0.3
    shift = (torch.rand(n, 2, generator=generator) - 0.5) * 0.35
    rows = [
        torch.stack([scale * angle.cos(), -scale * angle.sin(), shift[:, 0]], 1),
        torch.stack([scale * angle.sin(), scale * angle.cos(), shift[:, 1]], 1),
    ]
    grid = nn.affine_grid(torch.stack(rows, 1), list(pictures.shape), align_corners=False)
    return nn.grid_sample(pictures, grid, align_corners=False)


def corrupted(pictures: Floats, *, seed: int, noise: float = 0.25, hidden_px: int = 3) -> Floats:
    """Pictures with Gaussian noise and a square of so many pixels hidden."""
    rng = np.random.default_rng(seed)
    made = pictures + rng.normal(0, noise, pictures.shape).astype(np.float32)
    corners = rng.integers(0, 8 - hidden_px + 1, (len(pictures), 2))
    for picture, (top, left) in zip(made, corners, strict=True):
        picture[0, top : top + hidden_px, left : left + hidden_px] = 0
    return np.clip(made, 0, 1)
