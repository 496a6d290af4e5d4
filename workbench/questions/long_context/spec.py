"""What can be asked of long contexts: which lengths are measured here, and what a server elsewhere would hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from workbench.catalog.paths import OFFERED_MODELS
from workbench.core.checks import require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, Knob, Seed, advanced, knob, needed
from workbench.core.language import gettext, gettext_noop
from workbench.core.specs import Spec

CACHES: dict[str, str] = {
    "preallocated": "preallocated",
    "dynamic": "dynamic",
    "static": "static",
    "sliding": "sliding window",
    "offloaded": "offloaded",
    "quantized": "quantized",
}
WIDE_CACHE = gettext_noop("vLLM, 16-bit cache, chunks of {n}")
FP8_CACHE = gettext_noop("vLLM, FP8 cache, chunks of {n}")
PRECISIONS: dict[str, tuple[float, float]] = {
    gettext_noop("BF16 weights, BF16 cache"): (16.0, 16.0),
    gettext_noop("BF16 weights, FP8 cache"): (16.0, 8.0),
    gettext_noop("FP8 weights, BF16 cache"): (8.0, 16.0),
    gettext_noop("FP8 weights, FP8 cache"): (8.0, 8.0),
    gettext_noop("INT4 weights, BF16 cache"): (4.25, 16.0),
    gettext_noop("INT4 weights, FP8 cache"): (4.25, 8.0),
}
"""Bits of weights (INT4 with a scale for each 64) and of the cache."""
DEFAULT_CHUNK = 8192
DEFAULT_CACHE_TOKENS = 4096
LADDER = (1024, 4096, 16384, 65536)
LONGEST = 131072
"""Longest length where neither the reader nor the model names one."""
CONTINUED = 64
"""Tokens below the model's limit that are left for the answer."""

HeadsOf = Annotated[
    str,
    Knob("Model", "Folder of the model whose attention heads are used.", suggestions=OFFERED_MODELS, is_argument=True),
]
Lengths = Annotated[tuple[int, ...], Knob("Context lengths", "Context lengths that are measured.", unit="tokens")]
Rounds = Annotated[
    int, Knob("Rounds", "Timed calls of each cell; more calls narrow the interval.", low=1, high=1000, is_advanced=True)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedVariant:
    """Settings of vLLM for long prompts."""

    text: str
    kv_cache_dtype: str = "auto"
    chunk_tokens: int = DEFAULT_CHUNK

    @classmethod
    def read(cls, text: str) -> "ServedVariant":
        """Return the settings of ``default``, ``fp8-kv`` or ``chunk:2048``; raises ``InvalidSpec`` for anything else."""
        if text in {"default", "fp8-kv"}:
            return cls(text=text, kv_cache_dtype="fp8" if text == "fp8-kv" else "auto")
        name, _, value = text.partition(":")
        if name == "chunk" and value.isdigit() and int(value):
            return cls(text=text, chunk_tokens=int(value))
        raise InvalidSpec(
            gettext("Unknown setting {text} for vLLM.").format(text=repr(text)),
            remedy=gettext("Use default, fp8-kv or chunk:TOKENS."),
        )

    @property
    def label(self) -> str:
        """Return the name of the variant that readers see."""
        return (FP8_CACHE if self.kv_cache_dtype == "fp8" else WIDE_CACHE).format(n=self.chunk_tokens)


def require_tokens(what: str, values: Sequence[int]) -> None:
    """Raise ``InvalidSpec``, which says ``what`` the ``{values}`` are, unless there are numbers of tokens, each a whole number from 1 on."""
    if not values or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in values):
        raise InvalidSpec(what.format(values=repr(values)), remedy=gettext("Give numbers of tokens from 1 on."))


def lengths_up_to(longest: int) -> tuple[int, ...]:
    """Return lengths to measure, the last of them the longest."""
    return (*(n for n in LADDER if n < longest), longest)


@dataclass(frozen=True, slots=True, kw_only=True)
class LongContextSpec(Spec):
    """Contexts whose prefill and decode are measured. The same spec on the same machine is the same measurement."""

    kind: ClassVar[str] = "long_context"
    command: ClassVar[str] = "long-context"

    model: str = needed(
        "Model",
        "Folder of the model to measure; a model that is only in the catalogue can be planned.",
        suggestions=tuple(reversed(OFFERED_MODELS)),
        is_argument=True,
    )
    lengths: tuple[int, ...] = knob(
        (),
        "Lengths to measure",
        "Context lengths that are measured; up to the model's limit if left out.",
        unit="tokens",
    )
    chunks: tuple[int, ...] = advanced(
        (2048, 8192),
        "Prefill chunks",
        "Tokens of a prompt that one prefill step processes; each size is measured.",
        unit="tokens",
    )
    decode_steps: int = advanced(12, "Decode steps", "Tokens that are generated after each prompt.", low=1, high=10_000)
    caches: tuple[str, ...] = advanced(
        tuple(CACHES), "KV caches", "KV caches of transformers that are compared.", choices=CACHES
    )
    cache_tokens: int = advanced(
        DEFAULT_CACHE_TOKENS,
        "Context for KV caches",
        "Context length at which the KV caches are compared; a model for fewer tokens is measured at its own limit.",
        unit="tokens",
        low=1,
    )
    search: bool = advanced(
        True, "Search for the longest context", "Search for the longest context that fits in memory; needs a GPU."
    )
    """A processor's memory has no hard end."""
    search_chunk: int = advanced(
        2048,
        "Prefill chunk of the search",
        "Tokens that each prefill step of the search processes.",
        unit="tokens",
        low=1,
    )
    served: tuple[str, ...] = advanced(
        (),
        "vLLM variants",
        "Variants of vLLM that are measured too: default, fp8-kv, or chunk:TOKENS for the prefill chunk.",
        choices={"default": "default", "fp8-kv": "FP8 cache"},
        suggestions=("chunk:2048",),
    )
    device: DeviceChoice = "auto"
    memory_fraction: float = advanced(
        0.9, "Memory for vLLM", "Share of the device memory that vLLM may use, from 0 to 1.", low=0.05, high=1
    )
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(self, "decode_steps", "cache_tokens", "search_chunk", "memory_fraction")
        require_tokens(gettext("lengths are {values}."), self.lengths or (1,))
        require_tokens(gettext("chunks are {values}."), self.chunks)
        require_known(gettext("caches"), self.caches or CACHES, CACHES)
        for text in self.served:
            ServedVariant.read(text)

    def cache_tokens_for(self, limit_tokens: int | None) -> int:
        """Return the length at which caches are compared in a model with this limit, which leaves room for the steps."""
        room = (limit_tokens or LONGEST) - self.decode_steps
        return min(self.cache_tokens, room) if room > 0 else self.cache_tokens

    def lengths_for(self, limit_tokens: int | None) -> tuple[int, ...]:
        """Return the lengths to measure in a model with this limit, shortest first."""
        return tuple(sorted(set(self.lengths))) or lengths_up_to(
            max(1, (limit_tokens or LONGEST) - max(CONTINUED, self.decode_steps))
        )


@dataclass(frozen=True, kw_only=True)  # without slots, so that a panel's state can inherit it
class ServingCase:
    """What a server of some device would hold."""

    planned_device: str = knob("h200-sxm", "Device to serve on", "Device for which the memory is planned.")
    n_devices: Literal[1, 2, 4, 8] = knob(1, "Tensor parallel size", "Devices that the weights are split over.")
    precision: str = knob(
        "BF16 weights, BF16 cache",
        "Precision",
        "Number formats of weights and KV cache.",
        choices={name: gettext(name) for name in PRECISIONS},
    )
    context_tokens: int = knob(
        LONGEST, "Context length", "Prompt and output tokens of each sequence.", unit="tokens", low=1, high=100_000_000
    )
    batch: int = knob(
        1, "Concurrent sequences", "Sequences whose KV cache is in memory at the same time.", low=1, high=100_000
    )

    @property
    def bits(self) -> tuple[float, float]:
        """Return the bits of weights and of the cache."""
        return PRECISIONS[self.precision]
