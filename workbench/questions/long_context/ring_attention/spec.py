"""What can be asked of ring attention: lengths, and over how many devices a sequence is spread."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, Seed, knob
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.questions.long_context.spec import HeadsOf, Lengths, Rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class RingSpec(Spec):
    """One sequence over several devices. The same spec on the same machine is the same measurement."""

    kind: ClassVar[str] = "ring_attention"
    command: ClassVar[str] = "ring-attention"

    model: HeadsOf
    lengths: Lengths = (65536, 262144)
    worlds: tuple[int, ...] = knob((1, 2), "Devices", "Numbers of devices, or of processes on a CPU, to compare.")
    rounds: Rounds = 7
    device: DeviceChoice = "auto"
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(self, "rounds")
        if not self.worlds or any(w < 1 for w in self.worlds):
            raise InvalidSpec(
                gettext("Devices {numbers}.").format(numbers=repr(self.worlds)),
                remedy=gettext("Give numbers from 1 on."),
            )
        bad = [n for n in self.lengths if n < 1 or any(n % (2 * w) for w in self.worlds)]
        if bad or not self.lengths:
            raise InvalidSpec(
                gettext("Lengths {values}.").format(values=repr(self.lengths)),
                remedy=gettext("Give numbers that can be divided by twice the number of devices."),
            )
