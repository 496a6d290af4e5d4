"""Images of digits: 1797 of 8 x 8 pixels (UCI, Alpaydin and Kaynak 1998), split into three parts."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as nn

from workbench.catalog.paths import DATA

DIGITS = DATA / "models" / "digits-image-text" / "digits.csv.gz"
Floats = npt.NDArray[np.float32]
N_TRAIN, N_VALIDATION = 957, 300
"""Of 1797; the other 540 are the test. What is chosen (thresholds, calibration) is chosen on the validation part."""
N_CLASSES = 10
SPLIT_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """Images of digits with their classes. ``images``: (n, 1, 8, 8) between 0 and 1; ``labels``: (n,)."""

    images: Floats
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitParts:
    """The parts of the data set, which do not overlap."""

    train: Digits
    validation: Digits
    test: Digits


@cache
def digits() -> DigitParts:
    """Return the three parts, which are always the same."""
    rows = np.loadtxt(DIGITS, delimiter=",", dtype=np.int64)
    images, labels = (rows[:, :-1] / 16).astype(np.float32).reshape(-1, 1, 8, 8), rows[:, -1]
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    ends = (N_TRAIN, N_TRAIN + N_VALIDATION)
    train, validation, test = (Digits(images=images[at], labels=labels[at]) for at in np.split(order, ends))
    return DigitParts(train=train, validation=validation, test=test)


def few_per_class(part: Digits, n: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Return the indices of ``n`` random images of each digit."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(part.labels == c))[:n] for c in range(N_CLASSES)])


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return images, (n, 1, 8, 8), turned by up to 14 degrees, shifted by up to 0.7 px, scaled by up to 15 %, at random."""
    n = len(images)
    angle = (torch.rand(n, generator=generator) - 0.5) * 0.5
    scale = 1 + (torch.rand(n, generator=generator) - 0.5) * 0.3
    shift = (torch.rand(n, 2, generator=generator) - 0.5) * 0.35
    rows = [
        torch.stack([scale * angle.cos(), -scale * angle.sin(), shift[:, 0]], 1),
        torch.stack([scale * angle.sin(), scale * angle.cos(), shift[:, 1]], 1),
    ]
    grid = nn.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return nn.grid_sample(images, grid, align_corners=False)


def corrupted_images(images: Floats, *, seed: int, noise: float = 0.25, hidden_px: int = 3) -> Floats:
    """Return images with Gaussian noise and a hidden square of ``hidden_px`` by ``hidden_px`` pixels."""
    rng = np.random.default_rng(seed)
    noisy = images + rng.normal(0, noise, images.shape).astype(np.float32)
    corners = rng.integers(0, 8 - hidden_px + 1, (len(images), 2))
    for image, (top, left) in zip(noisy, corners, strict=True):
        image[0, top : top + hidden_px, left : left + hidden_px] = 0
    return np.clip(noisy, 0, 1)
