"""What can be asked of speculative decoding: a model, what drafts for it, and the texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import REFERENCE_MODEL_PLACE, located
from workbench.core.checks import require_each, require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, Seed, advanced, knob
from workbench.core.language import gettext, gettext_noop, ngettext
from workbench.core.specs import Spec

DRAFT_PLACE = "data/models/stdlib-draft"
METHODS = {"ngram": "n-gram lookup", "draft": "draft model"}
OWN = "own"
CLASSES = {
    "code": gettext_noop("code"),
    "prose": "documentation",
    "chat": gettext_noop("chat"),
    "random": "random tokens",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeculationSpec(Spec):
    """Drafts for a model, measured on texts and batch sizes. The same spec on the same machine is the same measurement."""

    kind: ClassVar[str] = "speculation"
    command: ClassVar[str] = "speculation"

    model: str = knob(
        REFERENCE_MODEL_PLACE,
        "Model",
        "Folder of a causal language model with weights.",
        suggestions=(REFERENCE_MODEL_PLACE,),
        is_argument=True,
    )
    methods: tuple[str, ...] = knob(
        tuple(METHODS), "Methods", "What guesses the next tokens, which the model then verifies.", choices=METHODS
    )
    draft_model: str = knob(
        DRAFT_PLACE, "Draft model", "Folder of a smaller model with the same tokenizer.", suggestions=(DRAFT_PLACE,)
    )
    text: str | None = knob(
        None, "Own text", "UTF-8 file with text of your own load; speed is then measured on it.", is_path=True
    )
    classes: tuple[str, ...] = knob(
        tuple(CLASSES),
        "Kinds of text",
        "Kinds of text on which acceptance is measured; speed is measured on the first where no own text is given.",
        choices=CLASSES,
    )
    draft_tokens: tuple[int, ...] = knob(
        (1, 2, 4), "Draft tokens", "Numbers of draft tokens in a step.", unit="tokens", low=1, high=16
    )
    batches: tuple[int, ...] = knob(
        (1, 4, 16, 64), "Batch sizes", "Sequences that are decoded together.", low=1, high=1024
    )
    n_texts: int = advanced(
        64, "Texts of each kind", "Most texts of each kind; fewer where it is short.", low=2, high=4096, option="texts"
    )
    prompt_tokens: int = advanced(
        64, "Prompt tokens", "Tokens of each text that are read before the answer.", unit="tokens", low=8, high=100_000
    )
    steps: int = advanced(
        32, "Steps", "Steps in which each answer is written, with one token or more each.", low=4, high=10_000
    )
    rounds: int = advanced(
        5, "Rounds", "Times that everything is timed, one after the other, in an order drawn anew.", low=3, high=1000
    )
    shortest: int = advanced(
        2, "Shortest run", "Least tokens that n-gram lookup must find again; vLLM's prompt_lookup_min.", low=1, high=16
    )
    longest: int = advanced(
        5, "Longest run", "Most tokens that n-gram lookup looks for; vLLM's prompt_lookup_max.", low=1, high=32
    )
    device: DeviceChoice = "auto"
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_known(gettext("methods"), self.methods, METHODS)
        require_known(gettext("kinds of text"), self.classes, CLASSES)
        require_each(self, "draft_tokens", "batches")
        require_positive(self, "n_texts", "prompt_tokens", "steps", "rounds", "shortest")
        if self.prompt_tokens < max(8, *self.draft_tokens):
            raise InvalidSpec(
                gettext("Prompts of {n} tokens.").format(n=self.prompt_tokens),
                remedy=gettext("Give 8 or more, and as many as draft tokens."),
            )
        if self.longest < self.shortest:
            raise InvalidSpec(
                gettext("The longest run has {longest} tokens and the shortest {shortest}.").format(
                    longest=self.longest, shortest=self.shortest
                ),
                remedy=gettext("Give a longest run that is not shorter."),
            )
        if max(self.batches) > self.n_texts:
            raise InvalidSpec(
                gettext("A batch of {batch} sequences needs as many texts; {n} are allowed.").format(
                    batch=max(self.batches), n=self.n_texts
                ),
                remedy=gettext("Allow more texts, or give smaller batches."),
            )

    @property
    def timed_class(self) -> str:
        """Return the kind of text on which speed is measured."""
        return OWN if self.text else self.classes[0]


def label(method: str, draft_tokens: int) -> str:
    """Return what readers call a method with its number of draft tokens."""
    return ngettext("{method}, {n} draft token", "{method}, {n} draft tokens", draft_tokens).format(
        method=gettext(METHODS[method]), n=draft_tokens
    )


def check_models(spec: SpeculationSpec) -> None:
    """Raise ``NotAModel`` for a model or a draft model that cannot be read, and ``InvalidSpec`` for one without weights."""
    for place in (spec.model, *((spec.draft_model,) if "draft" in spec.methods else ())):
        model_spec_from(place)
        folder = Path(located(place))
        if folder.is_dir() and not any(f.suffix in {".safetensors", ".bin"} for f in folder.iterdir()):
            raise InvalidSpec(
                gettext("{place} has no weights, so that no acceptance can be measured.").format(place=place),
                remedy=gettext(
                    "Name a folder with weights, or use `workbench speculation-estimate` with an acceptance rate."
                ),
            )
