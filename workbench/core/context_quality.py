"""Does a model still find things in a long text: the question."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from workbench.core.attention import AttentionOptions
from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.evaluation import KV, KV_FORMATS
from workbench.core.retrieval import TASKS
from workbench.core.specs import Spec

FULL, SERVED = "full", "served"
QUALITY_BLOCK = 64
"""Tokens of a block of keys in the quality simulation of block-sparse attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to run the model: an attention technique with its setting, or a cache format."""

    text: str
    technique: str
    """A name in ``TECHNIQUES``, or "full": the fastest that the device has."""
    options: AttentionOptions
    kv_format: str | None

    @classmethod
    def read(cls, text: str) -> "Variant":
        """From ``full``, ``window:1024``, ``block-sparse:16``, ``kv:int8-token`` and the like.

        Raises ``InvalidSpec`` for anything else.
        """
        if text.startswith(KV):
            if text.removeprefix(KV) not in KV_FORMATS:
                raise InvalidSpec(f"Unknown cache format {text!r}.", remedy=f"Use: {', '.join(KV_FORMATS)}.")
            return cls(text=text, technique=FULL, options=AttentionOptions(), kv_format=text.removeprefix(KV))
        if text == FULL:
            return cls(text=text, technique=FULL, options=AttentionOptions(), kv_format=None)
        name, _, value = text.partition(":")
        settings = {
            "window": "window",
            "sink-window": "window",
            "block-sparse": "top_k",
            "vertical-slash": "n_vertical",
        }
        if name not in settings or not value.lstrip("-").isdigit():
            raise InvalidSpec(
                f"Unknown variant {text!r}.",
                remedy="Use full, window:TOKENS, sink-window:TOKENS, block-sparse:BLOCKS, vertical-slash:LINES or kv:FORMAT.",
            )
        chosen = {settings[name]: int(value)}
        if name == "vertical-slash":
            chosen["n_slash"] = int(value)
        return cls(
            text=text,
            technique=name,
            options=AttentionOptions(block=QUALITY_BLOCK, **chosen),
            kv_format=None,
        )

    @property
    def label(self) -> str:
        """What readers see."""
        if self.kv_format:
            number, _, shared = self.kv_format.partition("-")
            return f"{number.upper()} cache, scale per {shared}"
        names = {
            FULL: "full attention",
            "window": f"window {self.options.window}",
            "sink-window": f"{self.options.n_sinks} sinks + window {self.options.window}",
            "block-sparse": f"top {self.options.top_k} blocks of {self.options.block}",
            "vertical-slash": f"{self.options.n_vertical} columns + {self.options.n_slash} diagonals",
        }
        return names[self.technique]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextQualitySpec(Spec):
    """Questions about long texts, asked under several variants. The same spec is the same measurement."""

    experiment: ClassVar[str] = "context_quality"

    model: str
    """Folder of the model; where ``url`` is given, of its tokenizer."""
    variants: tuple[str, ...] = (
        FULL,
        "window:1024",
        "sink-window:1024",
        "block-sparse:16",
        "vertical-slash:256",
        "kv:int8-token",
        "kv:int4-token",
        "kv:int4-head",
    )
    tasks: tuple[str, ...] = TASKS
    lengths: tuple[int, ...] = (512, 1024, 2048, 4096, 8192)
    n_depths: int = 5
    n_per_cell: int = 20
    """Questions of each task, length and depth."""
    n_windows: int = 4
    """Windows of text for perplexity and divergence by position; 0 leaves them out."""
    window_tokens: int = 4096
    text: str | None = None
    """UTF-8 file of the text around; None is the held-out text of the reference model."""
    url: str | None = None
    """A server to ask instead of loading the model."""
    served_model: str | None = None
    """Its name there; None takes the first that the server lists."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "n_depths", "n_per_cell", "window_tokens")
        if self.n_windows < 0:
            raise InvalidSpec(f"n_windows is {self.n_windows}.", remedy="Give 0 or more.")
        unknown = [t for t in self.tasks if t not in TASKS]
        if unknown or not self.tasks:
            raise InvalidSpec(
                f"Unknown tasks: {', '.join(unknown) or 'none given'}.", remedy=f"Use: {', '.join(TASKS)}."
            )
        if not self.lengths or any(n < 128 for n in self.lengths):
            raise InvalidSpec(f"Lengths {self.lengths!r}.", remedy="Give numbers of tokens from 128 on.")
        for variant in self.variants:
            Variant.read(variant)
        if self.url is None and FULL not in self.variants:
            raise InvalidSpec("Variants are compared with full attention.", remedy='Add "full" to them.')
