"""Which compressions of a model to measure on a small device, and under which limits to choose one."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.checks import require_fraction, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec

OWN_MODEL = "digits"
TECHNIQUES: dict[str, str] = {
    "fp32": "float32 in ONNX Runtime",
    "int8-static": "static INT8",
    "int8-dynamic": "dynamic INT8, convolutions too",
    "int8-dynamic-dense": "dynamic INT8, dense layers only",
    "int4": "4-bit weights of dense layers",
    "unstructured-80": "80 % of the weights zero",
    "unstructured-95": "95 % of the weights zero",
    "structured-half": "half of the filters",
    "structured-quarter": "a quarter of the filters",
    "structured-half-int8": "half of the filters, static INT8",
    "student": "student of 2.9 thousand weights",
    "student-int8": "the student in static INT8",
    "early-exit": "early exit after the first layer",
    "cascade": "student, then the large model",
}
GRAPH_TECHNIQUES = ("fp32", "int8-static", "int8-dynamic", "int8-dynamic-dense", "int4")
"""What can be done with a graph that comes without its training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSpec(Spec):
    """Accuracy, size, time, memory and energy of a model's compressions, and the settings to run one with."""

    experiment: ClassVar[str] = "edge"

    model: str = OWN_MODEL
    """"digits" (trained here), a folder of a causal language model, or a graph (.onnx) with one input."""
    data: str | None = None
    """.npz with ``x`` (inputs of a graph) and, if known, ``y`` (classes)."""
    techniques: tuple[str, ...] = tuple(TECHNIQUES)
    threads: int = 1
    batches: tuple[int, ...] = (1, 256)
    rounds: int = 15
    """In each, every variant is timed once, in an order drawn anew."""
    distillation_seeds: int = 5
    labels_per_class: int = 10
    most_lost: float = 0.02
    """Accuracy that early exits may lose, as a share of all inputs."""
    level: float = 0.95
    """Of that guarantee."""
    latency_ms: float | None = None
    """Limit of p99 at the chosen batch."""
    memory_mib: float | None = None
    """Limit of what the chosen settings add to the process."""
    power_w: float | None = None
    """Limit of the processor's power; where it has no counter, of the estimate."""
    watts_per_core: float = 5.0
    """Assumed for a busy core where the processor has no energy counter."""
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "threads", "rounds", "distillation_seeds", "labels_per_class", "watts_per_core")
        require_fraction(self, "most_lost", "level")
        if not self.batches or any(not isinstance(b, int) or b < 1 for b in self.batches):
            raise InvalidSpec(f"Batches are {self.batches!r}.", remedy="Give whole numbers above zero.")
        if self.rounds < 5:
            raise InvalidSpec(f"{self.rounds} rounds tell nothing about faster or slower.", remedy="Give five or more.")
        for name in ("latency_ms", "memory_mib", "power_w"):
            if getattr(self, name) is not None:
                require_positive(self, name)
        if unknown := set(self.techniques) - set(TECHNIQUES):
            raise InvalidSpec(
                f"There is no technique {', '.join(sorted(unknown))}.", remedy=f"Choose from: {', '.join(TECHNIQUES)}."
            )
        if "fp32" not in self.techniques:
            raise InvalidSpec("Without fp32 nothing can be compared.", remedy="Keep it among the techniques.")
