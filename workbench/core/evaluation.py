"""Does a checkpoint answer like the model it was made from: the question."""

from dataclasses import dataclass
from math import log
from typing import ClassVar, Literal

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec

KV = "kv:"
KV_FORMATS = ("int8-token", "int4-token", "fp8-token", "int8-head", "int4-head", "fp8-head")
"""Number format of keys and values, and what shares a scale: one token of one head, or a head over all tokens."""

# Mean KL in nat per token of formats of an 8B model: logs of llama.cpp's perplexity tool (Watt-8B, eaddario): Q8_0,
# Q5_K_M, Q3_K_M.
KL_MARKS = (("8 bits", 0.00024), ("5 bits", 0.0047), ("3 bits", 0.051))
KL_WORSE = 0.1  # twice the last mark


def kl_band(kl_nat_per_token: float) -> str:
    """Which published mark a mean divergence lies nearest to, on a logarithmic scale."""
    if kl_nat_per_token > KL_WORSE:
        return "worse than 3 bits"
    return "like " + min(KL_MARKS, key=lambda mark: abs(log(max(kl_nat_per_token, 1e-12) / mark[1])))[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSpec(Spec):
    """Checkpoints to compare with a reference. The same spec on the same machine is the same measurement."""

    experiment: ClassVar[str] = "evaluation"

    model: str
    """Folder of the reference."""
    candidates: tuple[str, ...]
    """Folders of checkpoints, and KV-cache formats ("kv:int8-token") that the reference itself is run with."""
    text: str | None = None
    """UTF-8 file that both read; None is the held-out text of the reference model."""
    n_windows: int = 64
    window_tokens: int = 512
    n_passkeys: int = 100
    """Pass-key questions; 0 leaves retrieval out."""
    passkey_tokens: int = 1024
    n_completions: int = 200
    """Lines of the text to complete; 0 leaves completion out."""
    in_vllm: bool = False
    """Load each candidate in vLLM too, and compare its most likely tokens with ours."""
    tasks: tuple[str, ...] = ()
    """Tasks of lm-eval whose data is on disk."""
    task_folder: str | None = None
    """Folder with the YAML files of one's own tasks."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "n_windows", "window_tokens", "passkey_tokens")
        if not self.candidates:
            raise InvalidSpec("There is no checkpoint to evaluate.", remedy="Name one or more folders.")
        unknown = [c for c in self.candidates if c.startswith(KV) and c.removeprefix(KV) not in KV_FORMATS]
        if unknown:
            raise InvalidSpec(f"Unknown cache formats: {', '.join(unknown)}.", remedy=f"Use: {', '.join(KV_FORMATS)}.")
        if self.n_passkeys < 0 or self.n_completions < 0:
            raise InvalidSpec("Counts are 0 or more.", remedy="Correct the numbers.")
