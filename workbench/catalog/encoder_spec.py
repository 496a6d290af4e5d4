"""Models that read an input once and generate nothing: embedding models and image classifiers."""

from dataclasses import dataclass

from workbench.core.checks import require_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """A transformer encoder, or a network of which only the work for one input is known."""

    name: str
    architecture: str
    n_params: int
    n_layers: int | None = None
    """None for a convolutional network."""
    hidden: int | None = None
    intermediate: int | None = None
    most_tokens: int | None = None
    flop_per_input: float | None = None
    """Operations of a convolutional network at its usual input size."""
    source: str

    def __post_init__(self) -> None:
        require_positive(self, "n_params")

    @property
    def takes_images(self) -> bool:
        """Whether inputs are images of a fixed size."""
        return self.architecture in {"vit", "resnet"}
