"""Does a checkpoint answer like the model it was made from: the question."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import checked_fields, spec_code

KV = "kv:"
KV_FORMATS = ("int8-token", "int4-token", "fp8-token", "int8-head", "int4-head", "fp8-head")
"""Number format of keys and values, and what shares a scale: one token of one head, or a head over all tokens."""

# Mean KL in nat per token up to which a divergence is called so: logs of llama.cpp's perplexity tool for an 8B model
# (Watt-8B, eaddario): Q8_0 0.00024, Q5_K_M 0.0047, Q3_K_M 0.051.
KL_BANDS = (("like 8 bits", 0.0005), ("like 5 bits", 0.005), ("like 3 bits", 0.05))


def kl_band(kl_nat_per_token: float) -> str:
    """The name of the band that a mean divergence falls into."""
    return next((name for name, top in KL_BANDS if kl_nat_per_token <= top), "worse than 3 bits")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSpec:
    """Checkpoints to compare with a reference. The same spec on the same machine is the same measurement."""

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

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "EvaluationSpec":
        """A spec read back; unknown fields raise ``InvalidSpec``."""
        return cls(**checked_fields(cls, data))

    def as_code(self) -> str:
        """Python that makes this spec and runs it."""
        return spec_code(self, experiment="evaluation")
