"""A surge before an engine: how much more than it can do comes, from whom, and which controls stand in its way."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec

SurgeEngine = Literal["torch", "vllm"]
WAYS: dict[str, str] = {
    "direct": "no gateway",
    "open": "gateway, every control off",
    "rates": "rate limits of tenants",
    "queue": "concurrency limit and fair queue",
    "deadline": "queue that sheds by deadline",
    "shorter": "deadline, and shorter answers",
    "cache": "deadline, and answers kept",
    "all": "everything",
}
TENANTS = ("batch", "app", "small")


@dataclass(frozen=True, slots=True, kw_only=True)
class SurgeSpec(Spec):
    """A surge through the gateway, with each control on and off, before a real engine of this machine."""

    experiment: ClassVar[str] = "surge"

    model: str
    """Folder of the model that is served."""
    engine: SurgeEngine = "torch"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    ways: tuple[str, ...] = tuple(WAYS)
    overload: float = 3.0
    """Requests of the surge, in times of what the engine can answer."""
    shares: tuple[float, ...] = (0.8, 0.133, 0.067)
    """Of the requests, by tenant: batch, app, small."""
    calm: float = 0.5
    """Requests before and after the surge, in times of what the engine can answer."""
    calm_s: float = 4.0
    surge_s: float = 15.0
    after_s: float = 9.0
    trace: str | None = None
    """CSV as Azure publishes them: its arrivals, so fast that they are the surge on average; None: Poisson."""
    input_tokens: int = 128
    output_tokens: int = 24
    repeated: float = 0.15
    """Of the questions are one of a few popular ones."""
    max_num_seqs: int = 8
    slo_ttft_s: float = 1.5
    slo_tpot_s: float | None = None
    """None: three times what a full engine takes."""
    patience_s: float = 20.0
    """After which a client goes away."""
    seed: int = 1

    def __post_init__(self) -> None:
        require_positive(
            self, "overload", "calm", "calm_s", "surge_s", "after_s", "input_tokens", "output_tokens", "max_num_seqs"
        )
        require_positive(self, "slo_ttft_s", "patience_s")
        if self.engine not in get_args(SurgeEngine):
            raise InvalidSpec(f"engine is {self.engine!r}.", remedy=f"Choose from: {', '.join(get_args(SurgeEngine))}.")
        if unknown := set(self.ways) - set(WAYS):
            raise InvalidSpec(f"There is no way {', '.join(sorted(unknown))}.", remedy=f"Known: {', '.join(WAYS)}.")
        if (
            not self.ways
            or len(self.shares) != len(TENANTS)
            or abs(sum(self.shares) - 1) > 0.01
            or min(self.shares) <= 0
        ):
            raise InvalidSpec(f"Shares of {self.shares}.", remedy="Give three above zero that add up to 1.")
        if not 0 <= self.repeated < 1 or self.calm >= 1 or self.overload > 10:
            raise InvalidSpec(
                f"calm {self.calm}, overload {self.overload}, repeated {self.repeated}.",
                remedy="Give less than 1 before the surge, up to 10 in it, and a share below 1.",
            )
        if self.surge_s < 3 or self.after_s < 2:
            raise InvalidSpec("The surge or the time after it is too short.", remedy="Give 3 s and 2 s or more.")
