"""What can be asked about image tokens: a model and an image, and for the cost of a request its text, device and price."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from workbench.core.checks import require_positive
from workbench.core.knobs import Knob, advanced, knob, needed
from workbench.core.specs import Spec
from workbench.questions.multimodal.spec import size_of

FAMILIES = (
    "Qwen/Qwen3-VL-8B-Instruct",
    "Qwen/Qwen2.5-VL-7B-Instruct",
    "OpenGVLab/InternVL3-8B-hf",
    "google/gemma-3-12b-it",
    "llava-hf/llava-v1.6-mistral-7b-hf",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct",
)
ALL = "all"
Size = Annotated[
    str,
    Knob(
        "Image size",
        "Height x width of each image in pixels, such as 896x1344.",
        unit="height x width, pixels",
        suggestions=("896x1344", "448x448", "896x896", "1080x1920", "2160x3840"),
        is_argument=True,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTokensSpec(Spec):
    """Tokens of an image in the prompt of a model."""

    command: ClassVar[str] = "images tokens"

    model: str = needed(
        "Model",
        'Name of a row of data/vision.csv, or "all" for all of them.',
        suggestions=(*FAMILIES, ALL),
        is_argument=True,
    )
    size: Size

    def __post_init__(self) -> None:
        size_of(self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCostSpec(Spec):
    """Memory, device time and price of a request with images."""

    command: ClassVar[str] = "images cost"

    model: str = needed(
        "Model", "Name of a row of data/vision.csv, which has the encoder.", suggestions=FAMILIES, is_argument=True
    )
    size: Size
    n_images: int = knob(1, "Images per request", "Number of images in each request.", low=1, high=100, option="images")
    text_tokens: int = knob(
        64, "Text tokens", "Number of text tokens in each request, in addition to the images.", low=0, high=10**6
    )
    device: str = advanced(
        "h200-sxm",
        "Device",
        "Name of a device in data/hardware.csv.",
        suggestions=("h200-sxm", "h100-sxm", "a100-sxm-80", "l40s", "l4"),
    )
    usd_per_hour: float | None = knob(
        None,
        "Device price",
        "Price of the device, in USD per hour; the median of its listed prices if left out.",
        unit="USD/h",
        low=0,
    )

    def __post_init__(self) -> None:
        size_of(self.size)
        require_positive(self, "n_images")
