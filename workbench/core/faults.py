"""Which faults to inject into a server, and how long each is watched."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec

FaultEngine = Literal["torch", "vllm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultsSpec(Spec):
    """Faults with known causes, and healthy loads, on a real engine of this machine; every way to find causes is scored."""

    experiment: ClassVar[str] = "faults"

    model: str
    """Folder of the model that is served."""
    engine: FaultEngine = "torch"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    faults: tuple[str, ...] = ()
    """Names to inject, "control" among them for the healthy loads; empty: all that this machine can have."""
    doses: tuple[str, ...] = ("low", "high")
    seeds: tuple[int, ...] = (101,)
    """Each seed draws a load profile of its own and measures a baseline of its own. 1 to 99 were used for tuning."""
    control_seeds: tuple[int, ...] = ()
    """Further seeds that get the healthy loads only: false alarms are rare, and few loads tell little about them."""
    duration_s: float = 12.0
    """Of each load."""
    rate_per_s: float = 4.5
    """Middle of the healthy rates that seeds draw: about half of what the server can do."""
    input_tokens: int = 384
    output_tokens: int = 24
    max_num_seqs: int = 8
    kv_tokens: int = 16_384

    def __post_init__(self) -> None:
        require_positive(self, "duration_s", "rate_per_s", "input_tokens", "output_tokens", "max_num_seqs", "kv_tokens")
        if self.engine not in get_args(FaultEngine):
            raise InvalidSpec(f"engine is {self.engine!r}.", remedy=f"Choose from: {', '.join(get_args(FaultEngine))}.")
        if not self.seeds or not self.doses or set(self.doses) - {"low", "high"}:
            raise InvalidSpec("There are no seeds or no known doses.", remedy="Give seeds, and low, high or both.")
        if self.duration_s < 4:
            raise InvalidSpec(
                f"duration_s is {self.duration_s:g}.", remedy="Give 4 or more: less holds too few requests."
            )
