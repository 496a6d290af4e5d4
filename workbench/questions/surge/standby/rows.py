"""What a run of replicas in reserve holds: for each state the time to the first token of an answer, and the memory held meanwhile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from workbench.core.language import gettext_noop
from workbench.core.rows import Row, Samples

State = Literal["cold-first", "cold", "idle", "sleep-1", "sleep-2"]
"""Started from nothing, without and with what an earlier start compiled; loaded; asleep at vLLM's levels 1 and 2."""
WARM: tuple[State, ...] = ("idle", "sleep-1", "sleep-2")
NO_SLEEP = (
    gettext_noop("{engine} has no sleep mode"),
    gettext_noop("vLLM sleeps on a GPU only"),
    gettext_noop("dummy weights lie in no file from which level 2 could read them again"),
    gettext_noop("the replica did not wake from level 1"),
)
"""Reasons for which a replica was not put to sleep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbyState(Row):
    """A replica in one state, from the decision that it is needed to the first token of its answer; medians over the repeats."""

    part: ClassVar[str] = "state"

    state: State
    n: int = 0
    first_token_s: float | None = None
    """From the decision to the first token; None where it could not be measured."""
    least_s: float | None = None
    most_s: float | None = None
    ready_s: float | None = None
    """Part of it until the replica could answer: its launch, or its waking."""
    gateway_s: float | None = None
    """Part of it until the running gateway sent requests to the replica."""
    ttft_s: float | None = None
    """Part of it that the request itself took."""
    asleep_s: float | None = None
    """Time that falling asleep took, before."""
    device_bytes: float | None = None
    """Memory of the devices that the replica held while it waited; None without a GPU."""
    host_bytes: float | None = None
    """Memory of the host that its processes held meanwhile."""
    machine_bytes: float | None = None
    """Memory of the host in use meanwhile, above that before the first launch: with what drivers hold for the replica, and with what
    others have taken since."""
    is_same_answer: bool | None = None
    """Whether each answer was that of the first start, to the same prompt and greedy; None for the first start itself."""
    reason: str | None = None
    """Why there is no time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart(Row):
    """One start from nothing, with what vLLM's log says of its parts; None where it says nothing."""

    part: ClassVar[str] = "start"

    launch_s: float
    """From the start of the process until it was healthy."""
    weights_s: float | None = None
    """Reading the weights."""
    compiling_s: float | None = None
    graphs_s: float | None = None
    """Recording CUDA graphs."""
    engine_s: float | None = None
    """Profile, KV cache and warm-up, with compiling and CUDA graphs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbySamples(Samples):
    """Raw samples of a run of replicas in reserve, by state and in the order of the repeats."""

    ready_s: Mapping[str, Sequence[float]] = field(default_factory=dict)
    gateway_s: Mapping[str, Sequence[float]] = field(default_factory=dict)
    ttft_s: Mapping[str, Sequence[float]] = field(default_factory=dict)
    engine_version: str | None = None


ROWS = (StandbyState, ColdStart)
SAMPLES = StandbySamples
