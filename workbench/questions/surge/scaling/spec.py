"""What can be asked of autoscaling rules: the traffic, and the replicas."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.errors import InvalidSpec
from workbench.core.knobs import knob
from workbench.core.language import gettext, gettext_noop
from workbench.core.specs import Spec

TRACES = {"conv": gettext_noop("Azure 2023, conversations"), "code": gettext_noop("Azure 2023, code")}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingSpec(Spec):
    """Traffic, and the speed and start-up time of replicas."""

    command: ClassVar[str] = "scaling"

    trace: str = knob(
        "conv",
        "Traffic",
        "Trace to simulate: conv or code of Azure 2023, or a trace file of Azure, BurstGPT, Mooncake, AIPerf, guidellm or vLLM.",
        suggestions=tuple(TRACES),
    )
    times: float = knob(
        10.0, "Request rate / trace", "Request rate, as a multiple of that of the trace.", low=0.1, high=1e4
    )
    start_s: float = knob(
        120.0,
        "Replica start-up time",
        "Seconds from starting a replica until it answers; `workbench standby` measures them.",
        unit="s",
        low=1,
        high=3600,
    )
    slo_wait_s: float = knob(
        1.0,
        "SLO: queue wait",
        "Largest time in the queue that meets the SLO.",
        unit="s",
        low=0.05,
        high=600,
        option="wait-s",
    )
    model: str = knob(
        "meta-llama/Meta-Llama-3.1-8B",
        "Model",
        "Folder of a transformers model, or a name in the model catalogue: what each replica serves.",
        suggestions=("meta-llama/Meta-Llama-3.1-8B",),
    )
    device: str = knob(
        "h200-sxm",
        "Device",
        "Id of an accelerator in the hardware catalogue: each replica is one. Its throughput is simulated with the lengths of the traffic.",
        suggestions=("h200-sxm",),
    )
    prompt_tokens_per_s: float | None = knob(
        None,
        "Prefill throughput of a replica",
        "Prompt tokens that one replica prefills in a second; simulated for the model and the device if left out.",
        unit="tokens/s",
        low=1,
        high=1e9,
        is_advanced=True,
    )
    answer_tokens_per_s: float | None = knob(
        None,
        "Decode throughput of a replica",
        "Output tokens that one replica decodes in a second; simulated for the model and the device if left out.",
        unit="tokens/s",
        low=1,
        high=1e9,
        is_advanced=True,
    )
    warm: int = knob(
        1, "Warm replicas", "Replicas that are loaded and paid for, and serve within five seconds.", low=0, high=100
    )
    cached: float = knob(
        0.15,
        "Cache hit rate",
        "Share of the requests that a response cache answers, from 0 to 1.",
        low=0,
        high=0.95,
    )

    def __post_init__(self) -> None:
        speeds = [s for s in (self.prompt_tokens_per_s, self.answer_tokens_per_s) if s is not None]
        if min(self.times, self.start_s, self.slo_wait_s, *speeds) <= 0:
            raise InvalidSpec(
                gettext("{spec} is no case.").format(spec=self), remedy=gettext("Give numbers above zero.")
            )
        if self.warm < 0 or not 0 <= self.cached < 1:
            raise InvalidSpec(
                gettext("{warm} warm, {cached} cached.").format(warm=self.warm, cached=self.cached),
                remedy=gettext("Give 0 or more, and a share below 1."),
            )
