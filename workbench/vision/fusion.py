"""Networks that read a digit from a picture and a caption, fused early, midway or late; either may be missing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from workbench.core.errors import InvalidSpec
from workbench.core.fusion import FUSIONS, MODALITIES
from workbench.vision.captions import VOCABULARY, WORDS, captions
from workbench.vision.digits import N_CLASSES, Digits, Floats, moved
from workbench.vision.networks import one_thread

WIDTH, HEADS = 48, 4
PATCHES = 16
EPOCHS, BATCH, RATE = 40, 64, 4e-3
DROPOUT = 0.3
"""Share of training examples without a picture, where modalities are dropped; half as many lack the caption."""


class ImageTower(nn.Module):
    """Two convolutions: (n, 16, WIDTH) features for pictures: (n, 1, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, WIDTH, 3, padding=1)
        self.places = nn.Parameter(torch.zeros(PATCHES, WIDTH))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Features by place."""
        maps = functional.relu(self.conv2(functional.relu(self.conv1(pictures))))
        return functional.max_pool2d(maps, 2).flatten(2).transpose(1, 2) + self.places


class TextTower(nn.Module):
    """An embedding and one attention layer: (n, WORDS, WIDTH) features for ids: (n, WORDS)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(VOCABULARY), WIDTH)
        self.places = nn.Parameter(torch.zeros(WORDS, WIDTH))
        self.mixed = Mixing()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Features by word."""
        out: torch.Tensor = self.mixed(self.words(ids) + self.places)
        return out


class Attention(nn.Module):
    """Attention of some features to others, in plain products, which quantizers know."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, to: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """(n, len(to), WIDTH)."""
        n = to.shape[0]

        def split(x: torch.Tensor) -> torch.Tensor:
            return x.reshape(n, -1, HEADS, WIDTH // HEADS).transpose(1, 2)

        q, k, v = split(self.query(to)), split(self.key(source)), split(self.value(source))
        weights = ((q @ k.transpose(2, 3)) / (WIDTH // HEADS) ** 0.5).softmax(3)
        out: torch.Tensor = self.out((weights @ v).transpose(1, 2).reshape(n, -1, WIDTH))
        return out


class Mixing(nn.Module):
    """One transformer layer, normed before."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, places, WIDTH) as it came."""
        normed = self.norm1(x)
        x = x + self.attention(normed, normed)
        out: torch.Tensor = x + self.down(functional.relu(self.up(self.norm2(x))))
        return out


class Early(nn.Module):
    """All features in one sequence, mixed by a common layer."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds = nn.Parameter(torch.zeros(2, WIDTH))
        self.mixed, self.head = Mixing(), nn.Linear(WIDTH, N_CLASSES)

    def forward(self, picture: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Logits."""
        both = torch.cat([picture + self.kinds[0], text + self.kinds[1]], 1)
        out: torch.Tensor = self.head(self.mixed(both).mean(1))
        return out


class Mid(nn.Module):
    """Each modality attends to the other, then both are put together."""

    def __init__(self) -> None:
        super().__init__()
        self.to_text, self.to_picture = Attention(), Attention()
        self.up, self.head = nn.Linear(4 * WIDTH, WIDTH), nn.Linear(WIDTH, N_CLASSES)

    def forward(self, picture: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Logits."""
        crossed = [self.to_text(picture, text).mean(1), self.to_picture(text, picture).mean(1)]
        both = torch.cat([picture.amax(1), text.mean(1), *crossed], 1)
        out: torch.Tensor = self.head(functional.relu(self.up(both)))
        return out


class Late(nn.Module):
    """Logits of each modality, weighed by a gate that sees both."""

    def __init__(self) -> None:
        super().__init__()
        self.of_picture, self.of_text = nn.Linear(PATCHES * WIDTH, N_CLASSES), nn.Linear(WORDS * WIDTH, N_CLASSES)
        self.gate = nn.Linear(2 * WIDTH, 1)

    def forward(self, picture: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Logits."""
        gate = torch.sigmoid(self.gate(torch.cat([picture.mean(1), text.mean(1)], 1)))
        out: torch.Tensor = gate * self.of_picture(picture.flatten(1)) + (1 - gate) * self.of_text(text.flatten(1))
        return out


class FusedNet(nn.Module):
    """Both towers, a fusion, and a head that answers from the caption alone, for routing."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        if kind not in FUSIONS:
            raise InvalidSpec(f"There is no fusion {kind!r}.", remedy=f"Choose from: {', '.join(FUSIONS)}.")
        self.image, self.text = ImageTower(), TextTower()
        self.fusion: nn.Module = {"early": Early, "mid": Mid, "late": Late}[kind]()
        self.text_head = nn.Linear(WORDS * WIDTH, N_CLASSES)

    def forward(
        self, pictures: torch.Tensor, ids: torch.Tensor, has_picture: torch.Tensor, has_text: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits, and logits of the caption alone.

        Args:
            pictures: (n, 1, 8, 8).
            ids: (n, WORDS).
            has_picture: (n,) 1 where the picture is there; where not, its features are zero.
            has_text: (n,) likewise.
        """
        seen = self.image(pictures) * has_picture[:, None, None]
        words = self.text(ids)
        read = words * has_text[:, None, None]
        # The caption's own head learns from the tower as it is, and does not pull it away from the fusion.
        return self.fusion(seen, read), self.text_head(words.detach().flatten(1))


@one_thread()
def train_fused(kind: str, part: Digits, *, dropout: float, seed: int) -> FusedNet:
    """A trained network; captions are drawn anew in each pass, pictures moved.

    Args:
        kind: Of ``FUSIONS``.
        part: Pictures to learn from.
        dropout: Share of examples without a picture, and half that share without a caption.
        seed: Of everything.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = FusedNet(kind)
    pictures, labels = torch.from_numpy(part.pictures), torch.from_numpy(part.labels)
    n, steps = len(part), -(-len(part) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * steps)
    for epoch in range(EPOCHS):
        ids = torch.from_numpy(captions(part.labels, seed=1000 * seed + epoch).ids)
        order = torch.randperm(n, generator=generator)
        for i in range(0, n, BATCH):
            at = order[i : i + BATCH]
            draw = torch.rand(len(at), generator=generator)
            has_picture, has_text = (draw >= dropout).float(), (draw <= 1 - dropout / 2).float()
            logits, alone = net(moved(pictures[at], generator), ids[at], has_picture, has_text)
            loss = functional.cross_entropy(logits, labels[at], label_smoothing=0.02)
            loss = loss + functional.cross_entropy(alone, labels[at])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return net.eval()


@torch.no_grad()
def answered(net: FusedNet, inputs: Mapping[str, Any]) -> Floats:
    """(n, 10) logits for named modalities.

    Args:
        net: Trained.
        inputs: ``image``: (n, 1, 8, 8) float32 and ``text``: (n, WORDS) ids; one of them may be missing or None.

    Raises:
        InvalidSpec: an unknown modality, none at all, or sizes that do not fit each other; the known names are told.
    """
    image, text = checked(inputs)
    n = len(image) if image is not None else len(text)  # type: ignore[arg-type]
    pictures = torch.zeros(n, 1, 8, 8) if image is None else torch.from_numpy(image)
    ids = torch.zeros(n, WORDS, dtype=torch.long) if text is None else torch.from_numpy(text)
    out = net(pictures, ids, torch.full((n,), float(image is not None)), torch.full((n,), float(text is not None)))
    return np.asarray(out[0].numpy())


def checked(inputs: Mapping[str, Any]) -> tuple[Floats | None, npt.NDArray[np.int64] | None]:
    """Picture and caption of named inputs; raises as ``answered`` does."""
    known = f"Known modalities: image (n, 1, 8, 8) and text (n, {WORDS})."
    if unknown := [name for name in inputs if name not in MODALITIES]:
        raise InvalidSpec(f"There is no modality {', '.join(map(repr, unknown))}.", remedy=known)
    image, text = inputs.get("image"), inputs.get("text")
    if image is None and text is None:
        raise InvalidSpec("There is neither a picture nor a caption.", remedy=known)
    if image is not None and (getattr(image, "ndim", 0) != 4 or image.shape[1:] != (1, 8, 8)):
        raise InvalidSpec(f"The pictures have the shape {getattr(image, 'shape', None)}.", remedy=known)
    if text is not None and (getattr(text, "ndim", 0) != 2 or text.shape[1] != WORDS):
        raise InvalidSpec(f"The captions have the shape {getattr(text, 'shape', None)}.", remedy=known)
    if image is not None and text is not None and len(image) != len(text):
        raise InvalidSpec(
            f"{len(image)} pictures and {len(text)} captions.", remedy="Give one caption for each picture."
        )
    return image, text
