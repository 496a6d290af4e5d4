"""The image side of a model: how an image becomes tokens, and the shape of the encoder that makes them."""

from dataclasses import dataclass
from typing import Literal, get_args

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext

TokenRule = Literal["patches", "fixed", "any-resolution", "tiles", "canvas", "budget", "longest-edge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionSpec:
    """A vision encoder and the rule by which its processor resizes and cuts an image.

    ``rule`` is one of

    * ``patches``: sides rounded to multiples of patch x merge, pixels between two limits (Qwen-VL);
    * ``fixed``: every image becomes one square (LLaVA-1.5, Gemma 3);
    * ``any-resolution``: the square and a grid of squares without its padding (LLaVA-NeXT);
    * ``tiles``: the grid of squares of the nearest aspect ratio, and the whole as one more (InternVL);
    * ``canvas``: the smallest grid of squares that loses least, with marks between them (Llama 4);
    * ``budget``: as large as a number of tokens allows, the aspect ratio kept (Gemma 4);
    * ``longest-edge``: made smaller to a longest side, with a mark at the end of each row (Pixtral).
    """

    model: str
    """Row of the model catalogue that it belongs to, or a name of its own."""
    rule: TokenRule
    patch_px: int
    merge: int
    """Patches along a side that become one token."""
    square_px: int | None = None
    """Side of the square of ``fixed``, of a tile, or the longest edge."""
    min_pixels: int | None = None
    max_pixels: int | None = None
    most: int | None = None
    """Most tiles, or most tokens of ``budget``."""
    n_layers: int
    hidden: int
    intermediate: int
    n_heads: int
    is_gated: bool = False
    """Whether the feed-forward part has a gate (three matrices instead of two)."""
    window_px: int | None = None
    """Side of the window that most layers attend to; None: all attend to the whole image."""
    n_whole_layers: int | None = None
    """Layers that attend to the whole image where others have windows."""
    out_hidden: int
    """Width of the language model."""
    n_projectors: int = 1
    """Projectors of the same size: Qwen3-VL has one more for each of the three layers that it taps (DeepStack)."""
    source: str

    def __post_init__(self) -> None:
        require_positive(self, "patch_px", "merge", "n_layers", "hidden", "intermediate", "n_heads", "out_hidden")
        if self.rule not in get_args(TokenRule):
            raise InvalidSpec(
                gettext("There is no rule {rule}.").format(rule=repr(self.rule)),
                remedy=gettext("Choose from: {names}.").format(names=", ".join(get_args(TokenRule))),
            )
        needs = {
            "patches": ("min_pixels", "max_pixels"),
            "tiles": ("square_px", "most"),
            "canvas": ("square_px", "most"),
            "budget": ("most",),
        }.get(self.rule, ("square_px",))
        missing = [name for name in needs if getattr(self, name) is None]
        if missing:
            raise InvalidSpec(
                gettext("The rule {rule} needs {fields}.").format(rule=repr(self.rule), fields=", ".join(missing)),
                remedy=gettext("Fill it in."),
            )

    @property
    def layer_weights(self) -> int:
        """Weights of the matrices of one encoder layer."""
        return 4 * self.hidden**2 + (3 if self.is_gated else 2) * self.hidden * self.intermediate

    @property
    def projector_weights(self) -> int:
        """Weights of a two-layer projector from merged patches to the language model."""
        wide = self.hidden * self.merge**2
        return wide * wide + wide * self.out_hidden

    @property
    def n_params(self) -> int:
        """Weights of encoder and projectors; biases, norms and positions are left out."""
        first = 3 * self.patch_px**2 * self.hidden
        return self.n_layers * self.layer_weights + self.n_projectors * self.projector_weights + first


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTokens:
    """What an image becomes in a prompt and in the encoder."""

    height_px: int
    """After resizing; of one square where it is cut into squares."""
    width_px: int
    n_squares: int
    """Images that the encoder sees."""
    n_patches: int
    """Patches of all tiles together: positions in the encoder."""
    n_tokens: int
    """Places in the prompt, with the marks that the processor puts between rows and squares."""
