"""What can be asked of vLLM's steps: their time by precision, batch and context."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from workbench.calibrate.gemm.spec import ShapeFolder
from workbench.catalog.formats import MIXED
from workbench.catalog.served import SERVED, Served
from workbench.core.checks import require_each, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import Seed, advanced, knob
from workbench.core.language import gettext
from workbench.core.rows import Json
from workbench.core.specs import Spec

OFFERED = (*SERVED, "fp8+fp8-kv")
FASTEST_MIX = {"qkv": "fp8", "o_proj": "fp8", "gate_up": "w4a16", "down_proj": "fp8"}
"""The fastest format of each product at small batches on an H200 (``gemm`` run that ships)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSpeedSpec(Spec):
    """Steps of vLLM to time."""

    kind: ClassVar[str] = "serving_speed"
    command: ClassVar[str] = "serving-speed"

    model: ShapeFolder
    served: tuple[str, ...] = knob(
        SERVED,
        "Precisions",
        'Formats with random weights, or folders of checkpoints; "+fp8-kv" after one stores its cache in FP8.',
        choices={s: Served.read(s).label for s in OFFERED},
        suggestions=("checkpoints/stdlib-9m-gptq-w4a16",),
    )
    plan: Mapping[str, str] | None = advanced(
        FASTEST_MIX,
        "Plan of mixed (JSON, or a file with it)",
        'Format of each layer group or role when "mixed" is served.',
    )
    batches: tuple[int, ...] = advanced(
        (1, 8, 32, 64, 128, 256), "Decode batch sizes", "Numbers of sequences that are decoded together."
    )
    contexts: tuple[int, ...] = advanced((128, 1024, 8192), "Context lengths", "Tokens of each prompt.", unit="tokens")
    most_tokens: int = advanced(
        600_000, "Largest cell", "Cells whose prompts have more tokens together are left out.", unit="tokens", low=1
    )
    decode_steps: int = advanced(32, "Timed decode steps", "Decode steps that are timed in each cell.", low=1)
    max_num_batched_tokens: int = advanced(
        8192, "Tokens of a step", "Most tokens that vLLM works on in one step (max_num_batched_tokens).", low=1
    )
    memory_fraction: float = advanced(
        0.9,
        "Device memory for vLLM",
        "Share of the device's memory that vLLM may take, from 0 to 1 (CUDA).",
        low=0.05,
        high=1,
    )
    tensor_parallel: int = advanced(1, "Tensor-parallel size", "Devices over which every layer is cut.", low=1, high=64)
    engine_options: Mapping[str, Json] = field(default_factory=dict)
    """Further arguments of ``vllm.LLM``, such as ``{"disable_custom_all_reduce": True}``."""
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(
            self, "decode_steps", "most_tokens", "max_num_batched_tokens", "memory_fraction", "tensor_parallel"
        )
        require_each(self, "batches", "contexts")
        if not self.served:
            raise InvalidSpec(
                gettext("Nothing to serve was chosen."),
                remedy=gettext("Choose from: {names}; or folders.").format(names=", ".join(SERVED)),
            )
        if any(Served.read(s).format == MIXED for s in self.served) and not self.plan:
            raise InvalidSpec(
                gettext('"mixed" needs a plan.'),
                remedy=gettext('Give one, such as {"qkv": "fp8", "gate_up": "w4a16"}, or leave it out.'),
            )

    @property
    def cells(self) -> list[tuple[int, int]]:
        """Batch and context of each measurement."""
        return [(b, c) for c in self.contexts for b in self.batches if b * c <= self.most_tokens]
