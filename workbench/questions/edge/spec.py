"""What can be asked about a small device: which compressions of a model to measure, and the limits within which to choose one."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from workbench.catalog.paths import REFERENCE_MODEL_PLACE
from workbench.core.checks import require_fraction, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import Seed, knob
from workbench.core.language import gettext
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
"""Techniques that need no training, which a graph does not bring with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSpec(Spec):
    """Accuracy, size, time, memory and energy of a model's compressions, and the setting to run one with."""

    kind: ClassVar[str] = "edge"
    command: ClassVar[str] = "edge"

    model: str = knob(
        OWN_MODEL,
        "Model",
        'The digit network that is trained here ("digits"), an .onnx graph, or a folder of a language model or a text encoder.',
        suggestions=(OWN_MODEL, REFERENCE_MODEL_PLACE),
        is_argument=True,
        is_path=True,
    )
    data: str | None = knob(
        None,
        "Input file",
        "File (.npz) with the inputs of a graph by name (x for an only one) and, if known, classes y; random inputs are used without one.",
        is_path=True,
    )
    techniques: tuple[str, ...] = knob(
        tuple(TECHNIQUES),
        "Techniques",
        f"Compressions that are measured, fp32 among them; a graph without its training takes only {', '.join(GRAPH_TECHNIQUES)}.",
        choices=TECHNIQUES,
        is_advanced=True,
    )
    threads: int = knob(1, "Threads", "Number of threads of ONNX Runtime in the comparison.", low=1, high=256)
    batches: tuple[int, ...] | None = knob(
        None,
        "Batch sizes",
        "Batch sizes at which the compressions are timed; 1 and 256 for the digit network, 1 and 8 for a language model and 1 and 32 for a graph if left out.",
        is_advanced=True,
    )
    rounds: int = knob(
        15,
        "Rounds",
        "Number of interleaved rounds, in each of which every variant is timed once, in an order drawn anew.",
        low=5,
        high=1000,
        is_advanced=True,
    )
    variable_lengths: bool = knob(
        False,
        "Variable lengths",
        "Compare inputs of different lengths padded to one length with the same padded to the longest of their batch: passages of text for the "
        "folder of a language model or text encoder, the inputs of --data with their attention mask for a graph.",
        is_advanced=True,
    )
    distillation_seeds: int = knob(
        5,
        "Distillation seeds",
        "Number of students that are trained without and with a teacher, each from a seed of its own.",
        low=1,
        high=100,
        is_advanced=True,
    )
    labels_per_class: int = knob(
        10,
        "Labels per class",
        "Number of labelled images of each class that students learn from in distillation.",
        low=1,
        high=100,
        is_advanced=True,
    )
    most_lost: float = knob(
        0.02,
        "Largest accuracy loss",
        "Largest accuracy that early exits may lose, as a share of all inputs from 0 to 1.",
        low=0.001,
        high=1,
        option="lost",
        is_advanced=True,
    )
    level: float = knob(
        0.95,
        "Confidence of the guarantee",
        "Probability that the accuracy loss stays within that share, from 0 to 1.",
        low=0.5,
        high=0.999,
        is_advanced=True,
    )
    latency_ms: float | None = knob(
        None,
        "p99 latency limit",
        "Largest p99 latency of a batch, in milliseconds; not limited if left out.",
        unit="ms",
    )
    memory_mib: float | None = knob(
        None,
        "Memory limit",
        "Largest memory that the model may add to the process, in MiB; not limited if left out.",
        unit="MiB",
    )
    power_w: float | None = knob(
        None,
        "Power limit",
        "Largest power of the processor, in watts; estimated where it has no energy counter, and not limited if left out.",
        unit="W",
    )
    watts_per_core: float = knob(
        5.0,
        "Power per core",
        "Assumed power of a busy core, in watts, where the processor has no energy counter.",
        unit="W",
        low=0.01,
        high=1000,
        is_advanced=True,
    )
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(self, "threads", "rounds", "distillation_seeds", "labels_per_class", "watts_per_core")
        require_fraction(self, "most_lost", "level")
        if self.batches is not None and (
            not self.batches or any(not isinstance(b, int) or b < 1 for b in self.batches)
        ):
            raise InvalidSpec(
                gettext("Batches are {values}.").format(values=repr(self.batches)),
                remedy=gettext("Give whole numbers above zero."),
            )
        if self.rounds < 5:
            raise InvalidSpec(
                gettext("{n} rounds are too few to compare speeds.").format(n=self.rounds),
                remedy=gettext("Give five or more."),
            )
        for name in ("latency_ms", "memory_mib", "power_w"):
            if getattr(self, name) is not None:
                require_positive(self, name)
        if self.variable_lengths and self.model == OWN_MODEL:
            raise InvalidSpec(
                gettext("The images of the digit network all have one size, so that no lengths can be compared."),
                remedy=gettext("Name a language model, a text encoder or a graph of texts, such as {model}.").format(
                    model=REFERENCE_MODEL_PLACE
                ),
            )
        if unknown := set(self.techniques) - set(TECHNIQUES):
            raise InvalidSpec(
                gettext("There is no technique {names}.").format(names=", ".join(sorted(unknown))),
                remedy=gettext("Choose from: {names}.").format(names=", ".join(TECHNIQUES)),
            )
        if "fp32" not in self.techniques:
            raise InvalidSpec(
                gettext("Without fp32 nothing can be compared."), remedy=gettext("Keep it among the techniques.")
            )

    def left_out(self, possible: Collection[str]) -> tuple[str, ...]:
        """Return the techniques that were chosen and are not possible for the model; all of them are no choice."""
        return () if self.techniques == tuple(TECHNIQUES) else tuple(t for t in self.techniques if t not in possible)

    @property
    def timed_batches(self) -> tuple[int, ...]:
        """Return the batch sizes of the comparison."""
        return self.batches or ((1, 256) if self.model == OWN_MODEL else (1, 32))
