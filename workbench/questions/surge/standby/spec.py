"""What can be asked of a replica in reserve: its model and engine, and how often it is started, asked and woken."""

import re
from dataclasses import dataclass
from typing import ClassVar

from workbench.catalog.models import require_folder
from workbench.core.checks import require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, RandomWeights, Seed, advanced, knob
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.engines.serving import NAMES
from workbench.estimate.knobs import offered_model

FLAG = re.compile(r"--[a-z][a-z0-9.-]*(=.+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbySpec(Spec):
    """A replica that is started from nothing, waits idle, and sleeps. The same spec on the same machine is the same measurement."""

    kind: ClassVar[str] = "standby"
    command: ClassVar[str] = "standby"

    model: str = offered_model("Model", "Folder of the model that the replica serves.")
    engine: str = knob("vllm", "Engine", "What serves it; only vLLM on a GPU can sleep.", choices=NAMES)
    repeats: int = knob(5, "Repeats", "Times that the replica is asked out of each state of waiting.", low=3, high=100)
    cold: int = knob(
        2,
        "Cold starts",
        "Times that the replica is started from nothing; the first compiles what the later ones find compiled.",
        low=1,
        high=20,
    )
    wait_s: float = knob(
        5.0,
        "Time waiting",
        "Time that the replica waits, idle or asleep, before each request.",
        unit="s",
        low=0.1,
        high=3600,
    )
    flags: tuple[str, ...] = advanced(
        (),
        "Further flags",
        "Server flags of vLLM for every launch, such as '--kv-cache-memory-bytes=8589934592'.",
        option="flag",
        is_repeated=True,
    )
    input_tokens: int = advanced(64, "Prompt tokens", "Tokens of the prompt.", low=1)
    output_tokens: int = advanced(16, "Output tokens", "Tokens of the answer, which are compared.", low=1)
    device: DeviceChoice = "auto"
    random_weights: RandomWeights = False
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_known("engines", (self.engine,), NAMES)
        require_positive(self, "cold", "wait_s", "input_tokens", "output_tokens")
        if self.repeats < 3:
            raise InvalidSpec(
                gettext("{n} repeats show no spread.").format(n=self.repeats), remedy=gettext("Give 3 or more.")
            )
        if wrong := [flag for flag in self.flags if not FLAG.fullmatch(flag)]:
            raise InvalidSpec(
                gettext("{flag} is no flag.").format(flag=repr(wrong[0])),
                remedy=gettext("Give --name, or --name=value."),
            )
        if self.flags and self.engine != "vllm":
            raise InvalidSpec(
                gettext("Flags are vLLM's, and the engine is {engine}.").format(engine=self.engine),
                remedy=gettext("Leave them out, or choose vLLM."),
            )

    @property
    def has_dummy_weights(self) -> bool:
        """Whether vLLM invents the weights at its launch, so that no file holds them."""
        return "--load-format=dummy" in self.flags


def check_standby(spec: StandbySpec) -> None:
    """Raise for a model that is none, before an engine is started."""
    require_folder(spec.model)
