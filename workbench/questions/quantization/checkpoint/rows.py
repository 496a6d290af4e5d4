"""Rows of a run that makes checkpoints: one for each scheme."""

from dataclasses import dataclass

from workbench.compress.rows import Coverage
from workbench.core.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointResult(Row):
    """Size, place and making of one checkpoint."""

    scheme: str
    label: str
    folder: str
    weight_bytes: int
    """Bytes of its safetensors files."""
    calibration_tokens: int
    """Tokens of text that the algorithm saw; 0 for plain rounding."""
    make_s: float
    llmcompressor: str
    """Version of llm-compressor that made it."""
    coverage: Coverage = ()
    """Weights of the model by kind of layer, and those of them that the checkpoint holds quantized."""


ROWS = (CheckpointResult,)
