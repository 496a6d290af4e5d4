"""Attention techniques by name, what they are set to, and the measurement that compares them."""

from dataclasses import dataclass
from typing import Literal

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import advanced, knob
from workbench.core.language import gettext

Pattern = Literal["full", "window", "sink-window", "block-sparse", "vertical-slash"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Technique:
    """One way to compute attention."""

    label: str
    pattern: Pattern
    """Which keys a query sees; everything but "full" changes the answer."""


TECHNIQUES: dict[str, Technique] = {
    "flash": Technique(label="SDPA flash", pattern="full"),
    "cudnn": Technique(label="SDPA cuDNN", pattern="full"),
    "efficient": Technique(label="SDPA efficient", pattern="full"),
    "math": Technique(label="SDPA math", pattern="full"),
    "query-chunked": Technique(label="query-chunked", pattern="full"),
    "key-split": Technique(label="key-split", pattern="full"),
    "paged-gather": Technique(label="paged, gathered", pattern="full"),
    "paged-flex": Technique(label="paged, FlexAttention", pattern="full"),
    "varlen": Technique(label="varlen_attn", pattern="full"),
    "fa3": Technique(label="FlashAttention 3", pattern="full"),
    "flashinfer": Technique(label="FlashInfer", pattern="full"),
    "window": Technique(label="sliding window", pattern="window"),
    "window-flex": Technique(label="sliding window, FlexAttention", pattern="window"),
    "sink-window": Technique(label="sink + window", pattern="sink-window"),
    "sink-window-flex": Technique(label="sink + window, FlexAttention", pattern="sink-window"),
    "block-sparse": Technique(label="top-k blocks", pattern="block-sparse"),
    "block-sparse-flex": Technique(label="top-k blocks, FlexAttention", pattern="block-sparse"),
    "vertical-slash": Technique(label="vertical-slash", pattern="vertical-slash"),
    "vertical-slash-flex": Technique(label="vertical-slash, FlexAttention", pattern="vertical-slash"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionOptions:
    """What techniques are set to."""

    window: int = knob(4096, "Window", "Positions that a query of a sliding window sees.", unit="tokens", low=1)
    """The query's own position is included."""
    n_sinks: int = advanced(4, "Sinks", "First tokens that every query sees beside its window.", low=0)
    block: int = advanced(128, "Key block", "Keys that are chosen as one.", unit="tokens", low=1)
    top_k: int = advanced(32, "Key blocks", "Blocks of keys that a block of queries sees.", low=3)
    n_vertical: int = advanced(1024, "Vertical lines", "Keys that every query of vertical-slash sees.", low=1)
    n_slash: int = advanced(2048, "Slash lines", "Diagonals that vertical-slash sees.", low=1)
    chunk: int = advanced(8192, "Query chunk", "Queries that are computed at a time.", unit="tokens", low=1)
    n_splits: int = advanced(16, "Key slices", "Slices that key-split divides the keys into.", low=1)
    page: int = advanced(16, "Page", "Tokens of a page of the paged caches.", unit="tokens", low=1)

    def __post_init__(self) -> None:
        positive = ("window", "block", "top_k", "n_vertical", "n_slash", "chunk", "n_splits", "page")
        require_positive(self, *positive)
        if self.n_sinks < 0:
            raise InvalidSpec(gettext("n_sinks is {n}.").format(n=self.n_sinks), remedy=gettext("Give 0 or more."))
        if self.top_k < 3:
            raise InvalidSpec(
                gettext("top_k is {n}: the first block and a query's own two blocks need three.").format(n=self.top_k),
                remedy=gettext("Give 3 or more."),
            )
