"""Requests with pictures to time inside vLLM."""

from dataclasses import dataclass
from typing import Any, ClassVar

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec

CACHES: dict[str, str] = {
    "none": "no cache",
    "encoder": "processor and encoder cache",
    "prefix": "both, and the prefix cache",
}


def size_of(text: str) -> tuple[int, int]:
    """Height and width of "896x1344"; raises ``InvalidSpec`` for anything else."""
    high, _, wide = text.partition("x")
    if not (high.isdigit() and wide.isdigit() and int(high) > 0 and int(wide) > 0):
        raise InvalidSpec(f"{text!r} is not a size.", remedy="Give height and width in pixels, such as 896x1344.")
    return int(high), int(wide)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesSpec(Spec):
    """Time to the first token with pictures: its parts by size and number, and what caches save by hit rate."""

    experiment: ClassVar[str] = "images"

    model: str = "data/models/qwen3-vl-8b-shape"
    """Folder with ``config.json`` and ``preprocessor_config.json``; weights are made up, answers mean nothing."""
    vision: str = "Qwen/Qwen3-VL-8B-Instruct"
    """Row of ``data/vision.csv`` with its encoder."""
    sizes: tuple[str, ...] = ("224x224", "448x448", "896x896", "1344x1344")
    """Of the pictures that costs are learnt from, one or four in a request."""
    held_out_sizes: tuple[str, ...] = ("336x336", "480x640", "768x1024", "1600x1600", "1024x1792")
    """Of the pictures that are predicted, one, two and three in a request."""
    held_out_counts: tuple[int, ...] = (1, 2, 3)
    text_tokens: int = 64
    repeats: int = 15
    hit_rates: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
    hit_size: str = "896x896"
    requests_per_rate: int = 24
    caches: tuple[str, ...] = tuple(CACHES)
    """The first is measured alone; "none" must be it."""
    max_model_len: int = 12288
    engine_options: dict[str, Any] | None = None
    """More arguments of ``vllm.LLM``."""
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "text_tokens", "repeats", "requests_per_rate", "max_model_len")
        for text in (*self.sizes, *self.held_out_sizes, self.hit_size):
            size_of(text)
        if unknown := set(self.caches) - set(CACHES):
            raise InvalidSpec(
                f"There is no cache {', '.join(sorted(unknown))}.", remedy=f"Choose from: {', '.join(CACHES)}."
            )
        if self.caches[:1] != ("none",):
            raise InvalidSpec(
                "Without the engine that has no cache nothing can be compared.", remedy='Name "none" first.'
            )
        if any(not 0 <= h <= 1 for h in self.hit_rates):
            raise InvalidSpec("Hit rates lie between 0 and 1.", remedy="Give shares.")
        if len(self.sizes) < 3:
            raise InvalidSpec("Costs are learnt from at least three sizes.", remedy="Name more sizes.")
