"""What can be asked of a simulation: the traffic, the engines, and the SLO."""

from dataclasses import dataclass
from math import exp
from typing import Annotated, ClassVar, Literal

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.core.traffic import SPREAD, Lengths, sigma_of
from workbench.estimate.knobs import (
    AcceptanceRate,
    CachedFraction,
    CatalogueDevice,
    DraftTokens,
    KvBits,
    OutputTokens,
    Precision,
    PromptTokens,
    SloTpot,
    SloTtft,
    model_knob,
)
from workbench.estimate.machine import Split
from workbench.estimate.precision import STORED, require_precision

GAMMA_CV = 2.0
"""Of gamma arrivals, as of ``workbench load``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateSpec(Spec):
    """Traffic that is replayed on simulated engines."""

    command: ClassVar[str] = "simulate"
    computed_by: ClassVar[str] = "simulation"

    model: Annotated[str, model_knob("meta-llama/Meta-Llama-3.1-8B")]
    device: CatalogueDevice
    trace: str | None = knob(
        None,
        "Arrival trace",
        "Trace file of Azure, BurstGPT, Mooncake, AIPerf, guidellm, vLLM or of the workbench; requests are drawn if it is left out.",
        is_path=True,
    )
    speed: float = knob(1.0, "Replay speed", "Factor by which the trace is replayed faster than it was recorded.")
    users: int | None = knob(
        None,
        "Users",
        "Users of a closed loop, who each wait for their answer before they send again; arrivals follow the rate if left out.",
        low=1,
    )
    sessions: int | None = knob(
        None,
        "Sessions",
        "Sessions of coding agents that are drawn: turns with growing context, and pauses of tools and people; the rate is that of all turns.",
        low=1,
    )
    think_s: float = knob(
        0.0, "Time to think", "Time between an answer and the next request of a user of a closed loop.", unit="s", low=0
    )
    requests_per_s: float = knob(
        5.0,
        "Request rate",
        "Mean rate of the requests that are drawn, in requests per second.",
        unit="requests/s",
        option="rate",
    )
    n_requests: int = knob(10_000, "Number of requests", "Number of requests that are drawn.", option="requests")
    input_tokens: PromptTokens = 1024
    output_tokens: OutputTokens = 128
    fixed_lengths: bool = knob(
        False, "Fixed lengths", "Give all requests the same lengths; they are drawn log-normal if left out."
    )
    input_cv: float | None = knob(
        None,
        "Spread of the prompt lengths",
        "Coefficient of variation of the prompts, whose tokens are then their mean; 0.95 around the median if left out.",
        low=0,
        is_advanced=True,
    )
    output_cv: float | None = knob(
        None,
        "Spread of the answer lengths",
        "Coefficient of variation of the answers, whose tokens are then their mean; 0.95 around the median if left out.",
        low=0,
        is_advanced=True,
    )
    lengths_file: str | None = knob(
        None,
        "File of lengths",
        "CSV or JSON lines with the prompt and answer tokens of requests, in the columns of any trace, times may be missing; drawn "
        "requests take them one after the other.",
        is_path=True,
        option="lengths",
    )
    arrivals: Literal["poisson", "gamma", "constant", "ramp"] = knob(
        "poisson", "Arrival process", "How the arrivals of drawn requests are spaced."
    )
    end_rate_per_s: float | None = knob(
        None, "Last rate of a ramp", "Rate at which a ramp ends.", unit="requests/s", option="end-rate"
    )
    burstiness: float = knob(
        1.0,
        "Burstiness",
        "Coefficient of variation of the gaps between drawn requests; 1 is Poisson, 0 is constant; gamma arrivals have 2 if it is left out.",
        low=0,
    )
    n_replicas: int = knob(1, "Replicas", "Number of engines behind the router.", option="replicas")
    routing: Literal["round robin", "least loaded", "cache aware"] = knob(
        "round robin",
        "Routing",
        "How the router chooses the engine of a request: one after the other, the one with the fewest outstanding tokens, or, of those that "
        "are not overloaded, the one whose prefix cache holds most of the prompt.",
    )
    prefix_cache: Literal["on", "off"] = knob(
        "on",
        "Prefix cache",
        "Whether prompts whose blocks are known from hash ids share the KV cache; off is vLLM's --no-enable-prefix-caching.",
    )
    cached_fraction: CachedFraction = 0.0
    precision: Precision = STORED
    kv_bits: KvBits = 16
    tensor: int = knob(1, "Tensor parallel size", "Devices over which every layer is cut.", option="tp")
    pipeline: int = knob(1, "Pipeline stages", "Groups of devices that each hold some layers.", option="pp")
    is_expert_parallel: bool = knob(
        False, "Expert parallel", "Give whole experts to devices, instead of a slice of each.", option="ep"
    )
    max_num_batched_tokens: int = knob(
        8192,
        "Tokens of a step",
        "Most tokens of a step, prompts and answers together; vLLM's --max-num-batched-tokens.",
    )
    max_num_seqs: int = knob(
        256, "Sequences at once", "Most sequences that an engine runs at once; vLLM's --max-num-seqs.", low=1
    )
    draft_tokens: DraftTokens = 0
    acceptance: AcceptanceRate = 0.7
    ttft_s: SloTtft = 1.0
    tpot_s: SloTpot = 0.05

    def __post_init__(self) -> None:
        require_positive(self, "speed", "ttft_s", "tpot_s", "n_requests", "n_replicas")
        require_precision(self.precision)
        named = {
            gettext("a trace"): self.trace,
            gettext("users of a closed loop"): self.users,
            gettext("sessions"): self.sessions,
        }
        given = [name for name, value in named.items() if value]
        if len(given) > 1:
            raise InvalidSpec(
                gettext("{names} were asked for; each decides when requests are sent.").format(
                    names=gettext(" and ").join(given).capitalize()
                ),
                remedy=gettext("Give one of them."),
            )
        if given and (self.arrivals != "poisson" or self.lengths_file):
            raise InvalidSpec(
                gettext("{traffic} and an arrival process or a file of lengths were asked for.").format(
                    traffic=given[0].capitalize()
                ),
                remedy=gettext("Arrival processes and lengths are those of drawn requests: leave one of the two out."),
            )
        if (self.arrivals == "ramp") != (self.end_rate_per_s is not None):
            raise InvalidSpec(
                gettext("A ramp has a last rate, and nothing else has."),
                remedy=gettext("Give --arrivals ramp and --end-rate."),
            )
        if min(self.burstiness, self.think_s) < 0:
            raise InvalidSpec(
                gettext("A burstiness of {cv} and {seconds} s to think.").format(
                    cv=f"{self.burstiness:g}", seconds=f"{self.think_s:g}"
                ),
                remedy=gettext("Give 0 or more."),
            )
        if self.kv_bits not in {8, 16}:
            raise InvalidSpec(
                gettext("The cache has 8 or 16 bits, not {bits}.").format(bits=self.kv_bits),
                remedy=gettext("Give 8 or 16."),
            )

    @property
    def split(self) -> Split:
        """How the model is cut over the devices of one engine."""
        return Split(tensor=self.tensor, pipeline=self.pipeline, is_expert_parallel=self.is_expert_parallel)

    @property
    def gap_cv(self) -> float:
        """Coefficient of variation of the gaps between drawn requests."""
        if self.arrivals == "constant":
            return 0.0
        return GAMMA_CV if self.arrivals == "gamma" and self.burstiness == 1.0 else self.burstiness

    @property
    def lengths(self) -> Lengths:
        """What the lengths of requests are drawn from."""
        variations = (0.0, 0.0) if self.fixed_lengths else (self.input_cv, self.output_cv)
        sigmas = [SPREAD if cv is None else sigma_of(cv) for cv in variations]
        means = (
            n if cv is None else n / exp(sigma**2 / 2)  # a mean is given where a spread is
            for n, cv, sigma in zip((self.input_tokens, self.output_tokens), variations, sigmas, strict=True)
        )
        medians = [max(1.0, m) for m in means]
        return Lengths(input_tokens=medians[0], output_tokens=medians[1], input_sigma=sigmas[0], output_sigma=sigmas[1])
