"""How long a context fits, and how fast it is read and continued: the question; and attention over several devices."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec

CACHES = ("roomy", "dynamic", "static", "sliding", "offloaded", "quantized")
DEFAULT_CHUNK = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedVariant:
    """Settings of vLLM for long prompts."""

    text: str
    kv_cache_dtype: str
    chunk_tokens: int

    @classmethod
    def read(cls, text: str) -> "ServedVariant":
        """From ``default``, ``fp8-kv`` or ``chunk:2048``; raises ``InvalidSpec`` for anything else."""
        if text == "default":
            return cls(text=text, kv_cache_dtype="auto", chunk_tokens=DEFAULT_CHUNK)
        if text == "fp8-kv":
            return cls(text=text, kv_cache_dtype="fp8", chunk_tokens=DEFAULT_CHUNK)
        name, _, value = text.partition(":")
        if name == "chunk" and value.isdigit() and int(value):
            return cls(text=text, kv_cache_dtype="auto", chunk_tokens=int(value))
        raise InvalidSpec(f"Unknown setting {text!r} for vLLM.", remedy="Use default, fp8-kv or chunk:TOKENS.")

    @property
    def label(self) -> str:
        """What readers see."""
        cache = "FP8 cache" if self.kv_cache_dtype == "fp8" else "16-bit cache"
        return f"vLLM, {cache}, chunks of {self.chunk_tokens}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LongContextSpec(Spec):
    """Contexts to read and continue. The same spec on the same machine is the same measurement."""

    experiment: ClassVar[str] = "long_context"

    model: str
    lengths: tuple[int, ...] = (1024, 4096, 16384, 65536, 130048)
    chunks: tuple[int, ...] = (2048, 8192)
    """Tokens of a prompt that are read together (PyTorch)."""
    decode_steps: int = 12
    caches: tuple[str, ...] = CACHES
    """Caches of transformers to compare at ``cache_tokens``."""
    cache_tokens: int = 4096
    search: bool = True
    """Find the longest context that fits (needs a GPU: a processor's memory has no hard end)."""
    search_chunk: int = 2048
    served: tuple[str, ...] = ()
    """Settings of vLLM to measure too."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    memory_fraction: float = 0.9
    """Of the device's memory that vLLM may take."""
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "decode_steps", "cache_tokens", "search_chunk", "memory_fraction")
        for name in ("lengths", "chunks"):
            values = getattr(self, name)
            if not values or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in values):
                raise InvalidSpec(f"{name} are {values!r}.", remedy="Give numbers of tokens from 1 on.")
        unknown = [c for c in self.caches if c not in CACHES]
        if unknown:
            raise InvalidSpec(f"Unknown caches: {', '.join(unknown)}.", remedy=f"Use: {', '.join(CACHES)}.")
        for text in self.served:
            ServedVariant.read(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class RingSpec(Spec):
    """One sequence over several devices. The same spec on the same machine is the same measurement."""

    experiment: ClassVar[str] = "ring_attention"

    model: str
    """Whose heads are used; weights are not."""
    lengths: tuple[int, ...] = (262144, 65536)
    worlds: tuple[int, ...] = (1, 2)
    """Devices, or processes on a CPU."""
    rounds: int = 7
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "rounds")
        if not self.worlds or any(w < 1 for w in self.worlds):
            raise InvalidSpec(f"Devices {self.worlds!r}.", remedy="Give numbers from 1 on.")
        bad = [n for n in self.lengths if n < 1 or any(n % (2 * w) for w in self.worlds)]
        if bad or not self.lengths:
            raise InvalidSpec(
                f"Lengths {self.lengths!r}.", remedy="Give numbers that can be divided by twice the number of devices."
            )
