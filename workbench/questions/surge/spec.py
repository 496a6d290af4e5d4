"""What can be asked of a surge: its request rate over the capacity of the engine, its tenants, and the controls in front of the engine."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, Seed, knob
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.estimate.knobs import offered_model

CONTROLS: dict[str, str] = {
    "direct": "no gateway",
    "open": "gateway, all controls off",
    "rates": "rate limits per tenant",
    "queue": "concurrency limit and fair queue",
    "deadline": "fair queue with a deadline",
    "shorter": "deadline and shorter answers",
    "cache": "deadline and response cache",
    "all": "all controls",
}
TENANTS = ("batch", "app", "small")


@dataclass(frozen=True, slots=True, kw_only=True)
class SurgeSpec(Spec):
    """A surge of requests through the gateway to an engine on this machine, once with each set of controls."""

    kind: ClassVar[str] = "surge"
    command: ClassVar[str] = "surge"

    model: str = offered_model("Model", "Folder of the model that is served.")
    engine: Literal["torch", "vllm"] = knob("torch", "Engine", "Serving engine that answers the requests.")
    device: DeviceChoice = "auto"
    controls: tuple[str, ...] = knob(
        tuple(CONTROLS),
        "Controls to try",
        "Sets of controls, each tried with the same requests.",
        choices=CONTROLS,
        is_advanced=True,
    )
    overload: float = knob(
        3.0,
        "Peak request rate / capacity",
        "Request rate of the surge, as a multiple of the rate that the engine can answer.",
        low=1,
        high=10,
        step=0.5,
    )
    shares: tuple[float, ...] = knob(
        (0.8, 0.133, 0.067),
        "Shares of the tenants",
        f"Fractions of the requests that come from each tenant ({', '.join(TENANTS)}); they add up to 1.",
        is_advanced=True,
    )
    calm: float = knob(
        0.5,
        "Request rate before and after / capacity",
        "Request rate before and after the surge, as a multiple of the rate that the engine can answer.",
        low=0.05,
        high=0.95,
        is_advanced=True,
    )
    calm_s: float = knob(
        4.0,
        "Time before the surge",
        "Seconds of normal load before the surge.",
        unit="s",
        low=1,
        high=600,
        is_advanced=True,
    )
    surge_s: float = knob(
        15.0, "Surge duration", "Seconds that the surge lasts.", unit="s", low=3, high=600, option="seconds"
    )
    after_s: float = knob(
        9.0,
        "Time after the surge",
        "Seconds of normal load after the surge, in which recovery is watched.",
        unit="s",
        low=2,
        high=600,
        is_advanced=True,
    )
    trace: str | None = knob(
        None,
        "Arrival trace",
        "Trace file of Azure, BurstGPT, Mooncake, AIPerf, guidellm or vLLM, replayed at a speed whose mean request rate is that of the surge; Poisson arrivals if left out.",
        is_path=True,
    )
    input_tokens: int = knob(
        128, "Prompt tokens", "Number of tokens in each prompt.", low=1, high=100_000, is_advanced=True
    )
    output_tokens: int = knob(
        24, "Output tokens", "Number of tokens in each answer.", low=1, high=100_000, is_advanced=True
    )
    repeated: float = knob(
        0.15,
        "Repeated prompts",
        "Share of the requests that repeat one of a few popular prompts, which a response cache can answer, from 0 to 1.",
        low=0,
        high=0.99,
        is_advanced=True,
    )
    max_num_seqs: int = knob(
        8, "Maximum batch size", "Most sequences that the engine runs in one batch (max_num_seqs).", low=1, high=512
    )
    slo_ttft_s: float = knob(
        1.5,
        "SLO: TTFT",
        "Largest time to first token (TTFT) of a request that meets the SLO.",
        unit="s",
        low=0.05,
        high=60,
        option="ttft-s",
    )
    slo_tpot_s: float | None = knob(
        None,
        "SLO: TPOT",
        "Largest time per output token (TPOT) of a request that meets the SLO; three times the TPOT of a full engine if left out.",
        unit="s",
        is_advanced=True,
    )
    patience_s: float = knob(
        20.0, "Client timeout", "Seconds after which a client gives up.", unit="s", low=1, high=600, is_advanced=True
    )
    seed: Seed = 1

    def __post_init__(self) -> None:
        require_positive(self, "overload", "calm", "calm_s", "surge_s", "after_s", "slo_ttft_s", "patience_s")
        require_positive(self, "input_tokens", "output_tokens", "max_num_seqs")
        if self.engine not in ("torch", "vllm"):
            raise InvalidSpec(
                gettext("engine is {value}.").format(value=repr(self.engine)),
                remedy=gettext("Choose from: {names}.").format(names="torch, vllm"),
            )
        if unknown := set(self.controls) - set(CONTROLS):
            raise InvalidSpec(
                gettext("There is no set of controls {names}.").format(names=", ".join(sorted(unknown))),
                remedy=gettext("Known: {known}.").format(known=", ".join(CONTROLS)),
            )
        are_shares = len(self.shares) == len(TENANTS) and min(self.shares) > 0 and abs(sum(self.shares) - 1) <= 0.01
        if not self.controls or not are_shares:
            raise InvalidSpec(
                gettext("Shares of {shares}.").format(shares=self.shares),
                remedy=gettext("Give three above zero that add up to 1."),
            )
        if not 0 <= self.repeated < 1 or self.calm >= 1 or self.overload > 10:
            raise InvalidSpec(
                gettext("calm {calm}, overload {overload}, repeated {repeated}.").format(
                    calm=self.calm, overload=self.overload, repeated=self.repeated
                ),
                remedy=gettext("Give less than 1 before the surge, up to 10 in it, and a share below 1."),
            )
        if self.surge_s < 3 or self.after_s < 2:
            raise InvalidSpec(
                gettext("The surge or the time after it is too short."), remedy=gettext("Give 3 s and 2 s or more.")
            )
