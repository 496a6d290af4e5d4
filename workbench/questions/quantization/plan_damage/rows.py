"""Rows of a run of a whole plan: one for each amount of calibration text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workbench.compress.rows import Coverage
from workbench.core.rows import Row, Samples
from workbench.core.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDamage(Row):
    """KL divergence of a whole plan with one amount of calibration text."""

    calibration_windows: int
    """Windows of text that GPTQ was calibrated on; 0: weights are rounded to the nearest value."""
    calibration_tokens: int
    stored_bits: float
    """Bits per weight of the linear layers, scales included."""
    mean_kl_nat_per_token: Interval
    """Mean KL divergence from the original model, with its 95 % interval over windows."""
    n_windows: int
    """Windows of text that the divergence was measured on."""
    make_s: float
    """Time of calibration and rounding."""
    coverage: Coverage = ()
    """Weights by kind of layer, and those of them that the plan quantizes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSamples(Samples):
    """Raw samples of a run of a whole plan."""

    kl_nat: Mapping[int, Sequence[float]] = field(default_factory=dict)
    """Mean KL divergence of each window, by windows of calibration text."""
    prefix_ids: Sequence[int] = field(default_factory=list)
    """Special tokens, such as BOS, that stand before each window of text."""

    def in_order(self) -> Mapping[str, Sequence[float]]:
        """Return the KL divergence of each window of text."""
        return {f"{n} windows of calibration: KL, nat/token": values for n, values in self.kl_nat.items()}


def rounded(rows: Sequence[PlanDamage]) -> PlanDamage | None:
    """Return the row of plain rounding, without any text."""
    return next((r for r in rows if not r.calibration_tokens), None)


def by_text(rows: Sequence[PlanDamage]) -> list[PlanDamage]:
    """Return the rows by growing amount of text, plain rounding left out."""
    return sorted((r for r in rows if r.calibration_tokens), key=lambda r: r.calibration_tokens)


ROWS = (PlanDamage,)
SAMPLES = PlanSamples
