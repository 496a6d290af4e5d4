"""How fast each precision is where it is used: vLLM's steps by batch and context, and the products inside them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from workbench.core.checkpoints import FORMATS, MIXED, SCHEMES
from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec

FP8_KV = "+fp8-kv"
SERVED = ("bf16", "fp8", "w8a8", "w4a16", "w4a16-asym", MIXED, "bf16+fp8-kv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One precision to serve: a format for all linear layers, the plan, or a checkpoint's folder; and the cache's."""

    text: str
    format: str | None
    """A name in ``FORMATS`` or "mixed"; None for a folder."""
    folder: str | None
    kv_cache_dtype: str

    @classmethod
    def read(cls, text: str) -> "Served":
        """From ``fp8``, ``fp8+fp8-kv`` or a folder."""
        name = text.removesuffix(FP8_KV)
        known = name in FORMATS or name == MIXED
        cache = "fp8" if text.endswith(FP8_KV) else "auto"
        return cls(text=text, format=name if known else None, folder=None if known else name, kv_cache_dtype=cache)

    @property
    def label(self) -> str:
        """What readers see."""
        if self.folder is not None:
            name = SCHEMES[self.folder].label if self.folder in SCHEMES else self.folder.rstrip("/").rsplit("/", 1)[-1]
        else:
            name = {"w4a16-asym": "W4A16 with zero points", MIXED: "mixed"}.get(
                str(self.format), str(self.format).upper()
            )
        return name + (" · FP8 KV" if self.kv_cache_dtype == "fp8" else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSpeedSpec(Spec):
    """Steps of vLLM to time. The same spec on the same machine is the same measurement."""

    experiment: ClassVar[str] = "serving_speed"

    model: str
    served: tuple[str, ...] = SERVED
    """Formats with random weights, or folders of checkpoints; "+fp8-kv" after one stores its cache in FP8."""
    plan: Mapping[str, str] | None = None
    """Formats by layer group or role, for "mixed"."""
    batches: tuple[int, ...] = (1, 8, 32, 64, 128, 256)
    contexts: tuple[int, ...] = (128, 1024, 8192)
    most_tokens: int = 600_000
    """Cells whose prompts have more tokens together are left out."""
    decode_steps: int = 32
    max_num_batched_tokens: int = 8192
    memory_fraction: float = 0.9
    """Of the device's memory that vLLM may take (CUDA)."""
    tensor_parallel: int = 1
    """Devices over which every layer is cut."""
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of ``vllm.LLM``, such as ``{"disable_custom_all_reduce": True}``."""
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(
            self, "decode_steps", "most_tokens", "max_num_batched_tokens", "memory_fraction", "tensor_parallel"
        )
        for name in ("batches", "contexts"):
            values = getattr(self, name)
            if not values or any(v < 1 for v in values):
                raise InvalidSpec(f"{name} are {values!r}.", remedy="Give numbers from 1 on.")
        if not self.served:
            raise InvalidSpec("Nothing to serve was chosen.", remedy=f"Choose from: {', '.join(SERVED)}; or folders.")
        if any(Served.read(s).format == MIXED for s in self.served) and not self.plan:
            raise InvalidSpec(
                '"mixed" needs a plan.', remedy='Give one, such as {"qkv": "fp8", "gate_up": "w4a16"}, or leave it out.'
            )

    @property
    def cells(self) -> list[tuple[int, int]]:
        """Batch and context of each measurement."""
        return [(b, c) for c in self.contexts for b in self.batches if b * c <= self.most_tokens]


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmSpec(Spec):
    """Products of a model's linear layers to time. The same spec on the same machine is the same measurement."""

    experiment: ClassVar[str] = "gemm"

    model: str
    formats: tuple[str, ...] = ("bf16", "w8a16", "w8a8", "fp8", "w4a16", "w4a16-asym")
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
    """Rows of the input: tokens that are worked on together."""
    rounds: int = 15
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "rounds")
        unknown = [f for f in self.formats if f not in FORMATS]
        if unknown or not self.formats:
            raise InvalidSpec(f"Unknown formats: {', '.join(unknown)}.", remedy=f"Choose from: {', '.join(FORMATS)}.")
        if not self.batches or any(b < 1 for b in self.batches):
            raise InvalidSpec(f"Batches {self.batches!r}.", remedy="Give batch sizes from 1 on.")
