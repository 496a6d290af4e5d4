"""A fused network as three graphs, so that a tower can be quantized, skipped or run beside the other."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from workbench.catalog.paths import DATA
from workbench.core.errors import NotAModel
from workbench.estimate.cascade import softmax_confidence
from workbench.vision.captions import WORDS
from workbench.vision.digits import Floats
from workbench.vision.fusion import PATCHES, WIDTH, FusedNet
from workbench.vision.graphs import export, quantized
from workbench.vision.sessions import Graph, session

SHIPPED = DATA / "models" / "digits-image-text"
Ids = npt.NDArray[np.int64]


def file_name(kind: str, *, has_dropout: bool) -> str:
    """Of a network that ships."""
    return f"{kind}{'-dropout' if has_dropout else ''}.safetensors"


def keep(net: FusedNet, path: Path) -> None:
    """Write a network in float16, which its accuracy does not feel."""
    save_file({name: t.half().contiguous() for name, t in net.state_dict().items()}, path)


def kept(kind: str, *, has_dropout: bool, folder: Path = SHIPPED) -> FusedNet:
    """A network that was kept; raises ``NotAModel`` where there is none."""
    path = folder / file_name(kind, has_dropout=has_dropout)
    if not path.exists():
        raise NotAModel(f"There is no network at {path.name}.", remedy="Run data/models/training/digits_fusion.py.")
    net = FusedNet(kind)
    net.load_state_dict({name: t.float() for name, t in load_file(path).items()})
    return net.eval()


class _Words(torch.nn.Module):
    """The caption's tower and its own head."""

    def __init__(self, net: FusedNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the caption alone, and features."""
        words = self.net.text(ids)
        return self.net.text_head(words.flatten(1)), words


class _Joined(torch.nn.Module):
    """The fusion, on the features of both towers one after the other in one input."""

    def __init__(self, net: FusedNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits for (n, PATCHES + WORDS, WIDTH)."""
        out: torch.Tensor = self.net.fusion(features[:, :PATCHES], features[:, PATCHES:])
        return out


class Towers:
    """A fused network in ONNX Runtime, tower by tower."""

    def __init__(self, image: Path, text: Path, fusion: Path, *, threads: int = 1) -> None:
        self.paths = (image, text, fusion)
        self._image, self._fusion = Graph(image, threads=threads), Graph(fusion, threads=threads)
        self._text = session(text, threads=threads)
        self._pool = ThreadPoolExecutor(1)
        self.n_bytes = sum(p.stat().st_size for p in self.paths)

    def words(self, ids: Ids) -> tuple[Floats, Floats]:
        """Logits of the caption alone, and features."""
        logits, features = self._text.run(None, {self._text.get_inputs()[0].name: ids})
        return logits, features

    def logits(self, pictures: Floats, ids: Ids) -> Floats:
        """Both towers one after the other, then the fusion."""
        return self._fusion.logits(np.concatenate([self._image.logits(pictures), self.words(ids)[1]], 1))

    def logits_beside(self, pictures: Floats, ids: Ids) -> Floats:
        """Both towers at the same time, in two threads, then the fusion."""
        seen = self._pool.submit(self._image.logits, pictures)
        words = self.words(ids)[1]
        return self._fusion.logits(np.concatenate([seen.result(), words], 1))

    def routed(self, pictures: Floats, ids: Ids, *, confidence: float) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Logits, and where the picture was skipped since the caption decided."""
        logits, words = self.words(ids)
        skipped = softmax_confidence(logits) >= confidence
        if not skipped.all():
            rest = ~skipped
            logits = logits.copy()
            logits[rest] = self._fusion.logits(np.concatenate([self._image.logits(pictures[rest]), words[rest]], 1))
        return logits, skipped


def exported(net: FusedNet, folder: Path, *, pictures: Floats, ids: Ids) -> Towers:
    """Three graphs of a network.

    Args:
        net: Trained.
        folder: For them; it is made.
        pictures: Examples.
        ids: Examples.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image = export(net.image, torch.from_numpy(pictures[:2]), folder / "image.onnx", outputs=("features",))
    text = export(_Words(net), torch.from_numpy(ids[:2]), folder / "text.onnx", outputs=("logits", "features"))
    example = torch.zeros(2, PATCHES + WORDS, WIDTH)
    fusion = export(_Joined(net), example, folder / "fusion.onnx")
    return Towers(image, text, fusion)


def with_int8(towers: Towers, which: tuple[str, ...], *, pictures: Floats, ids: Ids) -> Towers:
    """The same with towers in INT8: "image" by static quantization, "text" dynamically (its lookups stay as they are)."""
    image, text, fusion = towers.paths
    if "image" in which:
        image = quantized(image, image.with_name("image-int8.onnx"), "int8-static", examples=pictures)
    if "text" in which:
        text = quantized(text, text.with_name("text-int8.onnx"), "int8-dynamic-dense", examples=ids)  # type: ignore[arg-type]
    return Towers(image, text, fusion)


def wide_towers(folder: Path, *, width: int) -> tuple[Any, Any]:
    """Two towers of random weights and equal work for (n, width) inputs, to see from what size on running them beside each other pays."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name in ("left", "right"):
        net = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(3)))
        made.append(Graph(export(net, torch.zeros(2, width), folder / f"{name}-{width}.onnx"), threads=1))
    return made[0], made[1]
