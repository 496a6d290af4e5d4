"""What may raise the use of a device, and how each technique is compared with going without it."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.catalog.paths import OFFERED_MODELS, REFERENCE_MODEL_PLACE
from workbench.core.checks import require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, RandomWeights, Seed, knob
from workbench.core.specs import Spec

TECHNIQUES: dict[str, str] = {
    "batching": "dynamic batching",
    "overlap": "asynchronous preparation",
    "fusion": "operator fusion (torch.compile)",
    "graphs": "CUDA graphs",
    "pool": "pool of cache blocks",
    "precision": "mixed precision (bfloat16)",
}
GRAPHS_NEED = "CUDA graphs need an NVIDIA GPU"


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
                f"A batch of {self.batch} and {self.rounds} rounds.",
                remedy="Give a batch of 2 or more, and 5 or more rounds.",
            )
        require_known("techniques", self.techniques, TECHNIQUES)
