"""Networks that read a digit from an image and a caption, fused early, midway or late; either may be missing."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.vision.captions import VOCABULARY, WORDS, captions
from workbench.vision.digits import N_CLASSES, Digits, Floats, augment
from workbench.vision.fusions import FUSIONS, MODALITIES
from workbench.vision.networks import fit, one_thread

WIDTH, HEADS = 48, 4
PATCHES = 16
EPOCHS, RATE = 40, 4e-3
DROPOUT = 0.3
"""Share of training examples without an image, where modalities are dropped; half as many lack the caption."""


class ImageTower(nn.Module):
    """Two convolutions: (n, 16, WIDTH) features for images: (n, 1, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, WIDTH, 3, padding=1)
        self.places = nn.Parameter(torch.zeros(PATCHES, WIDTH))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features of each patch."""
        maps = functional.relu(self.conv2(functional.relu(self.conv1(images))))
        return functional.max_pool2d(maps, 2).flatten(2).transpose(1, 2) + self.places


class TextTower(nn.Module):
    """An embedding and one attention layer: (n, WORDS, WIDTH) features for ids: (n, WORDS)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(VOCABULARY), WIDTH)
        self.places = nn.Parameter(torch.zeros(WORDS, WIDTH))
        self.mixed = Mixing()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the features of each word."""
        out: torch.Tensor = self.mixed(self.words(ids) + self.places)
        return out


class Attention(nn.Module):
    """Attention of some features to others, in plain matrix products, which quantizers support."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, to: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """Return attended features: (n, len(to), WIDTH)."""
        n = to.shape[0]

        def split(x: torch.Tensor) -> torch.Tensor:
            return x.reshape(n, -1, HEADS, WIDTH // HEADS).transpose(1, 2)

        q, k, v = split(self.query(to)), split(self.key(source)), split(self.value(source))
        weights = ((q @ k.transpose(2, 3)) / (WIDTH // HEADS) ** 0.5).softmax(3)
        out: torch.Tensor = self.out((weights @ v).transpose(1, 2).reshape(n, -1, WIDTH))
        return out


class Mixing(nn.Module):
    """One transformer layer with normalization before each part."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape: (n, places, WIDTH)."""
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

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Return the logits of both modalities together."""
        both = torch.cat([image + self.kinds[0], text + self.kinds[1]], 1)
        out: torch.Tensor = self.head(self.mixed(both).mean(1))
        return out


class Mid(nn.Module):
    """Each modality attends to the other, then both are put together."""

    def __init__(self) -> None:
        super().__init__()
        self.to_text, self.to_picture = Attention(), Attention()
        self.up, self.head = nn.Linear(4 * WIDTH, WIDTH), nn.Linear(WIDTH, N_CLASSES)

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Return the logits of both modalities together."""
        crossed = [self.to_text(image, text).mean(1), self.to_picture(text, image).mean(1)]
        both = torch.cat([image.amax(1), text.mean(1), *crossed], 1)
        out: torch.Tensor = self.head(functional.relu(self.up(both)))
        return out


class Late(nn.Module):
    """Logits of each modality, weighed by a gate that sees both."""

    def __init__(self) -> None:
        super().__init__()
        self.of_picture, self.of_text = nn.Linear(PATCHES * WIDTH, N_CLASSES), nn.Linear(WORDS * WIDTH, N_CLASSES)
        self.gate = nn.Linear(2 * WIDTH, 1)

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Return the logits of both modalities together."""
        gate = torch.sigmoid(self.gate(torch.cat([image.mean(1), text.mean(1)], 1)))
        out: torch.Tensor = gate * self.of_picture(image.flatten(1)) + (1 - gate) * self.of_text(text.flatten(1))
        return out


class FusedNet(nn.Module):
    """Both towers, a fusion, and a head that answers from the caption alone, for routing."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        if kind not in FUSIONS:
            raise InvalidSpec(
                gettext("There is no fusion {kind}.").format(kind=repr(kind)),
                remedy=gettext("Choose from: {names}.").format(names=", ".join(FUSIONS)),
            )
        self.image, self.text = ImageTower(), TextTower()
        self.fusion: nn.Module = {"early": Early, "mid": Mid, "late": Late}[kind]()
        self.text_head = nn.Linear(WORDS * WIDTH, N_CLASSES)

    def forward(
        self, images: torch.Tensor, ids: torch.Tensor, has_image: torch.Tensor, has_text: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits, and the logits of the caption alone.

        Args:
            images: (n, 1, 8, 8).
            ids: (n, WORDS).
            has_image: (n,) 1 where there is an image; elsewhere its features are zero.
            has_text: (n,) likewise.
        """
        seen = self.image(images) * has_image[:, None, None]
        words = self.text(ids)
        caption = words * has_text[:, None, None]
        # The caption's own head learns from the tower as it is, and does not pull it away from the fusion.
        return self.fusion(seen, caption), self.text_head(words.detach().flatten(1))


@one_thread()
def train_fused(kind: str, part: Digits, *, dropout: float, seed: int) -> FusedNet:
    """Return a trained network; captions are drawn anew in each pass, and images moved at random.

    ``dropout`` is the share of examples without an image; half that share lacks the caption.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = FusedNet(kind)
    images, labels = torch.from_numpy(part.images), torch.from_numpy(part.labels)
    ids = [torch.from_numpy(captions(part.labels, seed=1000 * seed + epoch).ids) for epoch in range(EPOCHS)]

    def loss_of(epoch: int, at: torch.Tensor) -> torch.Tensor:
        draw = torch.rand(len(at), generator=generator)
        has_image, has_text = (draw >= dropout).float(), (draw <= 1 - dropout / 2).float()
        logits, alone = net(augment(images[at], generator), ids[epoch][at], has_image, has_text)
        loss = functional.cross_entropy(logits, labels[at], label_smoothing=0.02)
        return loss + functional.cross_entropy(alone, labels[at])

    fit(net.parameters(), len(part), loss_of, epochs=EPOCHS, rate=RATE, generator=generator)
    return net.eval()


@torch.no_grad()
def fused_logits(net: FusedNet, inputs: Mapping[str, object]) -> Floats:
    """Return the logits, (n, 10), of named modalities.

    Args:
        net: Trained.
        inputs: ``image``: (n, 1, 8, 8) float32 and ``text``: (n, WORDS) ids; one of them may be missing or None.

    Raises:
        InvalidSpec: an unknown modality, none at all, or sizes that do not fit each other; the message names the known ones.
    """
    image, text = modalities_of(inputs)
    n = next(len(values) for values in (image, text) if values is not None)
    images = torch.zeros(n, 1, 8, 8) if image is None else torch.from_numpy(image)
    ids = torch.zeros(n, WORDS, dtype=torch.long) if text is None else torch.from_numpy(text)
    out = net(images, ids, torch.full((n,), float(image is not None)), torch.full((n,), float(text is not None)))
    return np.asarray(out[0].numpy())


def modalities_of(inputs: Mapping[str, object]) -> tuple[Floats | None, npt.NDArray[np.int64] | None]:
    """Return the image and the caption of named inputs; raises as ``fused_logits`` does."""
    known = gettext("Known modalities: image (n, 1, 8, 8) and text (n, {words}).").format(words=WORDS)
    if unknown := [name for name in inputs if name not in MODALITIES]:
        raise InvalidSpec(
            gettext("There is no modality {names}.").format(names=", ".join(map(repr, unknown))), remedy=known
        )
    image, text = inputs.get("image"), inputs.get("text")
    if image is None and text is None:
        raise InvalidSpec(gettext("There is neither an image nor a caption."), remedy=known)
    if image is not None and not (isinstance(image, np.ndarray) and image.ndim == 4 and image.shape[1:] == (1, 8, 8)):
        raise InvalidSpec(
            gettext("The images have the shape {shape}.").format(shape=getattr(image, "shape", None)), remedy=known
        )
    if text is not None and not (isinstance(text, np.ndarray) and text.ndim == 2 and text.shape[1] == WORDS):
        raise InvalidSpec(
            gettext("The captions have the shape {shape}.").format(shape=getattr(text, "shape", None)), remedy=known
        )
    if image is not None and text is not None and len(image) != len(text):
        raise InvalidSpec(
            gettext("{n} images and {captions} captions.").format(n=len(image), captions=len(text)),
            remedy=gettext("Give one caption for each image."),
        )
    return image, text
