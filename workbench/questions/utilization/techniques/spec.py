"""What may raise the use of a device, and how each technique is compared with going without it."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.catalog.paths import OFFERED_MODELS, REFERENCE_MODEL_PLACE
from workbench.core.checks import require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, RandomWeights, Seed, knob
from workbench.core.language import gettext, gettext_noop
from workbench.core.specs import Spec

TECHNIQUES: dict[str, str] = {
    "batching": gettext_noop("dynamic batching"),
    "overlap": gettext_noop("asynchronous preparation"),
    "fusion": gettext_noop("operator fusion (torch.compile)"),
    "graphs": gettext_noop("CUDA graphs"),
    "pool": gettext_noop("pool of cache blocks"),
    "precision": gettext_noop("mixed precision (bfloat16)"),
}
COMPARISONS: dict[str, str] = {
    "batching": gettext_noop("tokens per second: {n} sequences in a step, against one"),
    "overlap": gettext_noop(
        "requests per second: the next one is tokenized during the prefill of another, against one after the other"
    ),
    "fusion": gettext_noop("decode steps per second: compiled, against eager"),
    "graphs": gettext_noop("decode steps per second: compiled and replayed as a graph, against eager"),
    "pool": gettext_noop(
        "share of the cache that holds no token: pieces for {longest} tokens each, against blocks of {block}"
    ),
    "precision": gettext_noop("tokens per second of {n} sequences: bfloat16, against float32"),
}
"""What is compared with what for each technique."""
EARLIER_COMPARISONS = (
    gettext_noop("decoding steps per second: compiled, against eager"),
    gettext_noop("decoding steps per second: compiled and replayed as a graph, against eager"),
    gettext_noop("requests per second: the next is tokenized while one is read, against one after the other"),
)
"""As stored runs of earlier versions say it."""
STEPS = (
    gettext_noop("a token for one sequence"),
    gettext_noop("a token for {n} sequences"),
    gettext_noop("prefill of a prompt"),
)
"""Steps whose time is profiled."""
GRAPHS_NEED = gettext_noop("CUDA graphs need an NVIDIA GPU")


@dataclass(frozen=True, slots=True, kw_only=True)
class TechniquesSpec(Spec):
    """Steps of a model with and without each technique, interleaved, and a profile of where their time goes."""

    kind: ClassVar[str] = "techniques"
    command: ClassVar[str] = "techniques"

    model: str = knob(
        REFERENCE_MODEL_PLACE,
        "Model",
        "Folder of a causal language model, or of a configuration that gets random weights.",
        suggestions=OFFERED_MODELS,
        is_argument=True,
    )
    techniques: tuple[str, ...] = knob(
        tuple(TECHNIQUES),
        "Techniques",
        "Techniques to measure, each compared with going without it.",
        choices=TECHNIQUES,
        option="only",
    )
    batch: int = knob(
        8, "Decode batch size", "Number of sequences that are decoded together in a dynamic batch.", low=2, high=4096
    )
    context_tokens: int = knob(
        128, "Context length", "Number of tokens of each sequence.", unit="tokens", low=1, high=65_536, option="context"
    )
    rounds: int = knob(
        15, "Rounds", "Number of rounds, each of which times both sides of a technique once.", low=5, high=1000
    )
    device: DeviceChoice = "auto"
    random_weights: RandomWeights = False
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(self, "context_tokens")
        if self.batch < 2 or self.rounds < 5:
            raise InvalidSpec(
                gettext("A batch of {batch} and {n} rounds.").format(batch=self.batch, n=self.rounds),
                remedy=gettext("Give a batch of 2 or more, and 5 or more rounds."),
            )
        require_known(gettext("techniques"), self.techniques, TECHNIQUES)
