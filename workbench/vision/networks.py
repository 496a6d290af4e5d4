"""Convolutional networks for digits, and how they are trained, pruned and distilled."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from workbench.vision.digits import N_CLASSES, Digits, Floats, augment

BATCH = 64
TEMPERATURE = 4.0  # of distillation (Hinton, Vinyals and Dean 2015 use 2 to 5 for small students)


class DigitNet(nn.Module):
    """Two convolutions and two dense layers; with 32 and 64 filters and 128 units it has 151 306 parameters."""

    def __init__(self, first: int = 32, second: int = 64, units: int = 128) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, first, 3, padding=1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        self.dense = nn.Linear(second * 16, units)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(units, N_CLASSES)

    def stem(self, images: torch.Tensor) -> torch.Tensor:
        """Return feature maps, (n, first, 8, 8), for images: (n, 1, 8, 8)."""
        return functional.relu(self.conv1(images))

    def rest(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the logits for the stem's maps."""
        maps = functional.max_pool2d(functional.relu(self.conv2(maps)), 2)
        out: torch.Tensor = self.head(self.drop(functional.relu(self.dense(maps.flatten(1)))))
        return out

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of images: (n, 10)."""
        return self.rest(self.stem(images))


class Student(nn.Module):
    """Two narrow convolutions and one dense layer: 2 886 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1)
        self.head = nn.Linear(12 * 16, N_CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of images: (n, 10)."""
        maps = functional.relu(self.conv2(functional.relu(self.conv1(images))))
        out: torch.Tensor = self.head(functional.max_pool2d(maps, 2).flatten(1))
        return out


class Exit(nn.Module):
    """An early exit: logits from the stem of a trained network."""

    def __init__(self, net: DigitNet) -> None:
        super().__init__()
        self.net = net
        self.head = nn.Linear(net.conv1.out_channels * 16, N_CLASSES)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits and the stem's maps, from which the network goes on."""
        maps = self.net.stem(images)
        return self.head(functional.max_pool2d(maps, 2).flatten(1)), maps


class Rest(nn.Module):
    """The network after its stem."""

    def __init__(self, net: DigitNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the logits for maps: (n, first, 8, 8)."""
        return self.net.rest(maps)


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread, and restore the number at the end: networks as small as these train no faster with more, and far slower beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fit(
    parameters: Iterable[nn.Parameter],
    n: int,
    loss_of: Callable[[int, torch.Tensor], torch.Tensor],
    *,
    epochs: int,
    rate: float,
    generator: torch.Generator,
    after_step: Callable[[], None] = lambda: None,
) -> None:
    """Minimize the loss over shuffled batches of ``n`` examples (AdamW, one cycle of the learning rate)."""
    optimiser = torch.optim.AdamW(parameters, rate, weight_decay=1e-2)
    steps = max(2, epochs * -(-n // BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for epoch in range(epochs):
        for at in torch.split(torch.randperm(n, generator=generator), BATCH):
            loss = loss_of(epoch, at)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            after_step()


@one_thread()
def train(
    net: nn.Module,
    part: Digits,
    *,
    epochs: int,
    rate: float = 3e-3,
    seed: int,
    teacher: npt.NDArray[np.float32] | None = None,
    labelled: npt.NDArray[np.int64] | None = None,
    masks: Mapping[str, torch.Tensor] | None = None,
    only: str | None = None,
) -> None:
    """Train a network in place, with images that are moved at random.

    Args:
        net: Gives logits, or logits first.
        part: Images to learn from.
        epochs: Passes over them.
        rate: Highest learning rate.
        seed: Of order and movements.
        teacher: (n, 10) logits to learn from too (distillation).
        labelled: Indices whose labels may be used; None: all. With a teacher the others are learnt from it alone.
        masks: Weights that stay zero where the mask is, by parameter name.
        only: Train parameters of this prefix only.
    """
    generator = torch.Generator().manual_seed(seed)
    use = np.arange(len(part)) if labelled is None or teacher is not None else labelled
    images, labels = torch.from_numpy(part.images[use]), torch.from_numpy(part.labels[use])
    known = torch.ones(len(use), dtype=torch.bool)
    if labelled is not None and teacher is not None:
        known = torch.from_numpy(np.isin(use, labelled))
    soft = None if teacher is None else torch.from_numpy(teacher[use])
    learnt = [p for name, p in net.named_parameters() if only is None or name.startswith(only)]

    def loss_of(_epoch: int, at: torch.Tensor) -> torch.Tensor:
        out = net(augment(images[at], generator))
        logits = out[0] if isinstance(out, tuple) else out
        return _loss(logits, labels[at], known[at], None if soft is None else soft[at])

    net.train()
    keep_masks = partial(_masked, net, masks)
    fit(learnt, len(use), loss_of, epochs=epochs, rate=rate, generator=generator, after_step=keep_masks)
    net.eval()


def _loss(logits: torch.Tensor, labels: torch.Tensor, known: torch.Tensor, soft: torch.Tensor | None) -> torch.Tensor:
    hard = (
        functional.cross_entropy(logits[known], labels[known], label_smoothing=0.05)
        if known.any()
        else logits.sum() * 0
    )
    if soft is None:
        return hard
    like = functional.kl_div(
        functional.log_softmax(logits / TEMPERATURE, 1),
        functional.softmax(soft / TEMPERATURE, 1),
        reduction="batchmean",
    )
    return 0.3 * hard + 0.7 * TEMPERATURE**2 * like


@torch.no_grad()
def _masked(net: nn.Module, masks: Mapping[str, torch.Tensor] | None) -> None:
    for name, parameter in net.named_parameters():
        if masks and name in masks:
            parameter.mul_(masks[name])


@torch.no_grad()
def logits_of(net: nn.Module, images: Floats) -> Floats:
    """Return the logits, (n, 10), of images: (n, 1, 8, 8)."""
    out = net(torch.from_numpy(images))
    return np.asarray((out[0] if isinstance(out, tuple) else out).numpy())


@torch.no_grad()
def prune_weights(net: nn.Module, share: float) -> dict[str, torch.Tensor]:
    """Set the smallest weights of all matrices and filters together to zero, and return the masks that keep them there."""
    weights = {name: p for name, p in net.named_parameters() if p.dim() > 1}
    cut = torch.quantile(torch.cat([p.abs().flatten() for p in weights.values()]), share)
    masks = {name: (p.abs() > cut).float() for name, p in weights.items()}
    _masked(net, masks)
    return masks


@torch.no_grad()
def prune_filters(net: DigitNet, keep: float) -> DigitNet:
    """Return a network with a share of the filters and units: those with the largest weights, by the sum of absolute values.

    Li, Kadav, Durdanovic, Samet and Graf 2017 (arXiv 1608.08710) prune filters by that sum.
    """

    def largest(weight: torch.Tensor) -> torch.Tensor:
        strength = weight.abs().flatten(1).sum(1)
        return strength.topk(max(1, round(keep * len(strength)))).indices.sort().values

    first, second, units = (largest(layer.weight) for layer in (net.conv1, net.conv2, net.dense))
    small = DigitNet(len(first), len(second), len(units))
    columns = (second[:, None] * 16 + torch.arange(16)).flatten()
    small.conv1.load_state_dict({"weight": net.conv1.weight[first], "bias": net.conv1.bias[first]})  # type: ignore[index]
    small.conv2.load_state_dict({"weight": net.conv2.weight[second][:, first], "bias": net.conv2.bias[second]})  # type: ignore[index]
    small.dense.load_state_dict({"weight": net.dense.weight[units][:, columns], "bias": net.dense.bias[units]})
    small.head.load_state_dict({"weight": net.head.weight[:, units], "bias": net.head.bias})
    return small.eval()
