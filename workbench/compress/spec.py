"""What a measurement of precisions can be asked for: the methods, the evaluation text, and how speed is timed."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from workbench.catalog.paths import OFFERED_MODELS
from workbench.compress.knobs import EvaluationText, Windows, WindowTokens
from workbench.compress.methods import METHODS
from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, RandomWeights, Seed, knob, needed
from workbench.core.language import gettext
from workbench.core.specs import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationSpec(Spec):
    """Accuracy, memory and speed of a model in several precisions."""

    kind: ClassVar[str] = "quantization"
    command: ClassVar[str] = "quantize"

    model: str = needed(
        "Model",
        "Folder with a transformers causal language model, or its id on a hub.",
        suggestions=OFFERED_MODELS,
        is_argument=True,
    )
    methods: tuple[str, ...] = knob(
        tuple(METHODS),
        "Methods",
        "Precisions to measure; the accuracy of each is relative to the model in FP32.",
        choices={m.name: m.label for m in METHODS.values()},
    )
    text: EvaluationText = None
    n_windows: Windows = 64
    window_tokens: WindowTokens = 512
    prompt_tokens: int = knob(
        128,
        "Context length",
        "Number of tokens in the KV cache of each sequence when the timed decode steps begin.",
        unit="tokens",
        low=1,
        is_advanced=True,
    )
    decode_tokens: int = knob(
        32, "Decode steps", "Number of decode steps that are timed in each round.", low=1, is_advanced=True
    )
    prefill_tokens: int = knob(
        512,
        "Prefill length",
        "Number of tokens of the prompt whose prefill is timed.",
        unit="tokens",
        low=1,
        is_advanced=True,
    )
    batches: tuple[int, ...] = knob(
        (1, 8),
        "Decode batch sizes",
        "Numbers of sequences that are decoded together; each batch size is timed.",
        is_advanced=True,
    )
    rounds: int = knob(
        7,
        "Rounds",
        "Number of rounds of the speed measurement; in each round every method is timed once, interleaved in random order.",
        low=1,
        is_advanced=True,
    )
    threads: int | None = knob(
        None,
        "Threads",
        "Number of threads on the CPU; all processors that this process may use if left out.",
        low=1,
        high=256,
        is_advanced=True,
    )
    device: DeviceChoice = "auto"
    compile: Literal["auto", "on", "off"] = knob(
        "auto",
        "torch.compile",
        "Whether speed is measured with torch.compile; auto uses it on CUDA (with CUDA graphs) and not on the CPU, "
        "where it takes minutes.",
        is_advanced=True,
    )
    random_weights: RandomWeights = False
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(
            self, "n_windows", "window_tokens", "prompt_tokens", "decode_tokens", "prefill_tokens", "rounds"
        )
        if self.threads is not None:
            require_positive(self, "threads")
        unknown = [m for m in self.methods if m not in METHODS]
        if unknown or not self.methods:
            raise InvalidSpec(
                gettext("Unknown methods: {names}.").format(names=", ".join(unknown))
                if unknown
                else gettext("No method was chosen."),
                remedy=gettext("Choose from: {names}.").format(names=", ".join(METHODS)),
            )
        if not self.batches or any(b < 1 for b in self.batches):
            raise InvalidSpec(
                gettext("Batches {values}.").format(values=repr(self.batches)),
                remedy=gettext("Give batch sizes from 1 on."),
            )
        if self.device not in {"auto", "cpu", "cuda"}:
            raise InvalidSpec(
                gettext("Device {device}.").format(device=repr(self.device)),
                remedy=gettext("Choose auto, cpu or cuda."),
            )
        if self.compile not in {"auto", "on", "off"}:
            raise InvalidSpec(
                gettext("Compile {value}.").format(value=repr(self.compile)),
                remedy=gettext("Choose auto, on or off."),
            )


class StepWork(Protocol):
    """Inputs of timed steps; the specs of batch sizes and of techniques have these fields."""

    @property
    def model(self) -> str:
        """Folder of the model that is timed."""

    @property
    def random_weights(self) -> bool:
        """Whether the weights are drawn at random, because only the shape counts."""

    @property
    def context_tokens(self) -> int:
        """Tokens in the cache of each sequence, or of each prompt."""

    @property
    def rounds(self) -> int:
        """Number of steps that are timed."""

    @property
    def seed(self) -> int:
        """Seed of the random tokens."""
