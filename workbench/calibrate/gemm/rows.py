"""What a run of products holds: the time of each product by format and number of tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workbench.core.rows import Samples
from workbench.estimate.rows import ProductTime


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPeaks:
    """What the device reaches in a large copy and in a large BF16 product."""

    copy_bytes_per_s: float
    bf16_flop_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmSamples(Samples):
    """Raw samples of a run of products."""

    seconds: Mapping[str, Mapping[str, Mapping[int, Sequence[float]]]] = field(default_factory=dict)
    """Timings by format, role and number of tokens."""
    peaks: MeasuredPeaks | None = None


ROWS = (ProductTime,)
SAMPLES = GemmSamples
