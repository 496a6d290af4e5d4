"""Attention techniques by name, what they are set to, and the measurement that compares them."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec

Pattern = Literal["full", "window", "sink-window", "block-sparse", "vertical-slash"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Technique:
    """One way to compute attention."""

    label: str
    pattern: Pattern
    """Which keys a query sees; everything but "full" changes the answer."""
    note: str


TECHNIQUES: dict[str, Technique] = {
    "flash": Technique(label="SDPA flash", pattern="full", note="PyTorch's FlashAttention 2"),
    "cudnn": Technique(label="SDPA cuDNN", pattern="full", note="NVIDIA's kernel for Hopper and later"),
    "efficient": Technique(label="SDPA efficient", pattern="full", note="memory-efficient attention of xFormers"),
    "math": Technique(label="SDPA math", pattern="full", note="written out, all scores in memory"),
    "query-chunked": Technique(label="query-chunked", pattern="full", note="as chunked prefill reads a prompt"),
    "key-split": Technique(label="key-split", pattern="full", note="slices of the keys merged by log-sum-exp"),
    "paged-gather": Technique(label="paged, gathered", pattern="full", note="pages copied together first"),
    "paged-flex": Technique(label="paged, FlexAttention", pattern="full", note="straight on the pages"),
    "varlen": Technique(label="varlen_attn", pattern="full", note="torch.nn.attention.varlen, packed sequences"),
    "fa3": Technique(label="FlashAttention 3", pattern="full", note="from flash_attn_interface or vLLM"),
    "flashinfer": Technique(label="FlashInfer", pattern="full", note="single-sequence kernels of FlashInfer"),
    "window": Technique(label="sliding window", pattern="window", note="two causal triangles per block, no mask"),
    "window-flex": Technique(label="sliding window, FlexAttention", pattern="window", note="block mask"),
    "sink-window": Technique(label="sink + window", pattern="sink-window", note="StreamingLLM"),
    "sink-window-flex": Technique(label="sink + window, FlexAttention", pattern="sink-window", note="block mask"),
    "block-sparse": Technique(label="top-k blocks", pattern="block-sparse", note="Quest's bound, blocks gathered"),
    "block-sparse-flex": Technique(label="top-k blocks, FlexAttention", pattern="block-sparse", note="blocks of 128"),
    "vertical-slash": Technique(label="vertical-slash", pattern="vertical-slash", note="masked: quality, not speed"),
    "vertical-slash-flex": Technique(
        label="vertical-slash, FlexAttention", pattern="vertical-slash", note="MInference"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionOptions:
    """What techniques are set to."""

    window: int = 4096
    """Positions that a query sees, its own included."""
    n_sinks: int = 4
    """First positions that every query sees beside its window."""
    block: int = 128
    """Tokens of a block of keys that is chosen as one."""
    top_k: int = 32
    """Blocks that a block of queries sees."""
    n_vertical: int = 1024
    n_slash: int = 2048
    chunk: int = 8192
    """Queries at a time."""
    n_splits: int = 16
    """Slices of the keys."""
    page: int = 16
    """Tokens of a page of the cache."""

    def __post_init__(self) -> None:
        positive = ("window", "block", "top_k", "n_vertical", "n_slash", "chunk", "n_splits", "page")
        require_positive(self, *positive)
        if self.n_sinks < 0:
            raise InvalidSpec(f"n_sinks is {self.n_sinks}.", remedy="Give 0 or more.")
        if self.top_k < 3:
            raise InvalidSpec(
                f"top_k is {self.top_k}: the first block and a query's own two blocks need three.",
                remedy="Give 3 or more.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSpec(Spec):
    """Techniques to time over a range of lengths. The same spec on the same machine is the same measurement."""

    experiment: ClassVar[str] = "attention"

    model: str
    """Whose heads are used; weights are not."""
    techniques: tuple[str, ...] = ("flash", "cudnn", "efficient", "query-chunked", "key-split", "window", "sink-window")
    lengths: tuple[int, ...] = (1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
    phases: tuple[str, ...] = ("prefill", "decode")
    window: int = 4096
    n_sinks: int = 4
    block: int = 128
    top_k: int = 32
    n_vertical: int = 1024
    n_slash: int = 2048
    chunk: int = 8192
    n_splits: int = 16
    page: int = 16
    rounds: int = 9
    most_call_s: float = 30.0
    """A technique whose call took longer is not tried at greater lengths."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "rounds", "most_call_s")
        self.options  # checks itself  # noqa: B018
        unknown = [t for t in self.techniques if t not in TECHNIQUES]
        if unknown or not self.techniques:
            raise InvalidSpec(
                f"Unknown techniques: {', '.join(unknown) or 'none given'}.", remedy=f"Use: {', '.join(TECHNIQUES)}."
            )
        if not self.lengths or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in self.lengths):
            raise InvalidSpec(f"Lengths {self.lengths!r}.", remedy="Give numbers of tokens from 1 on.")
        if not self.phases or not set(self.phases) <= {"prefill", "decode"}:
            raise InvalidSpec(f"Phases {self.phases!r}.", remedy="Use prefill, decode or both.")

    @property
    def options(self) -> AttentionOptions:
        """What the techniques are set to."""
        names = AttentionOptions.__dataclass_fields__
        return AttentionOptions(**{name: getattr(self, name) for name in names})
