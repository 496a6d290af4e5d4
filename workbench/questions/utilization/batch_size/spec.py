"""Which batch to run: what to search, and the limits."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from workbench.catalog.paths import OFFERED_MODELS
from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, RandomWeights, Seed, advanced, knob, needed
from workbench.core.language import gettext
from workbench.core.specs import Spec

WORK = {"decode": "decode: a token for each sequence", "prefill": "prefill of a prompt for each sequence"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSearchSpec(Spec):
    """The batch with the highest throughput at which a step keeps a time and a memory limit."""

    kind: ClassVar[str] = "batch_search"
    command: ClassVar[str] = "batch-size"

    model: str = needed(
        "Model",
        "Folder of a causal language model, or of a shape with random weights.",
        suggestions=OFFERED_MODELS,
        is_argument=True,
    )
    work: Literal["decode", "prefill"] = knob(
        "decode",
        "Work of a step",
        "What one step does for each sequence of the batch: one decode step, or the prefill of a prompt.",
        choices=WORK,
    )
    context_tokens: int = knob(
        128,
        "Context length",
        "Number of tokens of each sequence.",
        unit="tokens",
        low=1,
        high=1_000_000,
        option="context",
    )
    latency_ms: float | None = knob(
        None,
        "Step time limit",
        "Largest p90 step time that a batch may have, in milliseconds; there is no limit if it is left out.",
        unit="ms",
    )
    memory_gib: float | None = knob(
        None,
        "Memory limit",
        "Device memory that a batch may need at most, weights included; nine tenths of the free memory if it is left out.",
        unit="GiB",
    )
    largest: int = knob(512, "Largest batch size", "Batch size at which the search ends.", low=1, high=65_536)
    rounds: int = advanced(7, "Timed steps", "Number of steps that are timed in each trial.", low=3, high=1000)
    device: DeviceChoice = "auto"
    random_weights: RandomWeights = False
    is_exhaustive: bool = advanced(
        False,
        "Exhaustive search",
        "Whether every batch size of the grid is tried, which checks the search.",
        option="exhaustive",
    )
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(self, "context_tokens", "largest")
        if self.rounds < 3:
            raise InvalidSpec(gettext("rounds is {n}.").format(n=self.rounds), remedy=gettext("Give 3 or more."))
        for name in ("latency_ms", "memory_gib"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InvalidSpec(
                    gettext("{place} is {value}.").format(place=name, value=value),
                    remedy=gettext("Give a number above zero, or none."),
                )
        if self.work not in WORK:
            raise InvalidSpec(
                gettext("work is {value}.").format(value=repr(self.work)),
                remedy=gettext("Choose {names}.").format(names=gettext(" or ").join(WORK)),
            )
