"""What may raise the use of a device, and how each technique is compared with going without it."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec

TechniqueName = Literal["batching", "overlap", "fusion", "graphs", "pool", "precision"]
TECHNIQUES: dict[str, str] = {
    "batching": "dynamic batching",
    "overlap": "asynchronous preparation",
    "fusion": "operator fusion (torch.compile)",
    "graphs": "CUDA graphs",
    "pool": "pool of cache blocks",
    "precision": "mixed precision (bfloat16)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TechniquesSpec(Spec):
    """Steps of a model with and without each technique, measured in turns, and a profile of where their time goes."""

    experiment: ClassVar[str] = "techniques"

    model: str
    """Folder of a causal language model, or of a shape when ``random_weights``."""
    techniques: tuple[str, ...] = tuple(TECHNIQUES)
    batch: int = 8
    """Sequences that a dynamic batch puts together."""
    context_tokens: int = 128
    rounds: int = 15
    """Each round measures both sides of a technique once."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    random_weights: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "context_tokens")
        if self.batch < 2 or self.rounds < 5:
            raise InvalidSpec(
                f"A batch of {self.batch} and {self.rounds} rounds.",
                remedy="Give a batch of 2 or more, and 5 or more rounds.",
            )
        if unknown := set(self.techniques) - set(get_args(TechniqueName)):
            raise InvalidSpec(
                f"There is no technique {', '.join(sorted(unknown))}.", remedy=f"Choose from: {', '.join(TECHNIQUES)}."
            )
