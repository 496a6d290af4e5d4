"""What can be asked about images in vLLM: a model's shape, sizes and numbers of images, and caches with their hit rates."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.checks import require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import Seed, advanced, knob
from workbench.core.language import gettext
from workbench.core.rows import Json
from workbench.core.specs import Spec

CACHES: dict[str, str] = {
    "none": "no cache",
    "encoder": "processor and encoder cache",
    "prefix": "processor, encoder and prefix cache",
}


def size_of(text: str) -> tuple[int, int]:
    """Return height and width of "896x1344"; raises ``InvalidSpec`` for anything else."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) > 0 and int(width) > 0):
        raise InvalidSpec(
            gettext("{text} is not a size.").format(text=repr(text)),
            remedy=gettext("Give height and width in pixels, such as 896x1344."),
        )
    return int(height), int(width)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesSpec(Spec):
    """TTFT with images: its parts by size and number of the images, and what caches save by hit rate."""

    kind: ClassVar[str] = "images"
    command: ClassVar[str] = "images measure"

    model: str = knob(
        "data/models/qwen3-vl-8b-shape",
        "Model shape",
        "Folder with config.json and preprocessor_config.json; weights are random, so that answers mean nothing.",
        suggestions=("data/models/qwen3-vl-8b-shape",),
        is_argument=True,
    )
    vision: str = advanced(
        "Qwen/Qwen3-VL-8B-Instruct", "Encoder", "Name of a row of data/vision.csv with the encoder of this shape."
    )
    text_tokens: int = knob(
        64, "Text tokens", "Number of text tokens in each request, in addition to the images.", low=1, high=4096
    )
    repeats: int = knob(15, "Repetitions", "Number of requests for each size and number of images.", low=3, high=101)
    hit_size: str = knob(
        "896x896",
        "Image size for the caches",
        "Size of the images that are sent to the caches, as height x width in pixels.",
        unit="height x width",
    )
    sizes: tuple[str, ...] = advanced(
        ("224x224", "448x448", "896x896", "1344x1344"),
        "Fitted sizes",
        "Image sizes that the costs are fitted to, as height x width in pixels.",
    )
    held_out_sizes: tuple[str, ...] = advanced(
        ("336x336", "480x640", "768x1024", "1600x1600", "1024x1792"),
        "Held-out sizes",
        "Image sizes that are predicted without being fitted to, and then measured.",
    )
    held_out_counts: tuple[int, ...] = advanced(
        (1, 2, 3), "Held-out image counts", "Numbers of images in the requests of held-out sizes."
    )
    hit_rates: tuple[float, ...] = advanced(
        (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0), "Hit rates", "Shares of the images that were sent before, from 0 to 1."
    )
    requests_per_rate: int = advanced(24, "Requests per hit rate", "Number of requests at each hit rate.", low=2)
    caches: tuple[str, ...] = advanced(
        tuple(CACHES), "Caches", "Caches that are compared; the first is none.", choices=CACHES
    )
    max_model_len: int = advanced(
        12288, "Context limit", "Longest request that the engines accept, in tokens.", unit="tokens", low=256
    )
    engine_options: dict[str, Json] | None = None
    """Further arguments of vLLM's class ``vllm.LLM``."""
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(self, "text_tokens", "repeats", "requests_per_rate", "max_model_len")
        for text in (*self.sizes, *self.held_out_sizes, self.hit_size):
            size_of(text)
        require_known(gettext("caches"), self.caches, CACHES)
        if self.caches[:1] != ("none",):
            raise InvalidSpec(
                gettext("Without the engine that has no cache nothing can be compared."),
                remedy=gettext('Name "none" first.'),
            )
        if any(not 0 <= h <= 1 for h in self.hit_rates):
            raise InvalidSpec(gettext("Hit rates lie between 0 and 1."), remedy=gettext("Give shares, such as 0.5."))
        if len(self.sizes) < 3:
            raise InvalidSpec(gettext("Costs are fitted to at least three sizes."), remedy=gettext("Name more sizes."))
