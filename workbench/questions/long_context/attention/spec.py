"""What can be asked of attention: techniques, lengths and what the techniques are set to."""

from dataclasses import dataclass, fields
from typing import ClassVar

from workbench.catalog.attention_techniques import TECHNIQUES, AttentionOptions
from workbench.core.checks import require_known, require_positive
from workbench.core.knobs import DeviceChoice, Seed, advanced
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.questions.long_context.spec import HeadsOf, Lengths, Rounds, require_tokens

PHASES = {"prefill": gettext("prefill"), "decode": gettext("decode")}
TECHNIQUE_LABELS = {name: technique.label for name, technique in TECHNIQUES.items()}
TECHNIQUE_NOTES = {
    "flash": gettext("PyTorch's FlashAttention 2"),
    "cudnn": gettext("NVIDIA's kernel for Hopper and later"),
    "efficient": gettext("memory-efficient attention of xFormers"),
    "math": gettext("written out, all scores in memory"),
    "query-chunked": gettext("as chunked prefill reads a prompt"),
    "key-split": gettext("slices of the keys merged by log-sum-exp"),
    "paged-gather": gettext("pages copied together first"),
    "paged-flex": gettext("straight on the pages"),
    "varlen": gettext("torch.nn.attention.varlen, packed sequences"),
    "fa3": gettext("from flash_attn_interface or vLLM"),
    "flashinfer": gettext("single-sequence kernels of FlashInfer"),
    "window": gettext("two causal triangles per block, no mask"),
    "window-flex": gettext("block mask"),
    "sink-window": gettext("StreamingLLM"),
    "sink-window-flex": gettext("block mask"),
    "block-sparse": gettext("Quest's bound, blocks gathered"),
    "block-sparse-flex": gettext("blocks of 128"),
    "vertical-slash": gettext("masked: quality, not speed"),
    "vertical-slash-flex": gettext("MInference"),
}
"""What a technique is, shown when one points at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSpec(AttentionOptions, Spec):
    """Techniques to time over a range of lengths. The same spec on the same machine is the same measurement."""

    kind: ClassVar[str] = "attention"
    command: ClassVar[str] = "attention"

    model: HeadsOf
    techniques: tuple[str, ...] = advanced(
        ("flash", "cudnn", "efficient", "query-chunked", "key-split", "window", "sink-window"),
        "Techniques to measure",
        "Attention techniques to time; one that this machine lacks becomes a row with the reason.",
        choices=TECHNIQUE_LABELS,
    )
    lengths: Lengths = (1024, 4096, 16384)
    phases: tuple[str, ...] = advanced(
        tuple(PHASES), "Phases", "Phases of inference that are measured.", choices=PHASES
    )
    rounds: Rounds = 9
    most_call_s: float = advanced(
        30.0, "Longest call", "A technique with a longer call is left out at greater lengths.", unit="s", low=0.001
    )
    device: DeviceChoice = "auto"
    seed: Seed = 0

    def __post_init__(self) -> None:
        AttentionOptions.__post_init__(self)
        require_positive(self, "rounds", "most_call_s")
        require_known(gettext("techniques"), self.techniques, TECHNIQUES)
        require_tokens(gettext("Lengths {values}."), self.lengths)
        require_known(gettext("phases"), self.phases, PHASES)

    @property
    def options(self) -> AttentionOptions:
        """Return what the techniques are set to."""
        return AttentionOptions(**{f.name: getattr(self, f.name) for f in fields(AttentionOptions)})
