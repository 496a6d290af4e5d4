"""Rows of an evaluation: one of the original model, and one for each checkpoint or KV cache format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from workbench.compress.rows import Accuracy, Coverage
from workbench.core.rows import Row
from workbench.core.runs import Run
from workbench.core.statistics import Interval

TaskMetrics = Mapping[str, Mapping[str, float]]
"""Metrics of lm-eval by task; ``<metric>_stderr`` is the standard error of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScore:
    """Share of questions of one kind that a model answered to the letter, compared with the original."""

    n: int
    """Number of questions."""
    right_fraction: float
    lost: int
    """Number of questions that only the original answered."""
    won: int
    """Number of questions that only this model answered."""
    mcnemar_p: float
    """Probability that two equally good models differ at least as much (exact McNemar test)."""
    minimum_detectable_fraction: float
    """Smallest true difference that a test at the 5 % level detects with probability 0.8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceResult(Row):
    """Scores of the original model, which the candidates are compared with."""

    part: ClassVar[str] = "reference"
    folder: str
    passkey: TaskScore | None = None
    completion: TaskScore | None = None
    tasks: TaskMetrics = field(default_factory=dict)
    """Metrics of lm-eval's tasks, where they were asked for."""
    prefix_ids: Sequence[int] = field(default_factory=list)
    """Special tokens, such as BOS, that stand before each window of text and each prompt, as the tokenizer sets them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateResult(Row):
    """Accuracy and scores of a checkpoint, or of the original with another KV cache format."""

    part: ClassVar[str] = "candidate"
    folder: str
    """Folder of the checkpoint, or "kv:" with the cache format."""
    accuracy: Accuracy
    kl_band: str
    """Published quantization of an 8B model with the closest mean KL divergence."""
    passkey: TaskScore | None = None
    """Pass keys that were retrieved from the text."""
    completion: TaskScore | None = None
    """Code lines that were completed to the letter."""
    passkey_right_fraction_by_depth: Sequence[float] = ()
    """Share of the pass keys that were retrieved, by their place in the text from first to last."""
    vllm_top1_agreement_fraction: float | None = None
    """Share of positions at which vLLM's most likely token is that of transformers; None where vLLM was not asked."""
    tasks: TaskMetrics = field(default_factory=dict)
    """Metrics of lm-eval's tasks, where they were asked for."""
    coverage: Coverage = ()
    """Weights by kind of layer, and those of them that the checkpoint holds quantized; empty for cache formats and other formats."""
    weight_bytes: int | None = None
    """Bytes of the checkpoint's safetensors files; None for cache formats."""

    @property
    def kl_nat_per_token(self) -> float:
        """Mean KL divergence from the original."""
        return self.accuracy.mean_kl_nat_per_token.value


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteResult(Row):
    """A model with another tokenizer than the original's, compared by the bits that each needs for a byte of the same text."""

    part: ClassVar[str] = "per byte"
    folder: str
    n_windows: int
    """Stretches of text, which the interval is over."""
    n_bytes: int
    """Bytes of text (UTF-8) that the original was scored on; the candidate's may differ by a token at the ends of each stretch."""
    bits_per_byte: float
    original_bits_per_byte: float
    change_bits_per_byte: Interval
    """What the candidate needs more than the original, paired over the stretches of text."""


def original_of(run: Run) -> ReferenceResult:
    """Return the row of the original model."""
    return run.rows(ReferenceResult)[0]


def candidates_of(run: Run) -> list[CandidateResult]:
    """Return the rows of the candidates, least divergence first."""
    return sorted(run.rows(CandidateResult), key=lambda r: r.kl_nat_per_token)


def per_byte_of(run: Run) -> list[ByteResult]:
    """Return the rows of models with another tokenizer, fewest bits per byte first."""
    return sorted(run.rows(ByteResult), key=lambda r: r.bits_per_byte)


ROWS = (ReferenceResult, CandidateResult, ByteResult)
