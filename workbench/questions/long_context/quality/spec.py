"""What can be asked of quality: which facts are hidden in which texts, and under which attention and caches."""

from dataclasses import dataclass, field
from typing import ClassVar

from workbench.catalog.attention_techniques import AttentionOptions
from workbench.catalog.formats import KV, KV_FORMATS
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import OFFERED_MODELS
from workbench.core.checks import require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, Seed, advanced, knob, needed
from workbench.core.language import gettext, gettext_noop
from workbench.core.specs import Spec
from workbench.estimate.context_limit import require_within_context
from workbench.questions.long_context.quality.retrieval import TASKS
from workbench.questions.long_context.spec import Lengths

FULL, SERVED = "full", "served"
QUALITY_BLOCK = 64
"""Tokens of a block of keys in the quality simulation of block-sparse attention."""


LABELS = {
    FULL: gettext_noop("full attention"),
    KV: gettext_noop("{number} cache, scale per {shared}"),
    "window": gettext_noop("window {window}"),
    "sink-window": gettext_noop("{sinks} sinks + window {window}"),
    "block-sparse": gettext_noop("top {top} blocks of {block}"),
    "vertical-slash": gettext_noop("{columns} columns + {diagonals} diagonals"),
    SERVED: gettext_noop("server"),
}
"""What readers see of a variant, by technique."""
SETTINGS = {
    "window": ("window",),
    "sink-window": ("window",),
    "block-sparse": ("top_k",),
    "vertical-slash": ("n_vertical", "n_slash"),
}
"""Options of attention that the number after a technique's name sets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to run the model: an attention technique with its setting, or a cache format."""

    text: str
    technique: str = FULL
    """A name in ``TECHNIQUES``, or "full": the fastest that the device has."""
    options: AttentionOptions = field(default_factory=AttentionOptions)
    kv_format: str | None = None

    @classmethod
    def read(cls, text: str) -> "Variant":
        """Return the variant of ``full``, ``window:1024``, ``block-sparse:16``, ``kv:int8-token`` and the like.

        Raises ``InvalidSpec`` for anything else.
        """
        if text == FULL:
            return cls(text=text)
        if text.startswith(KV):
            if text.removeprefix(KV) not in KV_FORMATS:
                raise InvalidSpec(
                    gettext("Unknown cache format {text}.").format(text=repr(text)),
                    remedy=gettext("Use: {names}.").format(names=", ".join(KV_FORMATS)),
                )
            return cls(text=text, kv_format=text.removeprefix(KV))
        name, _, value = text.partition(":")
        if name not in SETTINGS or not value.lstrip("-").isdigit():
            raise InvalidSpec(
                gettext("Unknown variant {text}.").format(text=repr(text)),
                remedy=gettext(
                    "Use full, window:TOKENS, sink-window:TOKENS, block-sparse:BLOCKS, vertical-slash:LINES or kv:FORMAT."
                ),
            )
        chosen = dict.fromkeys(SETTINGS[name], int(value))
        return cls(text=text, technique=name, options=AttentionOptions(block=QUALITY_BLOCK, **chosen))

    @property
    def label(self) -> str:
        """Return the name of the variant that readers see."""
        if self.kv_format:
            number, _, shared = self.kv_format.partition("-")
            return LABELS[KV].format(number=number.upper(), shared=shared)
        o = self.options
        return LABELS[self.technique].format(
            window=o.window,
            sinks=o.n_sinks,
            top=o.top_k,
            block=o.block,
            columns=o.n_vertical,
            diagonals=o.n_slash,
        )


SPARSE = ("window:1024", "sink-window:1024", "block-sparse:16", "vertical-slash:256")
VARIANTS = (FULL, *SPARSE, "kv:int8-token", "kv:int4-token", "kv:int4-head")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextQualitySpec(Spec):
    """Questions about long texts, asked under several variants. The same spec is the same measurement."""

    kind: ClassVar[str] = "context_quality"
    command: ClassVar[str] = "context-quality"

    model: str = needed(
        "Model",
        "Folder of the model; where a server is asked, of its tokenizer.",
        suggestions=OFFERED_MODELS,
        is_argument=True,
    )
    variants: tuple[str, ...] = knob(
        (FULL, "window:1024", "kv:int8-token", "kv:int4-head"),
        "Attention and KV caches",
        "Variants to measure: full, window:TOKENS, sink-window:TOKENS, block-sparse:BLOCKS, "
        "vertical-slash:LINES or kv:FORMAT.",
        choices={text: Variant.read(text).label for text in VARIANTS},
        suggestions=("window:256",),
    )
    tasks: tuple[str, ...] = advanced(
        ("single", "multi-key"),
        "Tasks",
        "Tasks whose questions are asked about the texts.",
        choices={t: t for t in TASKS},
    )
    lengths: Lengths = (512, 1024, 2048)
    n_depths: int = advanced(
        5, "Depths", "Depths in the text at which a fact is hidden.", low=1, high=100, option="depths"
    )
    n_per_cell: int = advanced(
        10, "Questions per cell", "Questions for each task, length and depth.", low=1, option="per-cell"
    )
    n_windows: int = advanced(
        2,
        "Windows of text",
        "Windows of text for perplexity and KL divergence; 0 leaves both out.",
        low=0,
        option="windows",
    )
    window_tokens: int = advanced(2048, "Window length", "Tokens of each window of text.", unit="tokens", low=1)
    text: str | None = advanced(
        None, "Text", "UTF-8 file in which the facts are hidden; the reference model's text if left out.", is_path=True
    )
    url: str | None = knob(None, "Server URL", "URL of a server that answers instead of a local model.")
    served_model: str | None = advanced(
        None, "Served model", "Name of the model on the server; the first that it lists if left out."
    )
    device: DeviceChoice = "auto"
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(self, "n_depths", "n_per_cell", "window_tokens")
        if self.n_windows < 0:
            raise InvalidSpec(gettext("n_windows is {n}.").format(n=self.n_windows), remedy=gettext("Give 0 or more."))
        require_known(gettext("tasks"), self.tasks, TASKS)
        if not self.lengths or any(n < 128 for n in self.lengths):
            raise InvalidSpec(
                gettext("Lengths {values}.").format(values=repr(self.lengths)),
                remedy=gettext("Give numbers of tokens from 128 on."),
            )
        for variant in self.variants:
            Variant.read(variant)
        if self.url is None and FULL not in self.variants:
            raise InvalidSpec(
                gettext("Variants are compared with full attention."), remedy=gettext('Add "full" to them.')
            )


def check_lengths(spec: ContextQualitySpec) -> None:
    """Raise ``InvalidSpec`` when a text would be longer than the model can read, and ``NotAModel`` where there is none."""
    model = model_spec_from(spec.model)
    if not spec.url:
        require_within_context(model, max((*spec.lengths, spec.window_tokens if spec.n_windows else 0)))
