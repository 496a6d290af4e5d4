"""A fused network as three graphs, so that a tower can be quantized, skipped, or run at the same time as the other."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from workbench.catalog.paths import DATA
from workbench.core.errors import NotAModel
from workbench.core.language import gettext
from workbench.estimate.cascade import softmax_confidence
from workbench.vision.captions import WORDS
from workbench.vision.digits import Floats
from workbench.vision.fusion import PATCHES, WIDTH, FusedNet
from workbench.vision.graphs import export, quantize_graph
from workbench.vision.sessions import Graph, session

SHIPPED = DATA / "models" / "digits-image-text"
Ids = npt.NDArray[np.int64]


def file_name(kind: str, *, has_dropout: bool) -> str:
    """Return the file name of a network that ships with the workbench."""
    return f"{kind}{'-dropout' if has_dropout else ''}.safetensors"


def save_network(net: FusedNet, path: Path) -> None:
    """Write a network in float16, which does not change its accuracy."""
    save_file({name: t.half().contiguous() for name, t in net.state_dict().items()}, path)


def load_network(kind: str, *, has_dropout: bool, folder: Path = SHIPPED) -> FusedNet:
    """Return a network that was saved; raises ``NotAModel`` where there is none."""
    path = folder / file_name(kind, has_dropout=has_dropout)
    if not path.exists():
        raise NotAModel(
            gettext("There is no network at {path}.").format(path=path.name),
            remedy=gettext("Run data/models/training/digits_fusion.py."),
        )
    net = FusedNet(kind)
    net.load_state_dict({name: t.float() for name, t in load_file(path).items()})
    return net.eval()


class _Words(torch.nn.Module):
    """The tower of the caption with a head of its own."""

    def __init__(self, net: FusedNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of the caption alone, and its features."""
        words = self.net.text(ids)
        return self.net.text_head(words.flatten(1)), words


class _Joined(torch.nn.Module):
    """The fusion, on the features of both towers one after the other in one input."""

    def __init__(self, net: FusedNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits for features: (n, PATCHES + WORDS, WIDTH)."""
        out: torch.Tensor = self.net.fusion(features[:, :PATCHES], features[:, PATCHES:])
        return out


class Towers:
    """A fused network in ONNX Runtime, one graph for each tower and one for the fusion."""

    def __init__(self, image: Path, text: Path, fusion: Path, *, threads: int = 1) -> None:
        self.paths = (image, text, fusion)
        self._image, self._fusion = Graph(image, threads=threads), Graph(fusion, threads=threads)
        self._text = session(text, threads=threads)
        self._pool = ThreadPoolExecutor(1)
        self.n_bytes = sum(p.stat().st_size for p in self.paths)

    def words(self, ids: Ids) -> tuple[Floats, Floats]:
        """Return the logits of the caption alone, and its features."""
        logits, features = self._text.run(None, {self._text.get_inputs()[0].name: ids})
        return logits, features

    def logits(self, images: Floats, ids: Ids) -> Floats:
        """Return the logits, from both towers one after the other and the fusion."""
        return self._fusion.logits(np.concatenate([self._image.logits(images), self.words(ids)[1]], 1))

    def logits_in_two_threads(self, images: Floats, ids: Ids) -> Floats:
        """Return the logits, from both towers at the same time in two threads and the fusion."""
        seen = self._pool.submit(self._image.logits, images)
        words = self.words(ids)[1]
        return self._fusion.logits(np.concatenate([seen.result(), words], 1))

    def routed(self, images: Floats, ids: Ids, *, confidence: float) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return the logits, and where the image was skipped since the caption decided."""
        logits, words = self.words(ids)
        skipped = softmax_confidence(logits) >= confidence
        if not skipped.all():
            rest = ~skipped
            logits = logits.copy()
            logits[rest] = self._fusion.logits(np.concatenate([self._image.logits(images[rest]), words[rest]], 1))
        return logits, skipped


def export_towers(net: FusedNet, folder: Path, *, images: Floats, ids: Ids) -> Towers:
    """Write the three graphs of a trained network into a folder, and return them; images and ids are examples."""
    folder.mkdir(parents=True, exist_ok=True)
    image = export(net.image, torch.from_numpy(images[:2]), folder / "image.onnx", outputs=("features",))
    text = export(_Words(net), torch.from_numpy(ids[:2]), folder / "text.onnx", outputs=("logits", "features"))
    example = torch.zeros(2, PATCHES + WORDS, WIDTH)
    fusion = export(_Joined(net), example, folder / "fusion.onnx")
    return Towers(image, text, fusion)


def with_int8(towers: Towers, which: tuple[str, ...], *, images: Floats, ids: Ids) -> Towers:
    """Return the network with towers in INT8: "image" by static quantization, "text" dynamically (its lookups stay as they are)."""
    image, text, fusion = towers.paths
    if "image" in which:
        image = quantize_graph(image, image.with_name("image-int8.onnx"), "int8-static", examples=images)
    if "text" in which:
        text = quantize_graph(text, text.with_name("text-int8.onnx"), "int8-dynamic-dense", examples=ids)
    return Towers(image, text, fusion)


def wide_towers(folder: Path, *, width: int) -> tuple[Graph, Graph]:
    """Return two towers of equal work with random weights for (n, width) inputs, to find the size from which two threads pay."""
    folder.mkdir(parents=True, exist_ok=True)

    def tower(name: str) -> Graph:
        net = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(3)))
        return Graph(export(net, torch.zeros(2, width), folder / f"{name}-{width}.onnx"), threads=1)

    return tower("left"), tower("right")
